import { RuntimeError } from '../../errors.js';

/** Number formats of a layer's multiplications, from the most bits down. */
export type Format = 'int8' | 'w4a8' | 'w46' | 'int4' | 'ternary';

export const formats: readonly Format[] = ['int8', 'w4a8', 'w46', 'int4', 'ternary'];

/** How many values weights and activations of a layer can take. */
export interface Grid {
  format: Format;
  /** Odd: integers from -(weights - 1) / 2 up to (weights - 1) / 2. */
  weights: number;
  /** Codes 0 .. activations - 1. */
  activations: number;
}

/** A product of a weight and an activation counted from the middle of its codes must fit a signed byte. */
const largestProduct = 127;

/** Largest magnitude of a weight. */
export const largestCode = ({ weights }: Pick<Grid, 'weights'>): number => Math.floor(weights / 2);

/**
 * The most activation levels that weights of so many levels allow (Trusov et al., doi 10.3390/math12050651): with them every product
 * fits 8 bits, and 258 of them can be added in 16.
 */
export const activationLevelsFor = (weights: number): number => 2 * Math.floor(largestProduct / Math.floor(weights / 2)) + 1;

/** Levels of weights and activations. */
export type LevelPair = Pick<Grid, 'weights' | 'activations'>;

const defaults: Readonly<Record<Format, LevelPair>> = {
  int8: { weights: 255, activations: 256 },
  w4a8: { weights: 15, activations: 256 },
  w46: { weights: 19, activations: activationLevelsFor(19) },
  int4: { weights: 15, activations: 16 },
  ternary: { weights: 3, activations: 3 },
};

/** Levels that `w4a8` chooses from when none are given: from 2.8 bits a weight to 6. */
export const offeredLevels: readonly number[] = [7, 11, 15, 19, 25, 31, 63];

/** @throws RuntimeError E_QUANTIZE naming the level that cannot be */
function checkPair(format: Format, { weights, activations }: LevelPair): void {
  const refuse = (message: string): never => {
    throw new RuntimeError('E_QUANTIZE', message, { details: { weightLevels: weights, activationLevels: activations } });
  };
  if (!Number.isInteger(weights) || weights < 3 || weights > 255 || weights % 2 === 0) refuse(`Expected an odd number of weight levels, 3 to 255, but received ${weights}: a symmetric grid has as many below zero as above`);
  if (!Number.isInteger(activations) || activations < 2 || activations > 256) refuse(`Expected 2 to 256 activation levels but received ${activations}`);
  if (format === 'w4a8') return activations === 256 ? undefined : refuse(`Expected 256 activation levels for w4a8 but received ${activations}: its products are those of int8`);
  const product = Math.floor(weights / 2) * Math.floor(activations / 2);
  if (product > largestProduct) {
    refuse(`${weights} weight levels with ${activations} activation levels make products up to ${product}, beyond the ${largestProduct} that fit 8 bits; with ${weights} use at most ${activationLevelsFor(weights)}`);
  }
}

/**
 * The grid of a format. Other levels than the format's own are for `w46`, which is any pair whose products fit 8 bits, and for the weights of
 * `w4a8`, whose activations keep 8 bits: it is no faster than int8, but smaller.
 * @param levels default of w46: 19 weight levels and as many activation levels as they allow, 29; of w4a8: 15, which INT4 holds
 * @throws RuntimeError E_QUANTIZE: a pair that breaks the bound, an even number of weight levels, levels for another format
 */
export function gridOf(format: Format, levels?: { weights: number; activations?: number }): Grid {
  if (levels === undefined) return { format, ...defaults[format] };
  if (format !== 'w46' && format !== 'w4a8') throw new RuntimeError('E_QUANTIZE', `Expected levels for the formats w46 and w4a8 only but received them for ${format}`);
  const pair = { weights: levels.weights, activations: levels.activations ?? (format === 'w4a8' ? 256 : activationLevelsFor(levels.weights)) };
  checkPair(format, pair);
  return { format, ...pair };
}
