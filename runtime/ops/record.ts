import type { Node } from '../graph/graph.js';
import type { DType, TensorValue, ValueType } from '../graph/tensor-value.js';
import type { FlowRule } from './cell-flow.js';
import type { Needs } from './regions.js';
import type { TransposeRule } from './transpose-rules.js';

export interface InferContext {
  readonly node: Node;
  /** Version of ai.onnx. */
  readonly opset: number;
  /** By position; undefined where an optional input is absent. */
  readonly inputs: readonly (ValueType | undefined)[];
  /** Values of the inputs that are known before the model runs. */
  readonly constants: readonly (TensorValue | undefined)[];
}

export interface EvaluateContext {
  readonly node: Node;
  readonly opset: number;
  readonly inputs: readonly (TensorValue | undefined)[];
  /** What `infer` gave for these inputs. */
  readonly outputs: readonly ValueType[];
}

/** Format of a kernel's arithmetic; `none` moves data, or computes in whole numbers. */
export type KernelFormat = 'int8' | 'float32' | 'none';

/**
 * Everything that the compiler knows of one operator. Only the first two members must be there. What a record leaves out is
 * never assumed: the compiler then does what is right for every operator.
 */
export interface OperatorRecord {
  /** The types of the outputs. */
  infer(context: InferContext): ValueType[];
  /** The reference evaluation, plain and slow, which constant folding uses and the tests of the passes compare with. */
  evaluate(context: EvaluateContext): TensorValue[];

  /**
   * Whether `evaluate` takes a fixed number of steps for each element that it reads or writes. Left out: it may read all
   * inputs for every element of the output, which bounds what is folded.
   */
  readonly linear?: boolean;
  /** Whether two evaluations of the same operands may differ, so that it is never computed before a run. Left out: no. */
  readonly volatile?: boolean;
  /**
   * Whether each element of the output depends on one element of each operand (operands are broadcast): `floats` computes
   * float32 from float32, `any` may take or make other types. Left out: no chain is followed through the operator.
   */
  readonly elementwise?: 'floats' | 'any';
  /** How a transpose passes through it. Left out: it does not. */
  readonly transpose?: TransposeRule;
  /**
   * Whether it gives back its first operand, provided that the first output has the same type and nobody reads the other
   * outputs. Left out: never.
   */
  readonly identity?: (node: Node) => boolean;
  /**
   * It only moves elements, those of its first operand or of all of them, and may fill with an attribute `fill`: on quantized data it is the
   * same operator. Left out: it computes.
   */
  readonly moves?: 'first' | 'all';
  /** Whether exporters and layout changes often make it twice, so that it is worth looking for twins. Left out: no. */
  readonly repeats?: boolean;

  /** The region of each input that a region of the output needs. Left out: every input as a whole (`neededRegions`). */
  readonly needs?: Needs;

  /**
   * Which pixels of the output belong to which cells of a picture, for incremental runs. Left out: the same pixels as of the operands, where
   * `needs` says that it works element by element; otherwise the operator and all that read it are computed in full.
   */
  readonly cells?: FlowRule;

  /** Whether the engine may write the result onto an operand of the same type, shape and stride. Left out: no. */
  readonly overwrites?: boolean;
  /**
   * How its kernels take the pixels of feature maps: `any` stride; `aligned` too, but they slide over the first operand and
   * want its 8-bit pixels to start at multiples of 16 bytes. Left out: without gaps.
   */
  readonly pixels?: 'any' | 'aligned';
  /** Format of its kernel; a function of the first operand's type where kernels differ. Left out: `none`. */
  readonly format?: KernelFormat | ((x: DType) => KernelFormat);
  /** Whether it reads only as many elements as it writes. Left out: its operands are read as a whole. */
  readonly copies?: boolean;
}

export type OpTable = Readonly<Record<string, OperatorRecord>>;

/** `identity` of operators that give back their first operand whenever the types are the same. */
export const always = (): boolean => true;

/** Records of a family with the members that they have in common. */
export const sharing = (common: Partial<OperatorRecord>, records: OpTable): OpTable =>
  Object.fromEntries(Object.entries(records).map(([op, record]) => [op, { ...common, ...record }]));
