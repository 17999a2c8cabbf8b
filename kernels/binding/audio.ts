import type { FrontEndHandle, Isa } from './addon.js';
import { KernelError } from './errors.js';
import { loadAddon } from './load.js';

/** Weighted sums of neighbouring values: band m is the sum over i < length[m] of its weights times value[first[m] + i]. */
export interface Bands {
  first: Uint32Array;
  length: Uint32Array;
  /** Of all bands, one after the other. */
  weights: Float32Array;
}

/** How the energy of a band becomes a feature. */
export type Compression =
  | { type: 'none' }
  /** scale * ln(max(x, floor) + offset) + shift */
  | { type: 'log'; floor: number; offset: number; scale: number; shift: number }
  /** (x / (epsilon + M)^gain + bias)^power - bias^power, M being x smoothed over time from 1 on: M += smooth * (x - M). */
  | { type: 'pcen'; smooth: number; gain: number; bias: number; power: number; epsilon: number };

/** A feature extractor as numbers. runtime/audio/features.ts makes it of a definition. */
export interface FrontEndConfig {
  /** Samples from one frame to the next, at most the length of the window. */
  hop: number;
  /** Size of the Fourier transform, a power of two of 32..8192. */
  points: number;
  /** Zeros before the first sample. Default 0. */
  padding?: number;
  /** Its length, at most `points`, is that of a frame. A gain on the samples is part of it. */
  window: Float32Array;
  /** Takes the mean of each frame out of it. Default false. */
  removeMean?: boolean;
  /** Before the window: x[i] -= preemphasis * x[i - 1]; x[0] -= preemphasis * x[0]. Default 0. */
  preemphasis?: number;
  /** Amplitudes instead of their squares. Default false. */
  magnitude?: boolean;
  /** Over the points / 2 + 1 bins. Default: the bins. */
  bands?: Bands;
  compression: Compression;
  /** Cosine transform of the compressed bands, a row for each coefficient. Default: none. */
  cosines?: Float32Array;
  /** (feature - mean) * factor, one value for each feature. Default: none. */
  normalize?: { mean: Float32Array; factor: Float32Array };
  /** Rows of codes round(x / scale) + zeroPoint, clamped, instead of floats. */
  codes?: { type: 'int8' | 'uint8'; scale: number; zeroPoint: number };
  /** Kernel variant. Default: the fastest that this CPU can run. */
  isa?: Isa;
}

const leastPoints = 32;
const mostPoints = 8192;
const compressions = ['none', 'log', 'pcen'] as const;

/**
 * Turns a stream of samples into rows of features. Each row is computed once, when its last sample has come, and stays in a ring of the newest
 * `rows` rows, which lie in one piece at any time.
 */
export class FrontEnd {
  /** Values in a row. */
  readonly features: number;
  /** Rows that `window` holds. */
  readonly rows: number;
  readonly #handle: FrontEndHandle;
  readonly #ring: Float32Array | Int8Array | Uint8Array;
  #position = 0;

