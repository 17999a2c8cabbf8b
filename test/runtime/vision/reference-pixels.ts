import type { Image } from '../../../runtime/frame.js';
import type { Affine } from '../../../runtime/vision/align.js';
import type { FitTransform } from '../../../runtime/vision/decoders/candidates.js';
import type { Canvas, Fit, PixelOps, Region } from '../../../runtime/vision/pixels.js';

/** Plain TypeScript pixel operations, for tests that need no addon. */
export const referencePixels: PixelOps = {
  fit(image: Image, canvas: Canvas, fit: Fit): FitTransform {
    const scaleX = image.width / canvas.width;
    const scaleY = image.height / canvas.height;
    const scale = Math.max(scaleX, scaleY);
    const result = fit === 'stretch'
      ? { scaleX, scaleY, offsetX: 0, offsetY: 0 }
      : { scaleX: scale, scaleY: scale, offsetX: Math.floor((canvas.width - image.width / scale) / 2), offsetY: Math.floor((canvas.height - image.height / scale) / 2) };
    referencePixels.crop(image, {
      x: -result.offsetX * result.scaleX, y: -result.offsetY * result.scaleY, width: canvas.width * result.scaleX, height: canvas.height * result.scaleY,
    }, canvas);
    return result;
  },

  crop(image: Image, region: Region, canvas: Canvas): void {
    const stepX = region.width / canvas.width;
    const stepY = region.height / canvas.height;
    const samples = { x: Math.max(1, Math.ceil(stepX)), y: Math.max(1, Math.ceil(stepY)) };
    const sum = new Float64Array(3);
    for (let y = 0; y < canvas.height; y++) {
      for (let x = 0; x < canvas.width; x++) {
        sum.fill(0);
        for (let j = 0; j < samples.y; j++) {
          const sourceY = region.y + (y + (j + 0.5) / samples.y) * stepY - 0.5;
          for (let i = 0; i < samples.x; i++) addSample(image, region.x + (x + (i + 0.5) / samples.x) * stepX - 0.5, sourceY, sum);
        }
        store(canvas, x, y, sum, samples.x * samples.y);
      }
    }
  },

  warp(image: Image, [a, b, c, d, e, f]: Affine, canvas: Canvas): void {
    const sum = new Float64Array(3);
    for (let y = 0; y < canvas.height; y++) {
      for (let x = 0; x < canvas.width; x++) {
        sum.fill(0);
        addSample(image, a * x + b * y + c, d * x + e * y + f, sum);
        store(canvas, x, y, sum, 1);
      }
    }
  },

  /** Cells of 8 x 8 pixels, without the brightness compensation of the native grid. */
  motionGrid() {
    let background: Uint8Array | undefined;
    const mask = { width: 0, height: 0, bits: new Uint8Array(0) };
    return {
      mask,
      get cells() {
        return background ?? new Uint8Array(0);
      },
      update(image: Image, threshold: number): number {
        const cells: Canvas = { width: image.width >> 3, height: image.height >> 3, channels: 1, data: new Uint8Array((image.width >> 3) * (image.height >> 3)) };
        referencePixels.crop(image, { x: 0, y: 0, width: cells.width * 8, height: cells.height * 8 }, cells);
        const before = background;
        background = cells.data;
        const active = Array.from(cells.data, (level, i) => before === undefined || Math.abs(level - (before[i] ?? 0)) > threshold);
        Object.assign(mask, { width: cells.width, height: cells.height, bits: new Uint8Array((active.length + 7) >> 3) });
        active.forEach((on, i) => {
          if (on) mask.bits[i >> 3] = (mask.bits[i >> 3] ?? 0) | (1 << (i & 7));
        });
        return active.filter(Boolean).length;
      },
    };
  },
};

function addSample({ width, height, data }: Image, x: number, y: number, sum: Float64Array): void {
  const left = Math.floor(x);
  const top = Math.floor(y);
  for (let corner = 0; corner < 4; corner++) {
    const px = left + (corner & 1);
    const py = top + (corner >> 1);
    if (px < 0 || py < 0 || px >= width || py >= height) continue;
    const weight = (corner & 1 ? x - left : left + 1 - x) * (corner >> 1 ? y - top : top + 1 - y);
    const at = (py * width + px) * 3;
    for (let channel = 0; channel < 3; channel++) sum[channel] = (sum[channel] ?? 0) + weight * (data[at + channel] ?? 0);
  }
}

function store(canvas: Canvas, x: number, y: number, sum: Float64Array, count: number): void {
  const [r = 0, g = 0, b = 0] = sum;
  const at = (y * canvas.width + x) * canvas.channels;
  if (canvas.channels === 1) {
    canvas.data[at] = Math.round((0.299 * r + 0.587 * g + 0.114 * b) / count);
    return;
  }
  canvas.data[at] = Math.round(r / count);
  canvas.data[at + 1] = Math.round(g / count);
  canvas.data[at + 2] = Math.round(b / count);
}
