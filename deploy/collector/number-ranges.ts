import type { Arrival } from './window-store.js';

/** Of a stream. Holes beyond are given up from the oldest on: late windows that would fill them count as duplicates. */
const MOST_RANGES = 512;

/** The numbers of a stream that have arrived, as ranges that do not touch: `3-17 19-19` as text. */
export class NumberRanges {
  readonly #ranges: [first: number, last: number][];

  constructor(text: string) {
    this.#ranges = text === '' ? [] : text.split(' ').map((range) => {
      const [first = '', last = ''] = range.split('-');
      return [Number(first), Number(last)];
    });
  }

  toString(): string {
    return this.#ranges.map(([first, last]) => `${first}-${last}`).join(' ');
  }

  /** Takes all numbers from `first` to `last`, if none of them is known. */
  take(first: number, last: number): Arrival {
    const at = this.#ranges.findIndex(([, end]) => end >= first);
    const met = at < 0 ? undefined : this.#ranges[at];
    if (met !== undefined && met[0] <= last) return met[0] <= first && met[1] >= last ? 'duplicate' : 'overlap';
    this.#insert(at < 0 ? this.#ranges.length : at, first, last);
    if (this.#ranges.length > MOST_RANGES) {
      const [a, b] = this.#ranges;
      if (a !== undefined && b !== undefined) this.#ranges.splice(0, 2, [a[0], b[1]]);
    }
    return 'added';
  }

  #insert(at: number, first: number, last: number): void {
    const [before, after] = [this.#ranges[at - 1], this.#ranges[at]];
    const from = before?.[1] === first - 1 ? at - 1 : at;
    const to = after?.[0] === last + 1 ? at + 1 : at;
    this.#ranges.splice(from, to - from, [from < at ? before?.[0] ?? first : first, to > at ? after?.[1] ?? last : last]);
  }
}