  /** @throws KernelError E_ARGUMENT, E_ISA */
  constructor(config: FrontEndConfig, rows: number) {
    const { window, hop, points, padding = 0, bands = noBands(), codes, normalize } = config;
    if (!Number.isInteger(points) || points < leastPoints || points > mostPoints || (points & (points - 1)) !== 0) throw expected('a power of two of 32..8192', 'points', points);
    if (window.length < 1 || window.length > points) throw expected(`1 to ${String(points)} values`, 'window', window.length);
    if (!Number.isInteger(hop) || hop < 1 || hop > window.length) throw expected(`an integer of 1..${String(window.length)} (the length of a frame)`, 'hop', hop);
    if (!Number.isInteger(padding) || padding < 0 || padding > mostPoints) throw expected('an integer of 0..8192', 'padding', padding);
    if (!Number.isInteger(rows) || rows < 1 || rows > 65_536) throw expected('an integer of 1..65536', 'rows', rows);
    const bins = bands.first.length === 0 ? points / 2 + 1 : bands.first.length;
    const cosines = denseBands(config.cosines ?? new Float32Array(0), bins);
    this.features = cosines.first.length === 0 ? bins : cosines.first.length;
    this.rows = rows;
    checkNormalization(normalize, this.features);
    this.#handle = loadAddon().audio.open(
      numbersOf(config), window, bands.first, bands.length, bands.weights, cosines.first, cosines.length, cosines.weights,
      normalize?.mean ?? new Float32Array(0), normalize?.factor ?? new Float32Array(0), codes?.scale ?? 0, config.isa,
    );
    const size = 2 * rows * this.features;
    this.#ring = codes === undefined ? new Float32Array(size) : codes.type === 'int8' ? new Int8Array(size) : new Uint8Array(size);
  }

  /** Rows written so far. */
  get position(): number {
    return this.#position;
  }

  /** Samples that were NaN or infinite so far; each counted as 0. */
  get notFinite(): number {
    return loadAddon().audio.notFinite(this.#handle);
  }

  /** Takes samples, -1..1, and returns how many rows they completed. */
  push(samples: Float32Array): number {
    const written = loadAddon().audio.push(this.#handle, samples, this.#ring, this.rows);
    this.#position += written;
    return written;
  }

  /** The newest `rows` rows, the oldest first: a view, which the next `push` changes. Rows before the first one hold zeros. */
  get window(): Float32Array | Int8Array | Uint8Array {
    const start = (this.#position % this.rows) * this.features;
    return this.#ring.subarray(start, start + this.rows * this.features);
  }

  /** The newest row: a view, which the next `push` changes. */
  get newest(): Float32Array | Int8Array | Uint8Array {
    return this.window.subarray((this.rows - 1) * this.features);
  }

  /** Forgets the samples of incomplete frames, as after a gap in the stream. The rows stay. */
  reset(): void {
    loadAddon().audio.reset(this.#handle);
  }
}

function numbersOf({ hop, points, padding = 0, removeMean = false, preemphasis = 0, magnitude = false, compression, codes }: FrontEndConfig): Float64Array {
  const log = compression.type === 'log' ? [compression.floor, compression.offset, compression.scale, compression.shift] : [0, 0, 1, 0];
  const pcen = compression.type === 'pcen' ? [compression.smooth, compression.gain, compression.bias, compression.power, compression.epsilon] : [0, 0, 1, 1, 1];
  const numbers = [
    hop, points, padding, Number(removeMean), preemphasis, Number(magnitude), compressions.indexOf(compression.type), ...log, ...pcen,
    codes === undefined ? 0 : codes.type === 'int8' ? 1 : 2, codes?.zeroPoint ?? 0,
  ];
  const wrong = numbers.find((value) => !Number.isFinite(value));
  if (wrong !== undefined) throw expected('finite numbers', 'the front end', wrong);
  return Float64Array.from(numbers);
}

function noBands(): Bands {
  return { first: new Uint32Array(0), length: new Uint32Array(0), weights: new Float32Array(0) };
}

function denseBands(matrix: Float32Array, columns: number): Bands {
  const rows = matrix.length / columns;
  if (!Number.isInteger(rows)) throw expected(`rows of ${String(columns)} values`, 'cosines', `${String(matrix.length)} values`);
  return { first: new Uint32Array(rows), length: new Uint32Array(rows).fill(columns), weights: matrix };
}

function checkNormalization(normalize: FrontEndConfig['normalize'], features: number): void {
  for (const [name, values] of Object.entries(normalize ?? {})) {
    if (values.length !== features) throw expected(`${String(features)} values`, `normalize.${name}`, values.length);
  }
}

function expected(what: string, argument: string, received: number | string): KernelError {
  return new KernelError('E_ARGUMENT', `Expected ${what} for ${argument} but received ${String(received)}`, { details: { argument } });
}
