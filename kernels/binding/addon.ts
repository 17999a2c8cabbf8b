/** What the addon exports, and the types of what it takes and gives. */
import type { Affinity } from './affinity.js';
import type { isas } from './tables.js';

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
  /** The program's table of regions (`kernels/engine/regions.h`): runs may then compute a part and keep the rest. */
  regions?: Uint32Array;
  /** Runs with the lowest priority that the system has for a thread, and never within the call. Default false. */
  background?: boolean;
}

/** Which cells of a grid are active: cell i, row-major, is bit i & 7 of byte i >> 3. */
export interface CellMask {
  width: number;
  height: number;
  bits: Uint8Array;
}

/** What an incremental run is to compute: the cells of a grid over the picture, sides of 1..4096, and whether the outputs hold what the last run wrote. */
export interface ActiveCells extends CellMask {
  outputsKept: boolean;
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
  /** Whether each op can be computed in part, by index; all false without regions. */
  readonly inParts: readonly boolean[];
  /**
   * Dense row-major inputs and outputs in program order; each view's byte length must match exactly.
   * Outputs are written in place. The views must not be transferred or changed until the promise settles.
   * @throws KernelError E_ARGUMENT
   */
  run(inputs: readonly ArrayBufferView[], outputs: readonly ArrayBufferView[]): Promise<void>;
  /**
   * As `run`, for a program with regions: computes what the active cells ask for and keeps the rest from the runs before; everything when
   * nothing is kept. `outputsKept`: the views hold what the last run wrote there. Resolves to what was computed, as a share of everything.
   */
  run(inputs: readonly ArrayBufferView[], outputs: readonly ArrayBufferView[], active: ActiveCells | undefined): Promise<number>;
  /**
   * Runs ops `first` to `end` - 1 only. What earlier ones left in the program's memory is still there, so parts that follow each other give
   * what a whole run does. Null for `inputs`: they stay as they are. Null for an output: it is not written. `active`: as in `run`; ops behind `end`
   * keep what they have, so that a later part has to name the cells that they missed. Resolves to the share of the cost of everything that was computed
   * if the program has regions.
   * @throws KernelError E_ARGUMENT, also when a strip would be cut
   */
  runPart(first: number, end: number, inputs: readonly ArrayBufferView[] | null, outputs: readonly (ArrayBufferView | null)[], active?: ActiveCells): Promise<number>;
  /** As `run`, and times every op. */
  profile(inputs: readonly ArrayBufferView[], outputs: readonly ArrayBufferView[], active?: ActiveCells): Promise<OpProfile[]>;
  /** Gives the memory of the kept maps back to the system; the next run computes everything. False while a run is pending: nothing happens then. */
  dropKept(): boolean;
  /** Waits for a running inference, then frees all memory. Idempotent. */
  close(): Promise<void>;
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

/** Where in a canvas a picture is drawn. */
export interface Area {
  left: number;
  top: number;
  width: number;
  height: number;
}

/** What `kernels/node/image.cpp` exports as `image`. Every size has been checked here; it checks again what memory safety needs. */
export interface ImageAddon {
  resize(
    src: Uint8Array, width: number, height: number, stride: number, x: number, y: number, regionWidth: number, regionHeight: number,
    dst: Uint8Array, dstWidth: number, channels: number, area: Area, edge: boolean,
  ): void;
  warp(
    src: Uint8Array, width: number, height: number, stride: number, matrix: Float64Array,
    dst: Uint8Array, dstWidth: number, dstHeight: number, channels: number,
  ): void;
  greyCells(src: Uint8Array, width: number, height: number, stride: number, factor: number, rowStep: number, cells: Uint8Array): void;
  updateBackground(cells: Uint8Array, background: Float32Array, threshold: number, rate: number, mask: Uint8Array): number;
  learnBackground(data: Uint8Array, channels: number, zeroPoint: number, signed: boolean, background: Int16Array, streaks: Uint8Array): void;
  featureGate(
    data: Uint8Array, channels: number, zeroPoint: number, signed: boolean, background: Int16Array, streaks: Uint8Array, mask: Uint8Array,
    threshold: number, shift: number, patience: number, renewal: number,
  ): number;
}

/** An open front end of the addon; only its functions can look inside. */
export type FrontEndHandle = object & { readonly __frontEnd: unique symbol };

/** What `kernels/node/audio.cpp` exports as `audio`. Every argument has been checked in audio.ts; it checks again what memory safety needs. */
export interface AudioAddon {
  open(
    numbers: Float64Array, window: Float32Array, first: Uint32Array, length: Uint32Array, weights: Float32Array,
    cosineFirst: Uint32Array, cosineLength: Uint32Array, cosineWeights: Float32Array, mean: Float32Array, factor: Float32Array,
    codeScale: number, isa: string | undefined,
  ): FrontEndHandle;
  push(frontEnd: FrontEndHandle, samples: Float32Array, ring: ArrayBufferView, ringRows: number): number;
  notFinite(frontEnd: FrontEndHandle): number;
  reset(frontEnd: FrontEndHandle): void;
}

/** What the addon exports; `image` is what `kernels/node/image.cpp` exports. */
export interface Addon {
  setErrorFactory(factory: (code: string, message: string, op: number) => Error): void;
  describeCpu(): CpuDescription;
  measurePeaks(isa: Isa): PeakRate[];
  loadProgram(bytes: Uint8Array, options: LoadOptions): NativeProgram;
  loadProgramFile(place: ProgramFile, options: LoadOptions): NativeProgram;
  packProgram(bytes: Uint8Array, options: LoadOptions): Uint8Array;
  checksumOf(bytes: Uint8Array): bigint;
  notifySystemd(message: string): boolean;
  frugalMemory(): boolean;
  releaseProgramPages(): Promise<number>;
  copyBytes(target: ArrayBufferView, source: ArrayBufferView): void;
  allFinite(data: Float32Array): boolean;
  dieWithParent(): boolean;
  openPipe(bytes: number): { readFd: number; writeFd: number } | null;
  stripBytes(shapes: Float64Array): number;
  readonly image: ImageAddon;
  /** `kernels/binding/nearest.ts` says what these are. */
  nearestCandidates(
    codes: Int8Array, scales: Float32Array, errors: Float32Array, owners: Int32Array, count: number, depth: number,
    query: Int8Array, queryScale: number, queryError: number, wanted: number, cosines: Float32Array, out: Uint32Array,
  ): number;
  readonly audio: AudioAddon;
}
