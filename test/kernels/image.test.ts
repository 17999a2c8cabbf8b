import { describe, expect, it } from 'vitest';

import { KernelError } from '../../kernels/binding/errors.js';
import {
  cellGrid, cropResize, greyCells, letterbox, MotionGrid, stretch, warpAffine,
  type AffineMatrix, type Border, type Canvas, type ImageView, type Region,
} from '../../kernels/binding/image.js';

/** Deterministic pixels (a 32-bit LCG); `padding` bytes of 255 between rows, which must never be seen. */
function picture(width: number, height: number, seed: number, padding = 0): ImageView {
  const stride = width * 3 + padding;
  const data = new Uint8Array((height - 1) * stride + width * 3).fill(255);
  let state = seed >>> 0;
  for (let y = 0; y < height; y++) {
    for (let i = 0; i < width * 3; i++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      data[y * stride + i] = state >>> 24;
    }
  }
  return padding === 0 ? { width, height, data } : { width, height, data, stride };
}

function canvas(width: number, height: number, channels: 1 | 3): Canvas {
  return { width, height, channels, data: new Uint8Array(width * height * channels).fill(77) };
}

function level(src: ImageView, x: number, y: number, channel: number, border: Border): number {
  const inside = x >= 0 && y >= 0 && x < src.width && y < src.height;
  if (!inside && border === 'black') return 0;
  const column = Math.min(Math.max(x, 0), src.width - 1);
  const row = Math.min(Math.max(y, 0), src.height - 1);
  return src.data[row * (src.stride ?? src.width * 3) + column * 3 + channel] ?? NaN;
}

function bilinear(src: ImageView, x: number, y: number, channel: number, border: Border): number {
  const left = Math.floor(x);
  const top = Math.floor(y);
  const fx = x - left;
  const fy = y - top;
  const upper = level(src, left, top, channel, border) * (1 - fx) + level(src, left + 1, top, channel, border) * fx;
  const lower = level(src, left, top + 1, channel, border) * (1 - fx) + level(src, left + 1, top + 1, channel, border) * fx;
  return upper * (1 - fy) + lower * fy;
}

type Sampler = (x: number, y: number, channel: number) => number;

/** Every canvas pixel by its definition, unrounded. */
function draw({ width, height, channels }: Canvas, sample: Sampler): number[] {
  const out: number[] = [];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [r, g, b] = [sample(x, y, 0), sample(x, y, 1), sample(x, y, 2)];
      if (channels === 3) out.push(r, g, b);
      else out.push(0.299 * r + 0.587 * g + 0.114 * b);
    }
  }
  return out;
}

function resized(src: ImageView, region: Region, dst: Canvas, border: Border): number[] {
  const step = { x: region.width / dst.width, y: region.height / dst.height };
  const samples = { x: Math.max(1, Math.ceil(step.x)), y: Math.max(1, Math.ceil(step.y)) };
  return draw(dst, (x, y, channel) => {
    let sum = 0;
    for (let j = 0; j < samples.y; j++) {
      for (let i = 0; i < samples.x; i++) {
        const sx = region.x + (x + (i + 0.5) / samples.x) * step.x - 0.5;
        const sy = region.y + (y + (j + 0.5) / samples.y) * step.y - 0.5;
        sum += bilinear(src, sx, sy, channel, border);
      }
    }
    return sum / (samples.x * samples.y);
  });
}

/** Rounding in float may fall on the other side of a half, never further. */
function expectLevels(actual: Uint8Array, exact: readonly number[]): void {
  expect(actual.length).toBe(exact.length);
  const worst = exact.reduce((most, value, i) => Math.max(most, Math.abs(value - (actual[i] ?? NaN))), 0);
  expect(worst).toBeLessThanOrEqual(0.501);
}

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    return error instanceof KernelError ? error.code : `not a KernelError: ${String(error)}`;
  }
  return 'nothing was thrown';
}

