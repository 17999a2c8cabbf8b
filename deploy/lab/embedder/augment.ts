import { nativePixels, type Canvas } from '../../../runtime/vision/pixels.js';
import type { FacesConfig } from '../config.js';
import type { PictureSize } from './people.js';

export type Augmentation = FacesConfig['data']['augment'];

/** A part of the picture, of 1 - `crop` to all of its sides, fills the canvas. */
function cropped(pixels: Uint8Array, { width, height }: PictureSize, canvas: Canvas, share: number, next: () => number): void {
  const kept = 1 - share * next();
  const [inner, outer] = [{ width: width * kept, height: height * kept }, { x: next(), y: next() }];
  nativePixels.crop({ width, height, data: pixels }, { ...inner, x: outer.x * (width - inner.width), y: outer.y * (height - inner.height) }, canvas);
}

function mirrored(data: Uint8Array, { width, height }: PictureSize): void {
  for (let y = 0; y < height; y++) for (let left = 0, right = width - 1; left < right; left++, right--) for (let channel = 0; channel < 3; channel++) {
    const [a, b] = [3 * (y * width + left) + channel, 3 * (y * width + right) + channel];
    [data[a], data[b]] = [data[b] ?? 0, data[a] ?? 0];
  }
}

/** Contrast around the middle grey, and brightness, by up to `share`. */
function lit(data: Uint8Array, share: number, next: () => number): void {
  const [gain, shift] = [1 + share * (2 * next() - 1), 127 * share * (2 * next() - 1)];
  const levels = Uint8ClampedArray.from({ length: 256 }, (_, level) => (level - 127) * gain + 127 + shift);
  for (let i = 0; i < data.length; i++) data[i] = levels[data[i] ?? 0] ?? 0;
}

/** A rectangle of up to `share` of each side becomes grey (random erasing, arXiv 1708.04896). */
function erased(data: Uint8Array, { width, height }: PictureSize, share: number, next: () => number): void {
  const [wide, high] = [Math.floor(share * width * next()), Math.floor(share * height * next())];
  const [left, top] = [Math.floor(next() * (width - wide)), Math.floor(next() * (height - high))];
  for (let y = top; y < top + high; y++) data.fill(127, 3 * (y * width + left), 3 * (y * width + left + wide));
}

/** A variation of a picture of the size: part of it, mirrored, lit otherwise, partly hidden. Always draws as many random numbers. */
export function varied(pixels: Uint8Array, size: PictureSize, { flip, crop, brightness, erase }: Augmentation, next: () => number): Uint8Array {
  const data = new Uint8Array(pixels.length);
  cropped(pixels, size, { ...size, channels: 3, data }, crop, next);
  const mirror = next() < 0.5;
  if (flip && mirror) mirrored(data, size);
  lit(data, brightness, next);
  erased(data, size, erase, next);
  return data;
}
