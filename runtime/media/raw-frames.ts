import { RuntimeError } from '../errors.js';
import type { Image } from '../frame.js';
import { PictureMemory } from '../picture-memory.js';
import { maxStreamPixels } from './decoded.js';

/** Layouts of raw pictures, as ffmpeg and libcamera name them. Those with planes of half size need even sides. */
export const rawFormats = ['rgb24', 'bgr24', 'gray8', 'yuv420p', 'nv12'] as const;
export type RawFormat = (typeof rawFormats)[number];

/** What comes on standard input. */
export type StdinFormat = { type: 'raw'; width: number; height: number; pixels: RawFormat } | { type: 'ppm' } | { type: 'mjpeg' };

const expected = `Expected stdin:WIDTHxHEIGHT, stdin:WIDTHxHEIGHT:FORMAT with one of the formats ${rawFormats.join(', ')}, stdin:ppm or stdin:mjpeg`;

/** `stdin:640x480:nv12` and the like. @throws RuntimeError E_MEDIA that says what can be stated */
export function parseStdin(spec: string): StdinFormat {
  const stated = spec.replace(/^stdin:/i, '');
  if (stated === 'ppm' || stated === 'mjpeg') return { type: stated };
  const match = /^(\d{1,5})x(\d{1,5})(?::(\w+))?$/.exec(stated);
  const pixels = rawFormats.find((name) => name === (match?.[3] ?? 'rgb24'));
  if (match === null || pixels === undefined) throw new RuntimeError('E_MEDIA', `${expected} but received "${spec}"`);
  const [width, height] = [Number(match[1]), Number(match[2])];
  if (width < 1 || height < 1 || width * height > maxStreamPixels) throw new RuntimeError('E_MEDIA', `Expected 1 to ${maxStreamPixels} pixels but received "${spec}"`);
  const halved = pixels === 'yuv420p' || pixels === 'nv12';
  if (halved && (width % 2 !== 0 || height % 2 !== 0)) throw new RuntimeError('E_MEDIA', `Expected an even width and height for ${pixels} but received "${spec}"`);
  return { type: 'raw', width, height, pixels };
}

/** Cuts a stream of raw pictures of one size and layout into images. */
export class RawReader {
  readonly #width: number;
  readonly #height: number;
  readonly #pixels: RawFormat;
  readonly #frame: Uint8Array;
  readonly #memory = new PictureMemory();
  #filled = 0;

  constructor({ width, height, pixels }: Extract<StdinFormat, { type: 'raw' }>) {
    this.#width = width;
    this.#height = height;
    this.#pixels = pixels;
    this.#frame = new Uint8Array(frameBytes(width, height, pixels));
  }

  /** True in the middle of a picture. */
  get pending(): boolean {
    return this.#filled > 0;
  }

  /** @returns the pictures that are complete with this piece */
  push(chunk: Uint8Array): Image[] {
    const images: Image[] = [];
    for (let rest = chunk; rest.length > 0;) {
      const count = Math.min(rest.length, this.#frame.length - this.#filled);
      this.#frame.set(rest.subarray(0, count), this.#filled);
      this.#filled += count;
      rest = rest.subarray(count);
      if (this.#filled < this.#frame.length) break;
      this.#filled = 0;
      images.push({ width: this.#width, height: this.#height, data: this.#toRgb() });
    }
    return images;
  }

  #toRgb(): Uint8Array {
    const [frame, width, height] = [this.#frame, this.#width, this.#height];
    const area = width * height;
    const out = this.#memory.take(area * 3);
    switch (this.#pixels) {
      case 'rgb24': out.set(frame); break;
      case 'bgr24': for (let i = 0; i < frame.length; i += 3) [out[i], out[i + 1], out[i + 2]] = [frame[i + 2] ?? 0, frame[i + 1] ?? 0, frame[i] ?? 0]; break;
      case 'gray8': for (let i = 0; i < area; i++) out.fill(frame[i] ?? 0, i * 3, i * 3 + 3); break;
      case 'yuv420p': fromYuv(frame, out, { width, height, u: area, v: area * 1.25, step: 1 }); break;
      case 'nv12': fromYuv(frame, out, { width, height, u: area, v: area + 1, step: 2 }); break;
    }
    return out;
  }
}

function frameBytes(width: number, height: number, pixels: RawFormat): number {
  const area = width * height;
  switch (pixels) {
    case 'rgb24':
    case 'bgr24': return area * 3;
    case 'gray8': return area;
    case 'yuv420p':
    case 'nv12': return area * 1.5;
  }
}

/** ITU-R BT.601, 8 bits, limited range, in fixed point with 8 fractional bits. One pair of color differences for 2 x 2 pixels. */
function fromYuv(frame: Uint8Array, rgb: Uint8Array, { width, height, u, v, step }: { width: number; height: number; u: number; v: number; step: number }): void {
  const out = new Uint8ClampedArray(rgb.buffer, rgb.byteOffset, rgb.length);
  for (let y = 0, to = 0; y < height; y++) {
    const half = (y >> 1) * (width >> 1);
    for (let x = 0; x < width; x++, to += 3) {
      const chroma = (half + (x >> 1)) * step;
      const luma = 298 * ((frame[y * width + x] ?? 0) - 16) + 128;
      const blue = (frame[u + chroma] ?? 0) - 128;
      const red = (frame[v + chroma] ?? 0) - 128;
      out[to] = (luma + 409 * red) >> 8;
      out[to + 1] = (luma - 100 * blue - 208 * red) >> 8;
      out[to + 2] = (luma + 516 * blue) >> 8;
    }
  }
}
