import { RuntimeError } from '../errors.js';
import type { Attribute } from '../graph/attributes.js';
import type { GraphLimits, Node } from '../graph/graph.js';
import { elementCount, fromNumbers, int64s, scalar, type DType, type Shape, type TensorValue, type ValueType } from '../graph/tensor-value.js';
import { absent } from '../graph/operands.js';

export type AttributeRecord = Readonly<Record<string, Attribute>>;

/** What an expansion writes into: nodes are typed, and computed where their inputs are known, as soon as they are emitted. */
export interface Builder {
  readonly opset: number;
  readonly limits: GraphLimits;
  /** Everything is computed as it is emitted, on the values of one run. */
  readonly eager: boolean;
  type(value: string): ValueType;
  /** The value where it is known when this is expanded. */
  known(value: string | undefined): TensorValue | undefined;
  /** The node that makes a value, among those emitted. */
  producer(value: string): Node | undefined;
  /** The parts of a sequence; undefined: the value is a tensor. */
  sequence(value: string): readonly string[] | undefined;
  setSequence(value: string, parts: readonly string[]): void;
  /** Whether the value is an optional that holds nothing. */
  isEmpty(value: string): boolean;
  setEmpty(value: string): void;
  constant(value: TensorValue): string;
  /** Adds a node of one output, and returns the output's name. */
  emit(op: string, inputs: readonly string[], attributes?: AttributeRecord): string;
  /** As `emit`, for a node of several outputs. */
  emitAll(op: string, inputs: readonly string[], outputs: number, attributes?: AttributeRecord): string[];
  /** Adds a node of the model, its values under the names that it has. */
  add(node: Node): void;
  /** A value name that nothing else has. */
  fresh(base: string): string;
  /** Lets `value` be called `output` too. */
  alias(output: string, value: string): void;
}

/**
 * Writes what a node stands for in terms of other operators, and gives back the values of its outputs in order ('' where nobody wants
 * one). Undefined: the node stands for itself.
 */
export type Expansion = (builder: Builder, node: Node) => readonly string[] | undefined;

/** Name of an operand; '' when the node does not have it: expansions hand it on as it is. */
export const input = (node: { readonly inputs: readonly string[] }, index = 0): string => node.inputs[index] ?? absent;

/** Names the things that most expansions write. */
export class Notation {
  constructor(readonly b: Builder) {}

