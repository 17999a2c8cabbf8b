import { coresFor, type Affinity } from './affinity.js';
import { loadAddon } from './load.js';
import { isas } from './tables.js';

export { isas };
export type Isa = (typeof isas)[number];

/** Why an ISA is or is not used on this CPU. */
export interface IsaStatus {
  isa: Isa;
  built: boolean;
  runnable: boolean;
  /** Human-readable: "selected", "CPU lacks avx512_vnni", "masked by STERNA_ISA", ... */
  reason: string;
}

export interface CpuDescription {
  arch: string;
  model: string;
  features: string[];
  isas: IsaStatus[];
  /** The ISA a program is loaded for unless asked otherwise. */
  selected: Isa;
  /** Type of 8-bit activations that the selected ISA's kernels take. */
  activation: 'uint8' | 'int8';
}

/** How fast one instruction (or the few that make one multiply-add) multiplies what is in registers already. */
export interface PeakRate {
  /** `vpdpbusd zmm`, `vpmaddwd + vpaddd ymm`, ... */
  instruction: string;
  format: 'int8' | 'float32';
  macsPerSecond: number;
}

export interface LoadOptions {
  /**
   * Threads that share an op's output rows, 1 by default. Results are bit-identical for every count; no more of them run at a time, over all
   * programs of the process, than there are cores.
   */
  threads?: number;
  /** Cores that these threads stay on. Any by default, and where all are of one kind (`coresFor` says). */
  affinity?: Affinity;
  /** Use this variant instead of the best one; it must be built and runnable. */
  isa?: Isa;
  /** Upper bound for arena + packed weights + scratch, bytes. Default 1 GiB. */
  memoryLimitBytes?: number;
  /**
   * A run that nothing else of the program waits for, and whose last one took less than this, runs within the call: handing it to another
   * thread and back takes 0.1 to 0.4 ms on a virtual machine. Infinity suits a worker thread that does nothing else. Default 0.5.
   */
  maxBlockingMs?: number;
}

export interface OpProfile {
  /** Index of the op in the program. */
  op: number;
  opcode: number;
  /** The kernel that ran it, e.g. `gemm_q8/avx512vnni`. */
  kernel: string;
  /** Wall time of the last profiled run, milliseconds. */
  ms: number;
}

/**
 * A loaded program. Runs one inference at a time, on its own thread; concurrent `run` calls queue in order. A short one runs within the
 * call (`maxBlockingMs`).
 */
export interface NativeProgram {
  readonly isa: Isa;
  readonly threads: number;
  readonly arenaBytes: number;
  readonly scratchBytes: number;
  readonly packedBytes: number;
  /** Kernel chosen for each op, by index. */
  readonly kernels: readonly string[];
  /** Why that kernel, in words for people: how few codes a quantized layer has, and what kept it on 8 bits. May be empty. */
  readonly notes: readonly string[];
  /**
   * Dense row-major inputs and outputs in program order; each view's byte length must match exactly.
   * Outputs are written in place. The views must not be transferred or changed until the promise settles.
   * @throws KernelError E_ARGUMENT
   */
  run(inputs: readonly ArrayBufferView[], outputs: readonly ArrayBufferView[]): Promise<void>;
  /** As `run`, and times every op. */
  profile(inputs: readonly ArrayBufferView[], outputs: readonly ArrayBufferView[]): Promise<OpProfile[]>;
  /** Waits for a running inference, then frees all memory. Idempotent. */
  close(): Promise<void>;
}

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

/** Where in an open file a program is. */
export interface ProgramFile {
  /** A descriptor open for reading; the program does not need it after the call. */
  fd: number;
  /** Of its first byte. With a multiple of 64, packed weights are used where they are; otherwise they are copied. */
  offset: number;
  bytes: number;
  /** Of these bytes: `checksumOf`. */
  checksum: bigint;
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
