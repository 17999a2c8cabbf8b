/** Which blocks are here, asked for, or wanted next: the pure part of a download. */

/** A set of block numbers 0..count-1 as bits, least significant first. */
export class BlockSet {
  readonly count: number;
  readonly bits: Buffer;
  #size = 0;

  constructor(count: number, bits?: Uint8Array) {
    const bytes = Math.ceil(count / 8);
    this.count = count;
    // A bitmap of another length belongs to another way of cutting: begin anew.
    this.bits = bits !== undefined && bits.length === bytes ? Buffer.from(bits) : Buffer.alloc(bytes);
    for (let i = 0; i < count; i++) if (this.has(i)) this.#size += 1;
  }

  get size(): number {
    return this.#size;
  }

  get complete(): boolean {
    return this.#size === this.count;
  }

  has(index: number): boolean {
    return ((this.bits[index >> 3] ?? 0) & (1 << (index & 7))) !== 0;
  }

  /** @returns false when it was there already */
  add(index: number): boolean {
    if (index < 0 || index >= this.count || this.has(index)) return false;
    this.bits[index >> 3] = (this.bits[index >> 3] ?? 0) | (1 << (index & 7));
    this.#size += 1;
    return true;
  }
}

/**
 * The next blocks to ask for: the lowest that are neither here nor on the way, so that never more than `window` are on
 * the way. Asks again only when half of the window is free: fewer, larger requests.
 */
export function nextRequest(have: BlockSet, outstanding: ReadonlySet<number>, window: number): number[] {
  const free = window - outstanding.size;
  if (free < Math.ceil(window / 2)) return [];
  const wanted: number[] = [];
  for (let index = 0; index < have.count && wanted.length < free; index++) {
    if (!have.has(index) && !outstanding.has(index)) wanted.push(index);
  }
  return wanted;
}