describe('cropResize', () => {
  const src = picture(37, 29, 1, 5);
  const regions: Region[] = [
    { x: 0, y: 0, width: 37, height: 29 },
    { x: 3.25, y: 1.5, width: 20.5, height: 11.75 },
    { x: -6, y: -4, width: 60, height: 40 },
    { x: 30, y: 20, width: 30, height: 30 },
    { x: 10, y: 10, width: 0.5, height: 0.25 },
    { x: -100, y: 5, width: 20, height: 20 },
  ];
  const sizes = [[1, 1], [5, 3], [16, 16], [37, 29], [64, 40]] as const;

  it.each(regions)('averages what each canvas pixel covers: region $x, $y, $width x $height', (region) => {
    for (const [width, height] of sizes) {
      for (const channels of [1, 3] as const) {
        for (const border of ['black', 'edge'] as const) {
          const dst = canvas(width, height, channels);
          cropResize(src, region, dst, border);
          expectLevels(dst.data, resized(src, region, dst, border));
        }
      }
    }
  });

  it('copies a picture that already has the canvas size', () => {
    const same = picture(23, 9, 2);
    const dst = canvas(23, 9, 3);
    stretch(same, dst);
    expect(dst.data).toEqual(same.data);
  });

  it('reads a picture of one pixel, and of one row and column', () => {
    for (const [width, height] of [[1, 1], [7, 1], [1, 7]] as const) {
      const thin = picture(width, height, 3);
      const dst = canvas(5, 4, 3);
      stretch(thin, dst);
      expectLevels(dst.data, resized(thin, { x: 0, y: 0, width, height }, dst, 'edge'));
    }
  });
});

