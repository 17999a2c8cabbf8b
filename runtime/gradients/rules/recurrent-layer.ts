import type { AttributeRecord } from '../../expand/builder.js';
import type { Node } from '../../graph/graph.js';
import { operand, optionalOperand } from '../../graph/operands.js';
import { gateCounts, functionsPerDirection, recurrentOf, recurrentOperands, type Recurrent } from '../../ops/recurrent.js';
import type { Unary, UnaryKind } from '../../ops/unary-functions.js';
import { noGradient, type Calculus, type Step } from '../rule.js';
import { derivativeOf } from './unary.js';

/** Nodes of the way back grow with the steps, and no node of a file may have more than 1024 operands. */
export const mostSteps = 1000;

/** A function of gates and its derivative, at the same places. */
export interface Activated {
  readonly value: string;
  readonly slope: string;
}

const operators: Partial<Record<UnaryKind, string>> = {
  relu: 'Relu', tanh: 'Tanh', sigmoid: 'Sigmoid', softsign: 'Softsign', softplus: 'Softplus', leaky_relu: 'LeakyRelu', thresholded_relu: 'ThresholdedRelu',
  hard_sigmoid: 'HardSigmoid', elu: 'Elu',
};
const attributesOf = ({ kind, alpha, beta }: Unary): AttributeRecord => {
  if (kind === 'hard_sigmoid') return { alpha: { type: 'float', value: alpha }, beta: { type: 'float', value: beta } };
  return kind === 'leaky_relu' || kind === 'thresholded_relu' || kind === 'elu' ? { alpha: { type: 'float', value: alpha } } : {};
};

function functionOf(m: Calculus, node: Node, unary: Unary, x: string): Activated {
  const { kind, alpha, beta } = unary;
  if (kind === 'affine') return { value: m.affine(x, alpha, beta), slope: m.filled(m.shape(x), alpha) };
  if (kind === 'scaled_tanh') {
    const tanh = m.op('Tanh', m.scale(x, beta));
    return { value: m.scale(tanh, alpha), slope: m.affine(m.square(tanh), -alpha * beta, alpha * beta) };
  }
  const op = operators[kind];
  if (op === undefined) throw noGradient(node, `there is no gradient for its function ${kind}`);
  const value = m.b.emit(op, [x], attributesOf(unary));
  return { value, slope: derivativeOf(op, { m, x, y: value, node: m.b.producer(value) ?? node }) };
}

/**
 * An RNN, GRU or LSTM on the way back. All values are [D, T, B, ..] (directions, steps, batch), the steps in the order in which a direction
 * takes them: the first one is the last of the sequence where it runs backwards.
 */
export class RecurrentLayer {
  readonly r: Recurrent;
  readonly steps: number;
  readonly batch: number;
  readonly depth: number;
  /** Rows of W and R: gates by units. */
  readonly width: number;
  readonly x: string;
  /** 1 where a sequence still runs, [D, T, B, 1]; undefined: all run to the end. */
  readonly runs: string | undefined;
  /** The hidden state before each step. */
  readonly before: string;

  /** @throws RuntimeError E_GRADIENT: no steps, or too many */
  constructor(readonly step: Step) {
    const { m, node } = step;
    this.r = recurrentOf(node);
    const x = this.r.batchFirst ? m.transpose(step.x(), [1, 0, 2]) : step.x();
    [this.steps, this.batch, this.depth] = m.shape(x) as [number, number, number];
    this.width = gateCounts[this.r.kind] * this.r.hidden;
    if (this.steps * this.batch * this.depth === 0) throw noGradient(node, 'there is no gradient for an empty sequence');
    if (this.steps > mostSteps) throw noGradient(node, `there is a gradient for at most ${mostSteps} steps, and it has ${this.steps}; train on shorter sequences`);
    const { steps, batch } = this;
    const sequence = m.reshape(x, [1, steps, batch, this.depth]);
    this.x = this.turned(this.directions === 2 ? m.concat([sequence, sequence], 0) : sequence);
    this.runs = this.mask();
    this.before = this.stateBefore(this.hiddenStates(), recurrentOperands.hidden);
  }

  get m(): Calculus {
    return this.step.m;
  }
  get directions(): number {
    return this.r.reverse.length;
  }

