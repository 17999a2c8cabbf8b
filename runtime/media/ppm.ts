import { RuntimeError } from '../errors.js';
import type { Image } from '../frame.js';

/** ffmpeg writes `P6\n<width> <height>\n255\n`, far shorter than this. */
const maxHeaderBytes = 64;
const maxPixels = 64 * 2 ** 20;

/** Cuts a stream of binary PPM pictures (P6, 8 bits) into images, each copied once, straight into its own buffer. */
export class PpmReader {
  #header = Buffer.alloc(0);
  #image: Image | undefined;
  #filled = 0;

  /** True in the middle of a picture. */
  get pending(): boolean {
    return this.#image !== undefined || this.#header.length > 0;
  }

  /** @throws RuntimeError E_MEDIA when the bytes are not PPM */
  *push(chunk: Buffer): Generator<Image, void, undefined> {
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#image === undefined) rest = this.#readHeader(rest);
      if (this.#image === undefined) return;
      const { data } = this.#image;
      const count = Math.min(rest.length, data.length - this.#filled);
      data.set(rest.subarray(0, count), this.#filled);
      this.#filled += count;
      rest = rest.subarray(count);
      if (this.#filled < data.length) return;
      const image = this.#image;
      this.#image = undefined;
      yield image;
    }
  }

  #readHeader(chunk: Buffer): Buffer {
    const bytes = Buffer.concat([this.#header, chunk.subarray(0, maxHeaderBytes)]);
    const match = /^P6\n(\d{1,5}) (\d{1,5})\n255\n/.exec(bytes.toString('latin1', 0, maxHeaderBytes));
    if (match === null) {
      if (bytes.length >= maxHeaderBytes) throw new RuntimeError('E_MEDIA', 'Expected PPM pictures from ffmpeg but received something else');
      this.#header = bytes;
      return chunk.subarray(chunk.length);
    }
    const [header, w, h] = match;
    const width = Number(w);
    const height = Number(h);
    if (width * height > maxPixels) throw new RuntimeError('E_MEDIA', `Expected pictures of at most ${maxPixels} pixels but received ${width} x ${height}`);
    const used = header.length - this.#header.length;
    this.#header = Buffer.alloc(0);
    this.#image = { width, height, data: new Uint8Array(width * height * 3) };
    this.#filled = 0;
    return chunk.subarray(used);
  }
}
