import type { Isa, CpuDescription, PeakRate, LoadOptions, NativeProgram, ProgramFile } from './addon.js';
import { coresFor } from './affinity.js';
import { loadAddon } from './load.js';
import { isas } from './tables.js';

export { isas };
export type { Isa, IsaStatus, CpuDescription, PeakRate, LoadOptions, OpProfile, ActiveCells, CellMask, NativeProgram, ProgramFile } from './addon.js';

/** As the addon wants them: CPUs instead of a kind of core. */
function nativeOptions({ affinity = 'any', ...options }: LoadOptions): Omit<LoadOptions, 'affinity'> & { cpus?: readonly number[] } {
  const { cpus } = coresFor(affinity);
  return cpus === null ? options : { ...options, cpus };
}

/** CPU features, the variants and which one is used. `STERNA_ISA` (comma list of allowed ISAs) may only remove. */
export function describeCpu(): CpuDescription {
  return loadAddon().describeCpu();
}

/**
 * Measures the peaks of an instruction set: one thread, the fastest of many short bursts. Blocks the caller for some 20 ms for
 * each instruction. Empty for `ref`.
 * @throws KernelError E_ISA
 */
export function measurePeaks(isa: Isa): PeakRate[] {
  return loadAddon().measurePeaks(isa);
}

/**
 * Validates a program, packs its weights for the ISA and allocates everything it will ever need.
 * @throws KernelError E_PROGRAM_*, E_ISA, E_ARGUMENT, E_OUT_OF_MEMORY
 */
export function loadProgram(bytes: Uint8Array, options: LoadOptions = {}): NativeProgram {
  return loadAddon().loadProgram(bytes, nativeOptions(options));
}

/**
 * As `loadProgram`, from a file that stays mapped until the program is closed. Reads it once to check it. The file must not be written
 * to or truncated in the meantime; renaming another one over it, or unlinking it, is fine.
 * @throws KernelError E_PROGRAM_FILE when the file is too short, unreadable or not what the checksum says; else as `loadProgram`
 */
export function loadProgramFile(place: ProgramFile, options: LoadOptions = {}): NativeProgram {
  return loadAddon().loadProgramFile(place, nativeOptions(options));
}

/**
 * The same program with its weights packed for the kernels that `options` select: it loads in a fraction of the time, with the same
 * `isa` and `threads` only.
 * @throws KernelError as `loadProgram`
 */
export function packProgram(bytes: Uint8Array, options: LoadOptions = {}): Uint8Array {
  return loadAddon().packProgram(bytes, options);
}

/** One op of a strip: the rows of its maps, the bytes of a row of its output, and how it slides over its input. */
export interface StripShape {
  readonly inputRows: number;
  readonly outputRows: number;
  readonly outputRowBytes: number;
  /** Output row r reads `taps` input rows from r * stride on. */
  readonly taps: number;
  readonly stride: number;
}

/**
 * What the maps between the ops of a strip take in a thread, bytes. How many rows it makes at a time is the engine's choice.
 * @throws KernelError E_NATIVE_MISSING, E_ARGUMENT
 */
export function stripBytes(ops: readonly StripShape[]): number {
  const fields = ops.flatMap(({ inputRows, outputRows, outputRowBytes, taps, stride }) => [inputRows, outputRows, outputRowBytes, taps, stride]);
  return loadAddon().stripBytes(Float64Array.from(fields));
}

/** XXH64 of some bytes: tells damaged files, not forged ones. @throws KernelError E_ARGUMENT */
export function checksumOf(bytes: Uint8Array): bigint {
  return loadAddon().checksumOf(bytes);
}
