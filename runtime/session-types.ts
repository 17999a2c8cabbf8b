import type { Affinity, CellMask, Isa } from '../kernels/binding/index.js';
import type { RuntimeError } from './errors.js';
import type { IncrementalOptions } from './incremental/options.js';
import type { ModelLimits } from './onnx/types.js';
import type { Tensor, TensorInfo } from './tensor.js';

export const engineNames = ['native', 'onnxruntime'] as const;
export type EngineName = (typeof engineNames)[number];

/**
 * Declares that an image input is fed with raw 8-bit pixels in HWC order, and how the model expects them normalized:
 * value = (pixel - mean[c]) / std[c], with the channels in the order of the model. The engine folds this into the model's own
 * quantization, so normalization costs (nearly) nothing. The feed then has type uint8 and dims [1, H, W, C].
 */
export interface PixelInput {
  mean: readonly number[];
  std: readonly number[];
}

/** Cache of compiled programs: a model that was opened before with the same options loads in milliseconds. */
export interface ProgramCache {
  /** Folder of the cache; created if it does not exist. Several processes may share it. Nobody else should be able to write to it. */
  dir: string;
  /** Upper bound for the total size of its files, bytes; the least recently used files are removed. Default 256 MiB. */
  maxBytes?: number;
  /** Called for a damaged program, which is then compiled again (E_CACHE_DAMAGED), and for a folder that cannot be used (E_CACHE_UNUSABLE). */
  onWarning?: (warning: RuntimeError) => void;
}

export interface SessionOptions {
  /** Default `native`. `onnxruntime` needs the optional package onnxruntime-node. */
  engine?: EngineName;
  /** Upper bound for the number of threads. Default 1. */
  threads?: number;
  /** Native engine: the kind of cores on which its threads run. Default: any. It has no effect if all cores are of one kind. */
  affinity?: Affinity;
  /** Native engine: instruction set of the kernels. Default: the fastest that this CPU can run. */
  isa?: Isa;
  /** Normalization of inputs that are fed with raw pixels, by input name. */
  pixels?: Readonly<Record<string, PixelInput>>;
  /** Values of symbolic dimensions, by `dim_param`. Dimensions that neither `symbols` nor `shapes` gives become 1. */
  symbols?: Readonly<Record<string, number>>;
  /** Complete shapes by input name, for dimensions that the file leaves open, including those without a name. */
  shapes?: Readonly<Record<string, readonly number[]>>;
  /** Native engine: name of a layer, as `inspect` lists it, after which a run can be stopped and resumed (`Session.split`). */
  split?: string;
  /** Native engine: runs with the lowest priority that the system has for a thread, and never within the call. Default false. */
  background?: boolean;
  /** Native engine: whether convolutions may run in strips, which takes less memory and gives the same result to the bit. Default true. */
  strips?: boolean;
  /**
   * Native engine, models with one picture as input: the session keeps all feature maps between runs, so that a run can compute only what has
   * changed (`active` of `run`). The maps then share no memory, and there are no strips. Default false.
   */
  incremental?: boolean | IncrementalOptions;
  /**
   * Types of inputs and outputs that the model declares as float16 or float64: `declared` takes and gives these (float16 as the bits in a Uint16Array),
   * `float32` takes and gives float32 instead. The native engine computes in float32 either way. Default `declared`.
   */
  floats?: 'declared' | 'float32';
  /** Upper bound for the engine's memory, bytes. Default 1 GiB. */
  memoryLimitBytes?: number;
  /**
   * Native engine: if the previous run took less than this, in milliseconds, the next one runs within the call. This saves two wake-ups of
   * threads (0.1 to 0.4 ms on a virtual machine). Infinity suits a worker thread that does nothing else. Default 0.5.
   */
  maxBlockingMs?: number;
  /** Native engine: where compiled programs are kept. Default: no cache. */
  cache?: ProgramCache;
  /** SHA-256 of the model in lower-case hexadecimal, if you know it already; the cache lookup then needs no hashing. */
  modelSha256?: string;
  /** Native engine: limits for the model; `defaultLimits` supplies those that are not given. */
  limits?: Partial<ModelLimits>;
}

