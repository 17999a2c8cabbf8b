import type { Image } from '../frame.js';
import type { Affine } from './align.js';
import type { Canvas, PixelOps, Region } from './pixels.js';

/** Plain TypeScript pixel operations: the specification of the native ones. */
export const referencePixels: PixelOps = {
  resize(image: Image, region: Region, canvas: Canvas): void {
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
