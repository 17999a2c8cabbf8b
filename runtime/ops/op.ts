import { RuntimeError } from '../errors.js';
import { misshapen, notConstant, unsupported } from '../graph/attributes.js';
import type { GraphLimits, Node } from '../graph/graph.js';
import { volume, type DType, type Shape, type TensorValue, type ValueType } from '../graph/tensor-value.js';
import type { EvaluateContext, InferContext } from './record.js';

export { always, sharing, type EvaluateContext, type InferContext, type OperatorRecord, type OpTable } from './record.js';

function beyond(node: Node, what: string, limit: string): RuntimeError {
  return new RuntimeError('E_MODEL_LIMIT', `${node.op} '${node.name}': ${what} exceeds ${limit}`, { details: { node: node.name, op: node.op } });
}

/** Bounds the rank and the elements of any value: shapes follow from untrusted attributes. @throws RuntimeError E_MODEL_SHAPE, E_MODEL_LIMIT */
export function checkedType(node: Node, type: ValueType, { rank, tensorElements }: Pick<GraphLimits, 'rank' | 'tensorElements'>): ValueType {
  if (type.shape.length > rank) throw beyond(node, `a result of ${type.shape.length} dimensions`, `rank ${rank}`);
  if (type.shape.some((dim) => !Number.isSafeInteger(dim) || dim < 0)) {
    throw misshapen(node, `the result would have shape [${type.shape.join(', ')}]`);
  }
  if (volume(type.shape) > tensorElements) throw beyond(node, `the result of shape [${type.shape.join(', ')}]`, `${tensorElements} elements`);
  return type;
}

/** The type of an input that must be there. */
export function inputType(context: InferContext, index: number): ValueType {
  const type = context.inputs[index];
  if (type === undefined) throw misshapen(context.node, `Expected input ${index} but received none`);
  return type;
}

export function inputValue(context: EvaluateContext, index: number): TensorValue {
  const value = context.inputs[index];
  if (value === undefined) throw misshapen(context.node, `Expected input ${index} but received none`);
  return value;
}

/** The value of an input on which the shape of the result depends; undefined when the input is absent. */
export function constantInput(context: InferContext, index: number, what: string): TensorValue | undefined {
  const constant = context.constants[index];
  if (constant === undefined && context.inputs[index] !== undefined) {
    throw notConstant(context.node, index, what);
  }
  return constant;
}

/** More than any list of axes, sizes, pads or parts has. */
const longestList = 4096;

/** As `constantInput`, in whole numbers. */
export function constantInts(context: InferContext, index: number, what: string): number[] | undefined {
  const constant = constantInput(context, index, what);
  if (constant !== undefined && constant.data.length > longestList) throw beyond(context.node, `input ${index} (${what})`, `${longestList} numbers`);
  return constant === undefined ? undefined : Array.from(constant.data, Number);
}

export function outputType(context: EvaluateContext, index = 0): ValueType {
  const type = context.outputs[index];
  if (type === undefined) throw misshapen(context.node, `Expected output ${index} but found none`);
  return type;
}

export const sameAsInput = (context: InferContext): ValueType[] => [inputType(context, 0)];

/** Refuses element types that an operator is not implemented for. */
export function expectType(context: InferContext, index: number, allowed: readonly DType[]): ValueType {
  const type = inputType(context, index);
  if (!allowed.includes(type.dtype)) {
    throw unsupported(context.node, `input ${index}: expected ${allowed.join(' or ')} but received ${type.dtype}`);
  }
  return type;
}

/** A possibly negative axis as an index. */
export function normalizeAxis(node: Node, axis: number, rank: number): number {
  const index = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(index) || index < 0 || index >= rank) throw misshapen(node, `axis ${axis} is outside rank ${rank}`);
  return index;
}

/** Numpy broadcasting of two shapes. */
export function broadcast(node: Node, a: Shape, b: Shape): number[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const left = a[a.length - rank + i] ?? 1;
    const right = b[b.length - rank + i] ?? 1;
    if (left !== right && left !== 1 && right !== 1) {
      throw misshapen(node, `shapes [${a.join(', ')}] and [${b.join(', ')}] do not broadcast`);
    }
    return left === 1 ? right : left;
  });
}
