import type { Affinity, Isa } from '../kernels/index.js';
import type { RuntimeError } from './errors.js';
import type { ModelLimits } from './onnx/types.js';
import type { Tensor, TensorInfo } from './tensor.js';

export const engineNames = ['native', 'onnxruntime'] as const;
export type EngineName = (typeof engineNames)[number];

/**
 * Declares that an image input is fed as raw 8-bit pixels, HWC, and how the model wants them:
 * value = (pixel - mean[c]) / std[c], channels in the order of the model. The engine folds it into the model's own
 * quantization, so normalisation costs (nearly) nothing. With it, the feed has type uint8 and dims [1, H, W, C].
 */
export interface PixelInput {
  mean: readonly number[];
  std: readonly number[];
}

/** Where compiled programs are kept: a model that was opened before, with the same options, then loads in milliseconds. */
export interface ProgramCache {
  /** Made when it is not there. Several processes may share it. Nobody but them should be able to write to it. */
  dir: string;
  /** Upper bound of all files in it, bytes; those not used for longest are removed. Default 256 MiB. */
  maxBytes?: number;
  /** Told of a damaged program, which is compiled again (E_CACHE_DAMAGED), and of a folder that cannot be used (E_CACHE_UNUSABLE). */
  onWarning?: (warning: RuntimeError) => void;
}

export interface SessionOptions {
  /** Default `native`. `onnxruntime` needs the optional package onnxruntime-node. */
  engine?: EngineName;
  /** Default 1. */
  threads?: number;
  /** Native engine: cores that its threads stay on. Default: any. Changes nothing where all cores are of one kind. */
  affinity?: Affinity;
  /** Native engine: kernel variant, best runnable by default. */
  isa?: Isa;
  /** By input name. */
  pixels?: Readonly<Record<string, PixelInput>>;
  /** Values of symbolic dimensions, by `dim_param`. What neither they nor `shapes` give becomes 1. */
  symbols?: Readonly<Record<string, number>>;
  /** Whole shapes by input, for dimensions that the file leaves open, those without a name included. */
  shapes?: Readonly<Record<string, readonly number[]>>;
  /** Native engine: whether convolutions may run in strips, which takes less memory and gives the same bits. Default true. */
  strips?: boolean;
  /** Upper bound for the engine's memory, bytes. Default 1 GiB. */
  memoryLimitBytes?: number;
  /**
   * Native engine: a run whose last one took less than this runs within the call, which spares waking another thread and being woken by it
   * (0.1 to 0.4 ms on a virtual machine). Infinity suits a worker thread that does nothing else. Default 0.5.
   */
  maxBlockingMs?: number;
  /** Native engine: compiled programs are kept here. Default: none are. */
  cache?: ProgramCache;
  /** SHA-256 of the model, lower-case hexadecimal, for who knows it already; looking a program up then takes no hashing. */
  modelSha256?: string;
  /** Native engine: bounds on what the model may ask for; see `defaultLimits` for those not given. */
  limits?: Partial<ModelLimits>;
}

export interface SessionStats {
  engine: EngineName;
  isa?: Isa;
  threads: number;
  loadMs: number;
  /** Native engine with a cache: whether the program came from there. */
  cached?: boolean;
  arenaBytes?: number;
  packedBytes?: number;
}

export interface LayerProfile {
  /** Name of the ONNX node (of the fused group's last node). */
  name: string;
  op: string;
  kernel: string;
  ms: number;
  macs: number;
  /** Format of the arithmetic; `none` moves data. */
  format: 'int8' | 'float32' | 'none';
  /** Bytes of the tensors that the op reads (weights included) and writes, each once. */
  bytesRead: number;
  bytesWritten: number;
}

/** A model ready to run. `run` calls queue in order; the event loop is not blocked for longer than `maxBlockingMs`. */
export interface Session {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  readonly stats: SessionStats;
  /** @throws RuntimeError E_INPUT */
  run(feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>;
  /** One profiled run (native engine only). */
  profile?(feeds: Readonly<Record<string, Tensor>>): Promise<LayerProfile[]>;
  close(): Promise<void>;
}