  private mask(): string | undefined {
    const { m, node } = this.step;
    const lengths = optionalOperand(node, recurrentOperands.lengths);
    const known = m.b.known(lengths);
    if (lengths === undefined || (known !== undefined && Array.from(known.data, Number).every((length) => length === this.steps))) return undefined;
    const runs = m.cast(m.op('Less', m.iota(this.steps, 1, 4), m.reshape(m.cast(lengths, 'int64'), [1, 1, this.batch, 1])), 'float32');
    return this.turned(this.directions === 2 ? m.concat([runs, runs], 0) : runs);
  }

  /** After each step; the operator gives zeros where a sequence does not run, and it has its initial state until it begins. */
  private hiddenStates(): string {
    const { m } = this;
    const given = this.turned(this.stepsFirst(this.step.y()));
    const initial = this.state(recurrentOperands.hidden);
    return this.runs === undefined || initial === undefined ? given : m.add(given, m.mul(m.affine(this.runs, -1, 1), initial));
  }

  /** Steps of directions that run backwards, in their order or back in that of the sequence. */
  turned(value: string): string {
    const turn = (part: string): string => this.m.slice(part, 1, -1, -this.steps - 1, -1);
    const { reverse } = this.r;
    if (!reverse.includes(true)) return value;
    if (reverse.length === 1) return turn(value);
    return this.m.concat(reverse.map((backwards, d) => (backwards ? turn(this.m.slice(value, 0, d, d + 1)) : this.m.slice(value, 0, d, d + 1))), 0);
  }

  /** Y as the node has it, [T, D, B, H] or [B, T, D, H], as [D, T, B, H]. */
  stepsFirst(y: string): string {
    const { m, directions, steps, batch, r } = this;
    const perm = r.batchFirst ? [2, 1, 0, 3] : [1, 0, 2, 3];
    return directions === 1 && !r.batchFirst ? m.reshape(y, [1, steps, batch, r.hidden]) : m.transpose(y, perm);
  }

  /** The gradient by the input from that in each direction, [D, T, B, I]. */
  toInput(gradient: string): string {
    const { m, steps, batch, depth, directions, r } = this;
    const turned = this.turned(gradient);
    const summed = m.reshape(directions === 1 ? turned : m.reduce('ReduceSum', turned, [0]), [steps, batch, depth]);
    return r.batchFirst ? m.transpose(summed, [1, 0, 2]) : summed;
  }

  /** A state as the node has it, [D, B, H] or [B, D, H], as [D, 1, B, H]; undefined where an initial state is absent. */
  state(index: number): string | undefined {
    const given = optionalOperand(this.step.node, index);
    return given === undefined ? undefined : this.fromState(given);
  }
  fromState(value: string): string {
    const { m, directions, batch, r } = this;
    return m.reshape(r.batchFirst ? m.transpose(value, [1, 0, 2]) : value, [directions, 1, batch, r.hidden]);
  }
  toState(value: string): string {
    const { m, directions, batch, r } = this;
    const state = m.reshape(value, [directions, batch, r.hidden]);
    return r.batchFirst ? m.transpose(state, [1, 0, 2]) : state;
  }

  zeroState(): string {
    return this.m.filled([this.directions, 1, this.batch, this.r.hidden]);
  }

  /** States after each step, one step later. @param index of the initial state */
  private stateBefore(after: string, index: number): string {
    const first = this.state(index) ?? this.zeroState();
    return this.steps === 1 ? first : this.m.concat([first, this.m.slice(after, 1, 0, this.steps - 1)], 1);
  }

  cellBefore(after: string): string {
    return this.stateBefore(after, recurrentOperands.cell);
  }