describe('letterbox', () => {
  it.each([[64, 48, 32, 24], [64, 48, 32, 32], [30, 50, 32, 32], [7, 5, 40, 20], [640, 4, 16, 16]])(
    'fits %i x %i into %i x %i at its own aspect ratio',
    (width, height, dw, dh) => {
      const src = picture(width, height, 4);
      const dst = canvas(dw, dh, 3);
      const { scale, dx, dy } = letterbox(src, dst, { padColour: [10, 20, 30] });
      expect(scale).toBe(Math.min(dw / width, dh / height));
      const inner = { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
      expect([dx, dy]).toEqual([(dw - inner.width) >> 1, (dh - inner.height) >> 1]);
      const drawn = canvas(inner.width, inner.height, 3);
      const exact = resized(src, { x: 0, y: 0, width: inner.width / scale, height: inner.height / scale }, drawn, 'edge');
      const expected = draw(dst, (x, y, channel) => {
        const inside = x >= dx && y >= dy && x < dx + inner.width && y < dy + inner.height;
        return inside ? (exact[((y - dy) * inner.width + x - dx) * 3 + channel] ?? NaN) : (channel + 1) * 10;
      });
      expectLevels(dst.data, expected);
    },
  );

  it('pads a grey canvas with the luma of the colour', () => {
    const dst = canvas(10, 30, 1);
    letterbox(picture(10, 10, 5), dst, { padColour: [255, 0, 0] });
    expect([dst.data[0], dst.data[299]]).toEqual([76, 76]);
  });
});

describe('warpAffine', () => {
  const src = picture(41, 33, 6, 2);
  const matrices: AffineMatrix[] = [
    [1, 0, 0, 0, 1, 0],
    [0.8, -0.6, 10.3, 0.6, 0.8, -2.7],
    [2.5, 0, -20, 0, 2.5, -20],
    [-1, 0, 40, 0, -1, 32],
    [0, 0, 12.5, 0, 0, 7.25],
    [1e6, -1e6, 1e6, 1e6, 1e6, -1e6],
  ];

  it.each(matrices)('maps canvas to picture: [%d %d %d; %d %d %d]', (...matrix) => {
    const [a, b, c, d, e, f] = matrix;
    for (const channels of [1, 3] as const) {
      const dst = canvas(45, 37, channels);
      warpAffine(src, matrix, dst);
      expectLevels(dst.data, draw(dst, (x, y, channel) => bilinear(src, a * x + b * y + c, d * x + e * y + f, channel, 'black')));
    }
  });

  it('reads a picture of one pixel', () => {
    const dst = canvas(3, 3, 3);
    const dot = picture(1, 1, 7);
    warpAffine(dot, [0.5, 0, -0.5, 0, 0.5, -0.5], dst);
    expectLevels(dst.data, draw(dst, (x, y, channel) => bilinear(dot, 0.5 * x - 0.5, 0.5 * y - 0.5, channel, 'black')));
  });
});

describe('greyCells', () => {
  it.each([1, 2, 7, 8, 16])('averages the luma of %i x %i pixels', (factor) => {
    const src = picture(50, 35, 8, 3);
    const grid = cellGrid(src, factor);
    expect(grid).toEqual({ width: Math.floor(50 / factor), height: Math.floor(35 / factor) });
    const dst = canvas(grid.width, grid.height, 1);
    greyCells(src, factor, dst.data);
    const exact = draw(dst, (x, y, channel) => {
      let sum = 0;
      for (let i = 0; i < factor * factor; i++) sum += level(src, x * factor + (i % factor), y * factor + Math.floor(i / factor), channel, 'black');
      return sum / (factor * factor);
    });
    expectLevels(dst.data, exact);
  });

  it('reads only every so many rows of a cell when it is told to', () => {
    const src = picture(16, 16, 4);
    const cells = new Uint8Array(4);
    greyCells(src, 8, cells, 3);
    const exact = draw(canvas(2, 2, 1), (x, y, channel) => {
      let sum = 0;
      for (const row of [0, 3, 6]) for (let i = 0; i < 8; i++) sum += level(src, x * 8 + i, y * 8 + row, channel, 'black');
      return sum / 24;
    });
    expectLevels(cells, exact);
  });

  it('leaves a picture smaller than one cell without cells', () => {
    expect(() => greyCells(picture(7, 7, 9), 8, new Uint8Array(0))).not.toThrow();
  });
});

describe('MotionGrid', () => {
  /** Grey of `background`, with a square of `size` pixels of another level at (x, y). */
  function scene(background: number, square: { x: number; y: number; size: number; level: number } | null): ImageView {
    const data = new Uint8Array(64 * 48 * 3).fill(background);
    if (square !== null) {
      for (let y = square.y; y < square.y + square.size; y++) data.fill(square.level, (y * 64 + square.x) * 3, (y * 64 + square.x + square.size) * 3);
    }
    return { width: 64, height: 48, data };
  }

  it('counts the cells that left the background, and lets a standing object become background', () => {
    const grid = new MotionGrid({ learningRate: 0.25 });
    expect(grid.update(scene(100, null), 20)).toBe(48);
    expect(grid.update(scene(100, null), 20)).toBe(0);
    const visitor = scene(100, { x: 16, y: 8, size: 16, level: 200 });
    expect(grid.update(visitor, 20)).toBe(4);
    expect(grid.mask).toMatchObject({ width: 8, height: 6 });
    expect([...grid.mask.bits]).toEqual([0, 0b1100, 0b1100, 0, 0, 0]);
    expect([...grid.cells.subarray(8, 16)]).toEqual([100, 100, 200, 200, 100, 100, 100, 100]);
    for (let i = 0; i < 20; i++) grid.update(visitor, 20);
    expect(grid.update(visitor, 20)).toBe(0);
    expect(grid.update(scene(100, null), 20)).toBe(4);
  });

  it('does not take a change of light for motion', () => {
    const grid = new MotionGrid();
    grid.update(scene(100, null), 20);
    expect(grid.update(scene(160, null), 20)).toBe(0);
  });

  it('starts anew when the size changes', () => {
    const grid = new MotionGrid();
    grid.update(scene(100, null), 20);
    expect(grid.update(picture(24, 16, 1), 20)).toBe(6);
    expect(grid.mask).toEqual({ width: 3, height: 2, bits: Uint8Array.of(0b11_1111) });
  });
});

describe('arguments', () => {
  const src = picture(8, 8, 1);
  const dst = canvas(4, 4, 3);
  const whole: Region = { x: 0, y: 0, width: 8, height: 8 };
  const bad: [string, () => unknown][] = [
    ['a picture that is too short', () => stretch({ ...src, data: src.data.subarray(1) }, dst)],
    ['a canvas that is too short', () => stretch(src, { ...dst, data: dst.data.subarray(1) })],
    ['a width of 0', () => stretch({ ...src, width: 0 }, dst)],
    ['a fractional height', () => stretch({ ...src, height: 7.5 }, dst)],
    ['a stride shorter than a row', () => stretch({ ...src, stride: 23 }, dst)],
    ['a side beyond the limit', () => stretch(src, { ...dst, width: 1 << 17, height: 1 })],
    ['an empty region', () => cropResize(src, { ...whole, width: 0 }, dst)],
    ['a region that is not a number', () => cropResize(src, { ...whole, x: NaN }, dst)],
    ['a region beyond the limit', () => cropResize(src, { ...whole, height: 1e9 }, dst)],
    ['a colour beyond 255', () => letterbox(src, dst, { padColour: [0, 256, 0] })],
    ['a matrix that is not a number', () => warpAffine(src, [1, 0, NaN, 0, 1, 0], dst)],
    ['a matrix beyond the limit', () => warpAffine(src, [1, 0, 0, 0, 1, 1e7], dst)],
    ['a factor of 17', () => greyCells(src, 17, new Uint8Array(1))],
    ['a step of 0 rows', () => greyCells(src, 2, new Uint8Array(16), 0)],
    ['a step beyond the cell', () => greyCells(src, 2, new Uint8Array(16), 3)],
    ['too few cells', () => greyCells(src, 2, new Uint8Array(15))],
    ['a learning rate above 1', () => new MotionGrid({ learningRate: 2 })],
    ['a negative threshold', () => new MotionGrid().update(src, -1)],
  ];
  it.each(bad)('refuses %s', (_name, action) => {
    expect(codeOf(action)).toBe('E_ARGUMENT');
  });
});