  shape(value: string): Shape {
    return this.b.type(value).shape;
  }
  dtype(value: string): DType {
    return this.b.type(value).dtype;
  }
  number(value: number, dtype: DType = 'float32'): string {
    return this.b.constant(scalar(dtype, value));
  }
  ints(...values: number[]): string {
    return this.b.constant(int64s(values));
  }
  tensor(dtype: DType, dims: Shape, numbers: ArrayLike<number>): string {
    return this.b.constant(fromNumbers(dtype, dims, numbers));
  }
  /** first, first + 1, ... (n of them) along `axis` of a tensor of `rank` axes, the others being 1. int64. */
  iota(n: number, axis: number, rank: number, first = 0): string {
    this.checkConstant(n);
    return this.tensor('int64', Array.from({ length: rank }, (_, i) => (i === axis ? n : 1)), Array.from({ length: n }, (_, i) => first + i));
  }
  /** Constants that an expansion makes are bounded before they are made. @throws RuntimeError E_MODEL_LIMIT */
  checkConstant(elements: number): void {
    const { constantElements } = this.b.limits;
    if (!(elements <= constantElements)) throw new RuntimeError('E_MODEL_LIMIT', `Expected at most ${constantElements} elements of constants but an operator needs ${elements}`);
  }
  /** A number of the type of `like`. */
  like(value: string, number: number): string {
    return this.number(number, this.dtype(value));
  }
  op(op: string, ...inputs: string[]): string {
    return this.b.emit(op, inputs);
  }
  add = (x: string, y: string): string => this.op('Add', x, y);
  sub = (x: string, y: string): string => this.op('Sub', x, y);
  mul = (x: string, y: string): string => this.op('Mul', x, y);
  div = (x: string, y: string): string => this.op('Div', x, y);
  scale(x: string, factor: number): string {
    return factor === 1 ? x : this.mul(x, this.like(x, factor));
  }
  cast(x: string, dtype: DType): string {
    return this.dtype(x) === dtype ? x : this.b.emit('Cast', [x], { to: { type: 'int', value: wire[dtype] } });
  }
  reshape(x: string, dims: Shape): string {
    const from = this.shape(x);
    if (from.length === dims.length && dims.every((dim, i) => dim === from[i])) return x;
    // A dimension of 0 is meant, not copied.
    return this.b.emit('Reshape', [x, this.ints(...dims)], elementCount(dims) === 0 && this.b.opset >= 14 ? { allowzero: { type: 'int', value: 1 } } : {});
  }
  transpose(x: string, perm: readonly number[]): string {
    return perm.every((axis, i) => axis === i) ? x : this.b.emit('Transpose', [x], { perm: { type: 'ints', value: perm } });
  }
  concat(parts: readonly string[], axis: number): string {
    const [first, ...rest] = parts;
    return first !== undefined && rest.length === 0 ? first : this.b.emit('Concat', parts, { axis: { type: 'int', value: axis } });
  }
  /** Elements [start, end) of an axis, every `step`-th. */
  slice(x: string, axis: number, start: number, end: number, step = 1): string {
    if (this.b.opset < 10) return this.b.emit('Slice', [x], { axes: { type: 'ints', value: [axis] }, starts: { type: 'ints', value: [start] }, ends: { type: 'ints', value: [end] } });
    return this.b.emit('Slice', [x, this.ints(start), this.ints(end), this.ints(axis), this.ints(step)]);
  }
  gather(x: string, indices: string, axis: number): string {
    return this.b.emit('Gather', [x, indices], { axis: { type: 'int', value: axis } });
  }
  expand(x: string, dims: Shape): string {
    return this.op('Expand', x, this.ints(...dims));
  }
  /** `fill` around x, so many elements before and after every axis. */
  pad(x: string, before: readonly number[], after: readonly number[], fill = 0): string {
    if ([...before, ...after].every((n) => n === 0)) return x;
    if (this.b.opset < 11) return this.b.emit('Pad', [x], { pads: { type: 'ints', value: [...before, ...after] }, value: { type: 'float', value: fill } });
    return this.op('Pad', x, this.ints(...before, ...after), this.like(x, fill));
  }
  /** Reduces the axes, which stay as ones. Axes are an attribute before operator set 18, of ReduceSum before 13. */
  reduce(op: 'ReduceSum' | 'ReduceMean' | 'ReduceMax' | 'ReduceMin' | 'ReduceProd' | 'ReduceSumSquare', x: string, axes: readonly number[], keep = true): string {
    const keepdims = { keepdims: { type: 'int', value: keep ? 1 : 0 } } as const;
    if (axes.length === 0) return x;
    if (this.b.opset >= 18 || (op === 'ReduceSum' && this.b.opset >= 13)) return this.b.emit(op, [x, this.ints(...axes)], keepdims);
    return this.b.emit(op, [x], { ...keepdims, axes: { type: 'ints', value: axes } });
  }
  softmax(x: string, axis: number): string {
    return this.b.emit('Softmax', [x], { axis: { type: 'int', value: axis } });
  }
  /** x ? a : b */
  where(condition: string, a: string, b: string): string {
    return this.op('Where', condition, a, b);
  }
  /** min(max(x, low), high), for bounds of any shape. */
  clip(x: string, low: number, high: number): string {
    return this.op('Min', this.op('Max', x, this.like(x, low)), this.like(x, high));
  }
}

const wire: Readonly<Record<DType, number>> = { float32: 1, uint8: 2, int8: 3, int32: 6, int64: 7, uint32: 12, uint64: 13, bool: 9, uint4: 21, int4: 22, uint2: 25, int2: 26 };
