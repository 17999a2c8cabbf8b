import { RuntimeError } from '../errors.js';
import { aNumber, checkOptions, type OptionKinds } from '../options.js';

/** How much an incremental run computes around what has changed. */
export interface IncrementalOptions {
  /** Maps whose cells are at least so many pixels of the picture wide or high get a ring of neighbours around each active cell. Default 16. */
  contextStride?: number;
  /** The width of that ring, in cells of the map. Default 1. */
  context?: number;
  /** Maps whose cells are at least so many pixels wide or high are computed in full: they are small. Default 64. */
  wholeStride?: number;
}

/** Where an option says nothing else. */
export const defaultIncrement: Required<IncrementalOptions> = { contextStride: 16, context: 1, wholeStride: 64 };

const kinds: OptionKinds<Required<IncrementalOptions>> = { contextStride: aNumber, context: aNumber, wholeStride: aNumber };

/** @throws RuntimeError E_OPTION */
export function checkIncremental(where: string, incremental: boolean | IncrementalOptions | undefined): void {
  if (typeof incremental !== 'object') return;
  checkOptions(`incremental of ${where}`, incremental, kinds);
  const { context = defaultIncrement.context } = incremental;
  if (Number.isInteger(context) && context >= 0 && context <= 64) return;
  throw new RuntimeError('E_OPTION', `Expected a whole number of 0..64 cells for context in incremental of ${where} but received ${context}`, { details: { option: 'context' } });
}
