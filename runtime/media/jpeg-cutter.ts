/** Markers of ITU-T T.81, table B.1. */
const SOI = 0xd8;
const EOI = 0xd9;
const SOS = 0xda;

/** More is no picture of a camera. */
const defaultMaxBytes = 16 * 2 ** 20;

/**
 * Cuts a stream of bytes into JPEG pictures by their own markers. What stands between two pictures (multipart headers, which cameras often get wrong) is
 * skipped. Thumbnails inside of a picture are part of a segment of known length, so they do not end it. A picture that another one interrupts, or
 * that grows too large, is damaged: it is counted and left out.
 */
export class JpegCutter {
  readonly #maxBytes: number;
  #bytes: Buffer = Buffer.alloc(0);
  /** Where to go on looking in `#bytes`. */
  #at = 0;
  /** What stands there: bytes between pictures, segments of a picture, or its entropy-coded data. */
  #in: 'gap' | 'segments' | 'data' = 'gap';
  /** Damaged pictures so far. */
  broken = 0;

  constructor(maxBytes = defaultMaxBytes) {
    this.#maxBytes = maxBytes;
  }

  /** True in the middle of a picture. */
  get pending(): boolean {
    return this.#in !== 'gap';
  }

  /** @returns the pictures that are complete with this piece */
  push(chunk: Uint8Array): Buffer[] {
    this.#bytes = this.#bytes.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#bytes, chunk]);
    const pictures: Buffer[] = [];
    for (;;) {
      const picture = this.#in === 'gap' ? this.#findStart() : this.#in === 'segments' ? this.#skipSegment() : this.#skipData();
      if (picture === 'more') break;
      if (picture !== null) pictures.push(picture);
    }
    if (this.#bytes.length > this.#maxBytes) this.#damaged(this.#bytes.length);
    return pictures;
  }

  #findStart(): 'more' | null {
    for (let at = this.#bytes.indexOf(0xff); at >= 0; at = this.#bytes.indexOf(0xff, at + 1)) {
      if (at + 2 >= this.#bytes.length) {
        this.#bytes = this.#bytes.subarray(at);
        return 'more';
      }
      // A marker follows SOI in every picture; in text and in the middle of a damaged picture it hardly ever does.
      if (this.#bytes[at + 1] !== SOI || this.#bytes[at + 2] !== 0xff) continue;
      this.#bytes = this.#bytes.subarray(at);
      this.#at = 2;
      this.#in = 'segments';
      return null;
    }
    this.#bytes = Buffer.alloc(0);
    return 'more';
  }

  #skipSegment(): 'more' | null | Buffer {
    const at = this.#at;
    if (at + 4 > this.#bytes.length) return this.#bytes[at + 1] === EOI && at + 2 === this.#bytes.length ? this.#end(at + 2) : 'more';
    const marker = this.#bytes[at + 1] ?? 0;
    if (this.#bytes[at] !== 0xff || marker < 0xc0 || marker === SOI) return this.#damaged(at);
    if (marker === EOI) return this.#end(at + 2);
    const length = this.#bytes.readUInt16BE(at + 2);
    if (length < 2) return this.#damaged(at);
    this.#at = at + 2 + length;
    if (marker === SOS) this.#in = 'data';
    return this.#at > this.#maxBytes ? this.#damaged(at) : null;
  }

  #skipData(): 'more' | null | Buffer {
    for (let at = this.#bytes.indexOf(0xff, this.#at); at >= 0; at = this.#bytes.indexOf(0xff, at + 1)) {
      const next = this.#bytes[at + 1];
      if (next === undefined) {
        this.#at = at;
        return 'more';
      }
      if (next === EOI) return this.#end(at + 2);
      if (next === SOI) return this.#damaged(at);
      // Another scan, or tables between two scans. Stuffed zeros, fill bytes and restart markers belong to the data.
      if (next >= 0xc0 && (next < 0xd0 || next > 0xd7) && next !== 0xff) {
        this.#at = at;
        this.#in = 'segments';
        return null;
      }
    }
    this.#at = this.#bytes.length;
    return 'more';
  }

  #end(at: number): Buffer {
    const picture = Buffer.from(this.#bytes.subarray(0, at));
    this.#bytes = this.#bytes.subarray(at);
    this.#in = 'gap';
    return picture;
  }

  /** Goes on looking for the start of a picture from here. */
  #damaged(at: number): null {
    this.broken++;
    this.#bytes = this.#bytes.subarray(Math.max(at, 2));
    this.#in = 'gap';
    return null;
  }
}
