import { RuntimeError } from '../errors.js';
import type { Image } from '../frame.js';
import { headroomBytes, PictureMemory } from '../picture-memory.js';
import { pushInto, type ByteSink } from './byte-sink.js';

/** `P6\n<width> <height>\n255\n` is far shorter than this. */
const maxHeaderBytes = headroomBytes;
/** `P6\n1 1\n255\n`: no header is shorter, so as many bytes belong to it at any rate. */
const minHeaderBytes = 11;
const maxPixels = 64 * 2 ** 20;

const nothing: readonly Image[] = [];

/** A picture under way. */
interface Open {
  image: Image;
  /** The header and the picture behind it, in one buffer. */
  bytes: Uint8Array;
  /** Whether the header in `bytes` was looked at. */
  known: boolean;
}

/**
 * Cuts a stream of binary PPM pictures (P6, 8 bits) into images, each read straight into its own memory. A picture is expected to have the header of the
 * one before, so that both come with one read.
 */
export class PpmReader implements ByteSink<Image> {
  readonly #memory: PictureMemory;
  readonly #scratch = Buffer.alloc(maxHeaderBytes);
  /** The header of the picture before. */
  #header: Buffer | undefined;
  #open: Open | undefined;
  #filled = 0;

  constructor(memory = new PictureMemory()) {
    this.#memory = memory;
  }

  /** True in the middle of a picture. */
  get pending(): boolean {
    return this.#filled > 0;
  }

  room(): Uint8Array {
    if (this.#open === undefined && this.#header !== undefined) this.#begin(this.#header, false);
    return this.#open?.bytes.subarray(this.#filled) ?? this.#scratch.subarray(this.#filled, Math.max(minHeaderBytes, this.#filled + 1));
  }

  /** @throws RuntimeError E_MEDIA when the bytes are not PPM */
  filled(count: number): readonly Image[] {
    this.#filled += count;
    const open = this.#open;
    if (open === undefined) {
      this.#findHeader();
      return nothing;
    }
    if (!open.known && this.#header !== undefined && this.#filled >= this.#header.length) {
      if (this.#header.compare(open.bytes, 0, this.#header.length) !== 0) return this.#again(open.bytes.slice(0, this.#filled));
      open.known = true;
    }
    if (this.#filled < open.bytes.length) return nothing;
    this.#open = undefined;
    this.#filled = 0;
    return [open.image];
  }

  /** @throws RuntimeError E_MEDIA when the bytes are not PPM */
  push(chunk: Uint8Array): Generator<Image, void, undefined> {
    return pushInto(this, chunk);
  }

  /** Takes bytes anew that do not begin as it was expected. */
  #again(bytes: Uint8Array): readonly Image[] {
    this.#header = undefined;
    this.#open = undefined;
    this.#filled = 0;
    return [...this.push(bytes)];
  }

  #findHeader(): void {
    const [header] = /^P6\n\d{1,5} \d{1,5}\n255\n/.exec(this.#scratch.toString('latin1', 0, this.#filled)) ?? [];
    if (header !== undefined) this.#begin(Buffer.from(header, 'latin1'), true);
    else if (this.#filled === maxHeaderBytes) throw new RuntimeError('E_MEDIA', 'Expected PPM pictures from ffmpeg but received something else');
  }

  /** @param known whether the header was read; else it is expected */
  #begin(header: Buffer, known: boolean): void {
    const [width = 0, height = 0] = header.toString('latin1').split(/\s/).slice(1).map(Number);
    const pixels = width * height;
    if (pixels < 1 || pixels > maxPixels) throw new RuntimeError('E_MEDIA', `Expected pictures of 1 to ${maxPixels} pixels but received ${width} x ${height}`);
    const data = this.#memory.take(pixels * 3);
    const bytes = new Uint8Array(data.buffer, data.byteOffset - header.length, header.length + data.length);
    this.#header = header;
    this.#open = { image: { width, height, data }, bytes, known };
  }
}
