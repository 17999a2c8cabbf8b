import type { Image } from './frame.js';

/** Pictures that wait for their memory to be used again: as many as a source has under way. */
const keptPictures = 4;
/** In front of each picture, for the header that it comes with. A multiple of a cache line, so that pixels begin at one. */
export const headroomBytes = 64;

/** What is lent, by the view that was given out: nobody else can give it back, and nobody twice. */
const lent = new WeakMap<Uint8Array, PictureMemory>();

/**
 * The memory of a source's pictures. Each is lent once: `releasePicture` gives it back, and a later picture of the same size takes it. What is never given
 * back is garbage some day, like any other memory.
 */
export class PictureMemory {
  #free: Uint8Array<ArrayBuffer>[] = [];

  /** @returns so many bytes, with `headroomBytes` in front of them in the same buffer; what is in them is left from earlier pictures */
  take(bytes: number): Uint8Array<ArrayBuffer> {
    const last = this.#free.pop();
    const buffer = last?.byteLength === bytes ? last.buffer : new ArrayBuffer(headroomBytes + bytes);
    const data = new Uint8Array(buffer, headroomBytes, bytes);
    lent.set(data, this);
    return data;
  }

  /** Takes back what `take` gave. */
  give(data: Uint8Array): void {
    if (!lent.delete(data) || this.#free.length >= keptPictures) return;
    this.#free.push(data as Uint8Array<ArrayBuffer>);
  }
}

/**
 * Says that nobody reads this picture any more, so that its source may write a later one over it. Without this call nothing is written over, and the
 * picture is garbage some day; a source of 15 pictures a second makes so much of it that V8 collects all of its heap every half second.
 */
export function releasePicture({ data }: Pick<Image, 'data'>): void {
  lent.get(data)?.give(data);
}

/** Says that this picture is read later, by somebody other than who takes pictures from the source: `releasePicture` does nothing with it then. */
export function keepPicture({ data }: Pick<Image, 'data'>): void {
  lent.delete(data);
}
