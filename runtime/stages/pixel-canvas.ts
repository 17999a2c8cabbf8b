import type { Canvas } from '../vision/pixels.js';
import type { PixelContract } from './contract.js';

/**
 * Where a picture becomes what a model sees of it. Pipelines, golden vectors, calibration and evaluation draw on the same canvas with the same pixel
 * operations (vision/pixels.ts), so a model is calibrated and judged on the very bytes that a device feeds it.
 */
export class PixelCanvas {
  /** To draw on: RGB or grey. */
  readonly canvas: Canvas;
  /** In the model's own channel order. The same bytes as the canvas, except for a BGR model. */
  readonly pixels: Uint8Array;

  constructor({ width, height, channels }: Pick<PixelContract, 'width' | 'height' | 'channels'>) {
    const count = channels === 'grey' ? 1 : 3;
    this.canvas = { width, height, channels: count, data: new Uint8Array(width * height * count) };
    this.pixels = channels === 'bgr' ? new Uint8Array(this.canvas.data.length) : this.canvas.data;
  }

  /** Call it when something was drawn: it brings `pixels` up to date. */
  drawn(): void {
    if (this.pixels !== this.canvas.data) copySwapped(this.canvas.data, this.pixels);
  }
}

function copySwapped(from: Uint8Array, to: Uint8Array): void {
  for (let i = 0; i < from.length; i += 3) {
    to[i] = from[i + 2] ?? 0;
    to[i + 1] = from[i + 1] ?? 0;
    to[i + 2] = from[i] ?? 0;
  }
}
