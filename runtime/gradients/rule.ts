import { RuntimeError } from '../errors.js';
import { Notation, type AttributeRecord, type Builder } from '../expand/builder.js';
import type { Node } from '../graph/graph.js';
import { operand, outputOf } from '../graph/operands.js';
import { elementCount, toNumbers, type Shape, type ValueType } from '../graph/tensor-value.js';

/** E_GRADIENT that names the node, and how to train without its gradient. */
export function noGradient(node: Node, problem: string): RuntimeError {
  return new RuntimeError('E_GRADIENT', `${node.op} '${node.name}': ${problem}. Freeze what lies before it: leave out of "wrt" the values that reach the loss only through this node`, {
    details: { node: node.name, op: node.op },
  });
}

/** A builder that also takes operators which inference replaces by others. */
export interface TypedBuilder extends Builder {
  emitTyped(op: string, inputs: readonly string[], type: ValueType, attributes?: AttributeRecord): string;
  /** Whether the graph gives the value out. */
  isOutput(value: string): boolean;
}

/** Names the things that most gradient rules write. */
export class Calculus extends Notation {
  private readonly scaled = new Map<string, { readonly x: string; readonly factor: string }>();

  constructor(private readonly tape: TypedBuilder) {
    super(tape);
  }
  isOutput(value: string): boolean {
    return this.tape.isOutput(value);
  }
  /** 1 where x > 0, else 0. A steep HardSigmoid: onnxruntime needs less than half the time of Where or Sign for it. */
  positive(x: string): string {
    return this.steep(x, 1, 0);
  }
  /** 1 where sign * x > sign * bound, else 0; the sign is 1 or -1. */
  private beyond(x: string, bound: string, sign: 1 | -1): string {
    const known = this.b.known(bound);
    const value = known === undefined || elementCount(known.dims) !== 1 ? NaN : (toNumbers(known)[0] ?? NaN);
    if (Math.abs(value) < 1e6) return this.steep(x, sign, value);
    return this.positive(sign === 1 ? this.sub(x, bound) : this.sub(bound, x));
  }
  /** 1 where sign * (x - value) > 0, else 0, in one pass. A power of two as the slope keeps the product exact, so that nothing is left where x is the value. */
  steep(x: string, sign: 1 | -1, value: number): string {
    const slope = sign * 2 ** 100;
    return this.b.emit('HardSigmoid', [x], { alpha: { type: 'float', value: slope }, beta: { type: 'float', value: value === 0 ? 0 : -slope * value } });
  }
  /** 1 where low < x < high, else 0; a bound of undefined does not bind. */
  between(x: string, low: string | undefined, high: string | undefined): string | undefined {
    const above = low === undefined ? undefined : this.beyond(x, low, 1);
    const below = high === undefined ? undefined : this.beyond(x, high, -1);
    return above === undefined || below === undefined ? (above ?? below) : this.mul(above, below);
  }
  square(x: string): string {
    return this.mul(x, x);
  }
  /** low + factor * x, of float32. */
  affine(x: string, factor: number, summand: number): string {
    const scaled = this.scale(x, factor);
    return summand === 0 ? scaled : this.add(scaled, this.number(summand));
  }
  /** A tensor of one number. It is made when the graph runs, so that the model stays small. */
  filled(shape: Shape, value = 0): string {
    return this.expand(this.number(value), shape);
  }
  /** The adjoint of broadcasting `shape` to the shape of x: sums over the axes that were repeated. */
  unbroadcast(x: string, shape: Shape): string {
    const from = this.shape(x);
    const added = from.length - shape.length;
    const axes = from.flatMap((dim, i) => (i < added || ((shape[i - added] ?? 1) === 1 && dim !== 1) ? [i] : []));
    return this.reshape(this.reduce('ReduceSum', x, axes), shape);
  }
  /** The sum over all axes but one, as a vector. Two steps: onnxruntime sums the last axes several times faster than axes around one. */
  sumByChannel(x: string): string {
    const [n = 1, channels = 1, ...spatial] = this.shape(x);
    const inner = this.reduce('ReduceSum', this.reshape(x, [n, channels, elementCount(spatial)]), [2], false);
    return this.reduce('ReduceSum', inner, [0], false);
  }
  /** x * factor + summand for each channel: a BatchNormalization by mean 0 and variance 1 is faster than Mul and Add that broadcast. */
  affineChannels(x: string, factor: string, summand?: string): string {
    const channels = this.shape(x)[1] ?? 1;
    const vector = (fill: number): string => this.tensor('float32', [channels], new Float64Array(channels).fill(fill));
    const zeros = vector(0);
    return this.b.emit('BatchNormalization', [x, factor, summand ?? zeros, zeros, vector(1)], { epsilon: { type: 'float', value: 0 } });
  }
  scaleChannels(x: string, factor: string): string {
    const scaled = this.affineChannels(x, factor);
    this.scaled.set(scaled, { x, factor });
    return scaled;
  }
  /** What `scaleChannels` made a value of. */
  scaledChannels(value: string): { readonly x: string; readonly factor: string } | undefined {
    return this.scaled.get(value);
  }
  /** `x` with `updates` added at `indices` along the axis; indices may repeat. */
  scatterAdd(x: string, indices: string, updates: string, axis: number): string {
    return this.tape.emitTyped('ScatterElements', [x, indices, updates], this.b.type(x), { axis: { type: 'int', value: axis }, reduction: { type: 'string', value: 'add' } });
  }
  /** `x` with rows or elements added at the places that the last axis of `indices` names. */
  scatterRows(x: string, indices: string, updates: string): string {
    return this.tape.emitTyped('ScatterND', [x, this.cast(indices, 'int64'), updates], this.b.type(x), { reduction: { type: 'string', value: 'add' } });
  }
  /** `value` of [C], as it broadcasts along the given axis of a tensor of `rank` axes. */
  along(value: string, axis: number, rank: number): string {
    return this.reshape(value, Array.from({ length: rank }, (_, i) => (i === axis ? elementCount(this.shape(value)) : 1)));
  }
}

