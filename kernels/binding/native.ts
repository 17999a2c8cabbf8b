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

/** XXH64 of some bytes: tells damaged files, not forged ones. @throws KernelError E_ARGUMENT */
export function checksumOf(bytes: Uint8Array): bigint {
  return loadAddon().checksumOf(bytes);
}
