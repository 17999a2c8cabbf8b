import type { Isa } from '../kernels/index.js';
import type { Tensor, TensorInfo } from './tensor.js';

export type EngineName = 'native' | 'onnxruntime';

/**
 * Declares that an image input is fed as raw 8-bit pixels, HWC, and how the model wants them:
 * value = (pixel - mean[c]) / std[c], channels in the order of the model. The engine folds it into the model's own
 * quantization, so normalisation costs (nearly) nothing. With it, the feed has type uint8 and dims [1, H, W, C].
 */
export interface PixelInput {
  mean: readonly number[];
  std: readonly number[];
}

export interface SessionOptions {
  /** Default `native`. `onnxruntime` needs the optional package onnxruntime-node. */
  engine?: EngineName;
  /** Default 1. */
  threads?: number;
  /** Native engine: kernel variant, best runnable by default. */
  isa?: Isa;
  /** By input name. */
  pixels?: Readonly<Record<string, PixelInput>>;
  /** Values of symbolic dimensions, by `dim_param`. Unnamed or unlisted ones become 1. */
  symbols?: Readonly<Record<string, number>>;
  /** Upper bound for the engine's memory, bytes. Default 1 GiB. */
  memoryLimitBytes?: number;
}

export interface SessionStats {
  engine: EngineName;
  isa?: Isa;
  threads: number;
  loadMs: number;
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
}

/** A model ready to run. `run` calls queue in order; the event loop never blocks. */
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