export interface SessionStats {
  engine: EngineName;
  isa?: Isa;
  threads: number;
  loadMs: number;
  /** Native engine with a cache: whether the program came from the cache. */
  cached?: boolean;
  /** Of an incremental session this contains the kept maps. */
  arenaBytes?: number;
  packedBytes?: number;
  /** Native engine: how often a run had to compile the model for the values that it was fed, the first of them included. 0 for most models. */
  recompilations?: number;
  /** Native engine: nodes that no program can have and that the reference implementations compute; left out where there are none. */
  interpretedNodes?: number;
}

export interface LayerProfile {
  /** Name of the ONNX node; for a fused group, of its last node. */
  name: string;
  op: string;
  kernel: string;
  ms: number;
  macs: number;
  /** Number format of the arithmetic; `none` for ops that only move data. */
  format: 'int8' | 'float32' | 'none';
  /** Bytes of the tensors that the op reads (including weights) and writes; each tensor counts once. */
  bytesRead: number;
  bytesWritten: number;
}

/** The feature maps that an incremental session keeps between runs. */
export interface KeptMaps {
  /** Their memory, which `arenaBytes` contains. */
  readonly bytes: number;
  /** Whether they hold the maps of the last run; otherwise the next run computes everything. */
  readonly valid: boolean;
  /** What the last run computed, as a share of the estimated cost of everything; a suffix adds to what its prefix computed. */
  readonly share: number;
  /** The cells that the last run, prefix or suffix computed; null: everything. */
  readonly active: CellMask | null;
  /** Gives their memory back to the system; the next run computes everything. */
  drop(): void;
}

/** A model in two parts, which together give the bits of a whole run and compute nothing twice. */
export interface SplitRun {
  /** Name of the layer, and its feature map [1, H, W, C]. */
  readonly name: string;
  readonly features: TensorInfo;
  /** The value that stands for 0 in the features; 0 for float. */
  readonly zeroPoint: number;
  /**
   * Runs the layers that the features need. The tensor's memory is used again by the next call. `active` of an incremental session: as of `run`.
   * @throws RuntimeError E_INPUT as `run`
   */
  prefix(feeds: Readonly<Record<string, Tensor>>, active?: CellMask): Promise<Tensor>;
  /**
   * Goes on from the last `prefix`, and gives what `run` would. An incremental session computes what all prefixes since the last outputs have asked for.
   * @throws RuntimeError E_INPUT when another run came in between, or none was stopped
   */
  suffix(reused?: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>;
}

/** A model that is ready to run. Calls of `run` are queued in order; the event loop is not blocked for longer than `maxBlockingMs`. */
export interface Session {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  readonly stats: SessionStats;
  /**
   * Runs the model once. Outputs that `reused` names, as a rule what an earlier run gave, are written into those tensors and make no
   * garbage: their former values are gone. An output whose shape depends on the data is a new tensor each time, and the engine
   * `onnxruntime` copies into them. Feeds are read, and reused tensors written, until the run has ended: leave their memory alone until then.
   *
   * With `active`, an incremental session computes only what those cells of a grid over the picture ask for, and keeps the rest from the
   * runs before: every op computes its output under the active cells from what its inputs hold. It computes everything when nothing is kept.
   * Tensors of the last run in `reused` must still hold what that run wrote.
   * @throws RuntimeError E_INPUT for feeds or reused tensors that are missing, unknown, or of the wrong type or shape, and for reused memory
   * that a feed, another output or a run under way uses
   */
  run(feeds: Readonly<Record<string, Tensor>>, reused?: Readonly<Record<string, Tensor>>, active?: CellMask): Promise<Record<string, Tensor>>;
  /** What an incremental session keeps. */
  readonly kept?: KeptMaps;
  /** With the option `split`: the model in two parts. */
  readonly split?: SplitRun | undefined;
  /** Runs once and measures each layer (native engine only). */
  profile?(feeds: Readonly<Record<string, Tensor>>, active?: CellMask): Promise<LayerProfile[]>;
  close(): Promise<void>;
}