  /** [D, T, B, K] as one matrix for each direction. */
  rows(value: string): string {
    return this.m.reshape(value, [this.directions, this.steps * this.batch, this.m.shape(value)[3] ?? 1]);
  }
  private steps4(value: string): string {
    return this.m.reshape(value, [this.directions, this.steps, this.batch, this.m.shape(value)[2] ?? 1]);
  }
  weights(index: number): string {
    return operand(this.step.node, index);
  }
  /** value W^T of all steps at once, where W is [D, rows, columns]. */
  product(value: string, weights: string): string {
    return this.steps4(this.m.op('MatMul', this.rows(value), this.m.transpose(weights, [0, 2, 1])));
  }
  /** value W of all steps at once. */
  back(value: string, weights: string): string {
    return this.steps4(this.m.op('MatMul', this.rows(value), weights));
  }
  /** The gradient by W of value W^T: one product over all steps. */
  byWeights(gradient: string, value: string): string {
    return this.m.op('MatMul', this.m.transpose(this.rows(gradient), [0, 2, 1]), this.rows(value));
  }
  /** The sum over steps and batch, [D, K]: a product with ones, which is several times faster in onnxruntime than ReduceSum over the first axes. */
  overSteps(value: string): string {
    const { m, directions, steps, batch } = this;
    return m.reshape(m.op('MatMul', m.filled([1, 1, steps * batch], 1), this.rows(value)), [directions, m.shape(value)[3] ?? 1]);
  }
  /** Half of the biases, as they are added to all steps: 0 with W, 1 with R. */
  bias(half: 0 | 1): string | undefined {
    const bias = optionalOperand(this.step.node, recurrentOperands.bias);
    return bias === undefined ? undefined : this.m.reshape(this.m.slice(bias, 1, half * this.width, (half + 1) * this.width), [this.directions, 1, 1, this.width]);
  }
  /** The share of the input, or of the hidden state, in all gates; biases included. */
  share(half: 0 | 1): string {
    const [value, weights] = half === 0 ? [this.x, this.weights(recurrentOperands.weights)] : [this.before, this.weights(recurrentOperands.recurrence)];
    const [product, bias] = [this.product(value, weights), this.bias(half)];
    return bias === undefined ? product : this.m.add(product, bias);
  }
  /** Gates `from` to `to` of a value of all gates. */
  gates(value: string, from: number, to = from + 1): string {
    return this.m.slice(value, 3, from * this.r.hidden, to * this.r.hidden);
  }
  /** One row of the peepholes as it multiplies a cell state; undefined without. */
  peephole(row: number): string | undefined {
    const given = optionalOperand(this.step.node, recurrentOperands.peephole);
    const { hidden } = this.r;
    return given === undefined ? undefined : this.m.reshape(this.m.slice(given, 1, row * hidden, (row + 1) * hidden), [this.directions, 1, 1, hidden]);
  }

  /** The function with that number of each direction, after the clip; the cell's own (2) is not clipped. */
  activate(index: number, x: string): Activated {
    const { m, r } = this;
    const bounded = index < 2 && Number.isFinite(r.clip);
    const inside = bounded ? m.between(x, m.number(-r.clip), m.number(r.clip)) : undefined;
    const functions = r.reverse.map((_, d) => r.functions[d * functionsPerDirection + index]).filter((f) => f !== undefined);
    const [first, ...others] = functions;
    if (first === undefined) throw noGradient(this.step.node, `it has no function ${index}`);
    const clipped = bounded ? m.clip(x, -r.clip, r.clip) : x;
    const same = others.every((f) => JSON.stringify(f) === JSON.stringify(first));
    const parts = same ? [functionOf(m, this.step.node, first, clipped)] : functions.map((f, d) => functionOf(m, this.step.node, f, m.slice(clipped, 0, d, d + 1)));
    const [value, slope] = [m.concat(parts.map((part) => part.value), 0), m.concat(parts.map((part) => part.slope), 0)];
    return { value, slope: inside === undefined ? slope : m.mul(slope, inside) };
  }

  /** A factor of gradients, 0 where the sequence does not run. */
  masked(value: string): string {
    return this.runs === undefined ? value : this.m.mul(value, this.runs);
  }
  /** A factor by which a state is handed on, 1 where the sequence does not run. */
  kept(value: string): string {
    return this.runs === undefined ? value : this.m.add(this.m.mul(value, this.runs), this.m.affine(this.runs, -1, 1));
  }
  /** One value for each step. */
  apart(value: string): string[] {
    const { m, steps } = this;
    return steps === 1 ? [value] : m.b.emitAll('Split', [value, m.ints(...Array.from({ length: steps }, () => 1))], steps, { axis: { type: 'int', value: 1 } });
  }
  together(parts: readonly string[]): string {
    return this.m.concat(parts, 1);
  }
}