/** One node on the way back: its operands and results, and the gradients of the loss by its results. */
export class Step {
  constructor(readonly m: Calculus, readonly node: Node, readonly gradients: readonly (string | undefined)[]) {}

  x(index = 0): string {
    return operand(this.node, index);
  }
  y(index = 0): string {
    return outputOf(this.node, index);
  }
  shape(index = 0): Shape {
    return this.m.shape(this.x(index));
  }
  /** Gradient by the first output. @throws RuntimeError E_GRADIENT: the loss depends on another output only */
  get dy(): string {
    const [first, ...others] = this.gradients;
    if (first === undefined || others.some((gradient) => gradient !== undefined)) throw noGradient(this.node, 'there is a gradient for its first output only, and the loss depends on another one');
    return first;
  }
}

/** Writes the gradient of the loss by one operand; called only where somebody wants it. */
export type Adjoint = () => string;

/** The gradients by the operands, by position. Undefined: the result does not change with this operand, or it is no float. */
export type Rule = (step: Step) => readonly (Adjoint | undefined)[];

/** How the gradient of an operator is found. One entry per operator, in `rules/table.ts`. */
export type GradientEntry =
  | {
    readonly rule: Rule;
    /** The node with an output that the model may not ask for, because the rule reads it. */
    readonly augment?: (b: Builder, node: Node) => { readonly output: number; readonly type: ValueType };
  }
  /** The operator is written as others, and these are differentiated. */
  | { readonly compose: (m: Calculus, node: Node) => readonly string[] }
  /** The result is piecewise constant: the gradient is zero. */
  | { readonly flat: true };

export type GradientTable = Readonly<Record<string, GradientEntry>>;

export const rules = (table: Readonly<Record<string, Rule>>): GradientTable => Object.fromEntries(Object.entries(table).map(([op, rule]) => [op, { rule }]));
export const composed = (table: Readonly<Record<string, (m: Calculus, node: Node) => readonly string[]>>): GradientTable =>
  Object.fromEntries(Object.entries(table).map(([op, compose]) => [op, { compose }]));
export const flat = (...operators: readonly string[]): GradientTable => Object.fromEntries(operators.map((op) => [op, { flat: true }]));
