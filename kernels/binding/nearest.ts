import { KernelError } from './errors.js';
import { loadAddon } from './load.js';

/** The kernels take rows whose length is a multiple of this. */
const step = 64;
const largestCode = 127;
export const nearestLimits = { dimensions: 65_536, owners: 8 } as const;

/** A unit vector as scale * codes + rest; `error` is the length of the rest, rounded up. */
interface Rounded {
  scale: number;
  error: number;
}

/**
 * Unit vectors with their owners, rounded to 8 bits each with a scale of its own, and ready to be searched. `candidates` leaves out only rows
 * that cannot be the answer, by a bound of what rounding can change; the caller compares those that are left in float. So the answer is that of
 * comparing all of them in float, whatever the vectors are.
 */
export class NearestRows {
  readonly count: number;
  readonly #dimensions: number;
  readonly #depth: number;
  readonly #codes: Int8Array;
  readonly #scales: Float32Array;
  readonly #errors: Float32Array;
  readonly #owners: Int32Array;
  readonly #query: Int8Array;
  readonly #cosines: Float32Array;
  readonly #found: Uint32Array;

  /**
   * @param vectors row-major, `owners.length` x `dimensions`, each of length 1 within 0.1 %
   * @throws KernelError E_ARGUMENT
   */
  constructor(vectors: Float32Array, dimensions: number, owners: Int32Array) {
    const count = owners.length;
    if (!Number.isInteger(dimensions) || dimensions < 1 || dimensions > nearestLimits.dimensions) throw expected(`an integer of 1..${String(nearestLimits.dimensions)}`, 'dimensions', String(dimensions));
    if (vectors.length !== count * dimensions) throw expected(`${String(count * dimensions)} values`, 'vectors', String(vectors.length));
    this.count = count;
    this.#dimensions = dimensions;
    this.#depth = Math.ceil(dimensions / step) * step;
    this.#codes = new Int8Array(count * this.#depth);
    this.#scales = new Float32Array(count);
    this.#errors = new Float32Array(count);
    this.#owners = owners;
    this.#query = new Int8Array(this.#depth);
    this.#cosines = new Float32Array(count);
    this.#found = new Uint32Array(count);
    for (let row = 0; row < count; row++) {
      const at = row * dimensions;
      const { scale, error } = roundTo(this.#codes, row * this.#depth, vectors, at, dimensions);
      this.#scales[row] = scale;
      this.#errors[row] = error;
    }
  }

  /** Memory of the rows, bytes. */
  get bytes(): number {
    return this.#codes.byteLength + this.count * 20;
  }

  /**
   * Numbers of the rows, rising, that may be the best row of one of the `owners` nearest owners; they belong to the caller until the next call.
   * @param query of length 1 within 0.1 %
   * @throws KernelError E_ARGUMENT
   */
  candidates(query: Float32Array, owners: number): Uint32Array {
    if (query.length !== this.#dimensions) throw expected(`${String(this.#dimensions)} values`, 'query', String(query.length));
    if (!Number.isInteger(owners) || owners < 1 || owners > nearestLimits.owners) throw expected(`an integer of 1..${String(nearestLimits.owners)}`, 'owners', String(owners));
    const { scale, error } = roundTo(this.#query, 0, query, 0, this.#dimensions);
    const count = loadAddon().nearestCandidates(
      this.#codes, this.#scales, this.#errors, this.#owners, this.count, this.#depth, this.#query, scale, error, owners, this.#cosines, this.#found,
    );
    return this.#found.subarray(0, count);
  }
}

/** Rounds `length` values to codes of -127..127. */
function roundTo(codes: Int8Array, to: number, values: Float32Array, from: number, length: number): Rounded {
  let largest = 0;
  for (let i = 0; i < length; i++) largest = Math.max(largest, Math.abs(values[from + i] ?? 0));
  if (!(largest > 0)) return { scale: 0, error: 0 };
  const scale = Math.fround(largest / largestCode);
  let rest = 0;
  for (let i = 0; i < length; i++) {
    const value = values[from + i] ?? 0;
    const code = Math.max(-largestCode, Math.min(largestCode, Math.round(value / scale)));
    codes[to + i] = code;
    rest += (value - code * scale) ** 2;
  }
  // As a float32 it may be rounded down by less than this.
  return { scale, error: Math.sqrt(rest) * (1 + 1e-6) };
}

function expected(what: string, argument: string, received: string): KernelError {
  return new KernelError('E_ARGUMENT', `Expected ${what} for ${argument} but received ${received}`, { details: { argument } });
}
