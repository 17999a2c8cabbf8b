import type { DType, NarrowType, TensorValue } from '../graph/tensor-value.js';

/** A dimension: a size, the name of a symbolic size, or nothing known. */
export type OnnxDimension = number | string | undefined;

/** What holds tensors: a sequence has any number of them, an optional may have none. */
export interface OnnxContainer {
  readonly sequence: boolean;
  readonly optional: boolean;
}

export interface OnnxValueInfo {
  name: string;
  /** Absent: the value is a tensor. */
  container?: OnnxContainer;
  /** Of the tensor, or of those in the container. Undefined for an element type that Sterna does not compute with, and for maps and containers in sequences. */
  dtype?: DType;
  /** The type that the file says, where tensors of 16 bits become int32. */
  narrow?: NarrowType;
  /** Undefined when not even the rank is known. */
  dims?: readonly OnnxDimension[];
}

/** An attribute of a node, with its ONNX type. */
export type Attribute =
  | { readonly type: 'float'; readonly value: number }
  | { readonly type: 'int'; readonly value: number }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'floats'; readonly value: readonly number[] }
  | { readonly type: 'ints'; readonly value: readonly number[] }
  | { readonly type: 'strings'; readonly value: readonly string[] }
  | { readonly type: 'tensor'; readonly value: TensorValue }
  | { readonly type: 'graph'; readonly value: OnnxGraph }
  /** In the body of a function: the attribute of that name of the node that calls it. */
  | { readonly type: 'reference'; readonly value: string };

export interface OnnxNode {
  name: string;
  op: string;
  /** '' is ai.onnx. */
  domain: string;
  /** '' marks an optional input that is absent. */
  inputs: readonly string[];
  outputs: readonly string[];
  attributes: ReadonlyMap<string, Attribute>;
  /** Which of several functions of one name is called; absent: the one without. */
  overload?: string;
}

/** A function of the model: an operator that is defined by others. */
export interface OnnxFunction {
  readonly name: string;
  readonly domain: string;
  readonly overload: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Of attributes that a call leaves out. */
  readonly defaults: ReadonlyMap<string, Attribute>;
  readonly nodes: readonly OnnxNode[];
}

export interface OnnxGraph {
  name: string;
  nodes: readonly OnnxNode[];
  initializers: ReadonlyMap<string, TensorValue>;
  inputs: readonly OnnxValueInfo[];
  outputs: readonly OnnxValueInfo[];
  valueInfo: readonly OnnxValueInfo[];
}

export interface OnnxModel {
  irVersion: number;
  producerName: string;
  producerVersion: string;
  /** Version by domain; '' is ai.onnx. */
  opsets: ReadonlyMap<string, number>;
  metadata: ReadonlyMap<string, string>;
  functions?: readonly OnnxFunction[];
  graph: OnnxGraph;
}

/** Bounds on what an untrusted model may ask for. */
export interface ModelLimits {
  fileBytes: number;
  /** Protobuf fields of the file, counted while they are read; the elements of packed lists count too, 64 as one unless they are int64. */
  fields: number;
  nodes: number;
  initializers: number;
  /** Inputs, outputs or described values of a graph. */
  values: number;
  attributesPerNode: number;
  /** Inputs or outputs of one node. */
  operandsPerNode: number;
  /** Elements of one tensor, stored or computed. An axis of size 0 counts as 1. */
  tensorElements: number;
  rank: number;
  /**
   * Elements of all constants together, those included that compiling makes of them. At least eight times what the file stores:
   * every weight may be wanted in another layout, and once more in float.
   */
  constantElements: number;
  /** Steps of evaluating constants in one pass. At least sixteen for each stored element; what is left over waits for the next pass. */
  foldSteps: number;
}

export const defaultLimits: ModelLimits = {
  fileBytes: 512 * 1024 * 1024,
  fields: 2 ** 22,
  nodes: 20_000,
  initializers: 50_000,
  values: 100_000,
  attributesPerNode: 64,
  operandsPerNode: 1024,
  tensorElements: 2 ** 28,
  rank: 8,
  constantElements: 2 ** 25,
  foldSteps: 2 ** 27,
};
