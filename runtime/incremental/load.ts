import type { LoadOptions } from '../../kernels/binding/index.js';
import type { CompiledProgram } from '../lower/compile.js';

/** The options with which a program is loaded: with its table of regions, if it has one. */
export function withRegions(load: LoadOptions, { regions }: Pick<CompiledProgram, 'regions'>): LoadOptions {
  return regions === undefined ? load : { ...load, regions: Uint32Array.from(regions) };
}
