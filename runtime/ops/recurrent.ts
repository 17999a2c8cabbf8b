import { float, floatAttribute, floats, floatsAttribute, int, intAttribute, ints, misshapen, oneOf, requiredInt, requiredInts, string, strings, stringsAttribute, unsupported, type Attribute } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { fromNumbers, type Shape, type TensorValue, toNumbers, type ValueType } from '../graph/tensor-value.js';
import { transposeValue } from './movement.js';
import { expectType, inputType, inputValue, outputType, type EvaluateContext, type InferContext, type OperatorRecord, type OpTable } from './op.js';
import { applyUnary, isUnaryKind, type Unary, type UnaryKind } from './unary-functions.js';

export const recurrentKinds = ['rnn', 'gru', 'lstm'] as const;
export type RecurrentKind = (typeof recurrentKinds)[number];
export const gateCounts: Readonly<Record<RecurrentKind, number>> = { rnn: 1, gru: 3, lstm: 4 };
/** Functions of one direction: f, g, h. */
const functionCounts: Readonly<Record<RecurrentKind, number>> = { rnn: 1, gru: 2, lstm: 3 };
export const functionsPerDirection = 3;

/** An ONNX RNN, GRU or LSTM. */
export interface Recurrent {
  readonly kind: RecurrentKind;
  /** For each direction whether it runs backwards. */
  readonly reverse: readonly boolean[];
  readonly hidden: number;
  /** f, g, h of every direction; those that a kind does not have are the identity. */
  readonly functions: readonly Unary[];
  /** Bound of what goes into the functions; Infinity when there is none. */
  readonly clip: number;
  readonly linearBeforeReset: boolean;
  readonly inputForget: boolean;
  /** The batch is the first axis of x, y and the states. */
  readonly batchFirst: boolean;
}

/** Operands of RNN, GRU and LSTM by position. */
export const recurrentOperands = { x: 0, weights: 1, recurrence: 2, bias: 3, lengths: 4, hidden: 5, cell: 6, peephole: 7 } as const;

const directions = { forward: [false], reverse: [true], bidirectional: [false, true] } as const;

/** Functions by their ONNX name, with the defaults of their parameters (ONNX, LSTM, activation_alpha); undefined: it takes none. */
const activations: Readonly<Record<string, { kind: UnaryKind; alpha?: number; beta?: number }>> = {
  relu: { kind: 'relu' }, tanh: { kind: 'tanh' }, sigmoid: { kind: 'sigmoid' }, softsign: { kind: 'softsign' }, softplus: { kind: 'softplus' },
  affine: { kind: 'affine', alpha: 1, beta: 0 }, leakyrelu: { kind: 'leaky_relu', alpha: 0.01 }, thresholdedrelu: { kind: 'thresholded_relu', alpha: 1 },
  scaledtanh: { kind: 'scaled_tanh', alpha: 1, beta: 1 }, hardsigmoid: { kind: 'hard_sigmoid', alpha: 0.2, beta: 0.5 }, elu: { kind: 'elu', alpha: 1 },
};

const defaults: Readonly<Record<RecurrentKind, readonly string[]>> = { rnn: ['Tanh'], gru: ['Sigmoid', 'Tanh'], lstm: ['Sigmoid', 'Tanh', 'Tanh'] };
const none: Unary = { kind: 'identity', alpha: 0, beta: 0 };

/** The functions as the node lists them; their parameters are consumed in the order of those that take one. */
function functionsOf(node: Node, kind: RecurrentKind, directionCount: number): Unary[] {
  const perDirection = functionCounts[kind];
  const given = stringsAttribute(node, 'activations') ?? [];
  const names = given.length > 0 ? given : Array.from({ length: directionCount }, () => defaults[kind]).flat();
  if (names.length !== perDirection * directionCount) throw unsupported(node, `Expected ${perDirection * directionCount} names but received ${names.length}`, 'activations');
  const alphas = [...(floatsAttribute(node, 'activation_alpha') ?? [])];
  const betas = [...(floatsAttribute(node, 'activation_beta') ?? [])];
  const functions = names.map((name): Unary => {
    const known = Object.hasOwn(activations, name.toLowerCase()) ? activations[name.toLowerCase()] : undefined;
    if (known === undefined) throw unsupported(node, `unknown function ${name}`, 'activations');
    return {
      kind: known.kind,
      alpha: known.alpha === undefined ? 0 : (alphas.shift() ?? known.alpha),
      beta: known.beta === undefined ? 0 : (betas.shift() ?? known.beta),
    };
  });
  return Array.from({ length: directionCount }, (_, d) =>
    Array.from({ length: functionsPerDirection }, (__, i) => (i < perDirection ? (functions[d * perDirection + i] ?? none) : none))).flat();
}

export function recurrentOf(node: Node): Recurrent {
  const kind = ({ RNN: 'rnn', GRU: 'gru', LSTM: 'lstm' } as const)[node.op];
  if (kind === undefined) throw unsupported(node, 'not a recurrent operator');
  const reverse = directions[oneOf(node, 'direction', ['forward', 'reverse', 'bidirectional'], 'forward')];
  const clip = floatAttribute(node, 'clip', 0);
  if (clip < 0) throw unsupported(node, `Expected at least 0 but received ${clip}`, 'clip');
  return {
    kind, reverse,
    hidden: requiredInt(node, 'hidden_size'),
    functions: functionsOf(node, kind, reverse.length),
    clip: clip === 0 ? Infinity : clip,
    linearBeforeReset: kind === 'gru' && intAttribute(node, 'linear_before_reset', 0) !== 0,
    inputForget: kind === 'lstm' && intAttribute(node, 'input_forget', 0) !== 0,
    batchFirst: intAttribute(node, 'layout', 0) === 1,
  };
}

function expectShape(context: InferContext, index: number, shape: Shape): void {
  const given = context.inputs[index];
  if (given !== undefined && given.shape.join() !== shape.join()) {
    throw misshapen(context.node, `input ${index}: expected [${shape.join(', ')}] but received [${given.shape.join(', ')}]`);
  }
}

/** Y, all hidden states, for an input of that shape. */
export function typeOfSteps(node: Node, shape: Shape): ValueType {
  const r = recurrentOf(node);
  const [steps = 1, batch = 1] = r.batchFirst ? [shape[1], shape[0]] : shape;
  return { dtype: 'float32', shape: r.batchFirst ? [batch, steps, r.reverse.length, r.hidden] : [steps, r.reverse.length, batch, r.hidden] };
}

function inferRecurrent(context: InferContext): ValueType[] {
  const r = recurrentOf(context.node);
  const { shape } = expectType(context, recurrentOperands.x, ['float32']);
  if (shape.length !== 3 || r.hidden < 1) throw misshapen(context.node, `an input of rank ${shape.length} and ${r.hidden} units`);
  const batch = shape[r.batchFirst ? 0 : 1] ?? 1;
  const [d, width] = [r.reverse.length, gateCounts[r.kind] * r.hidden];
  inputType(context, recurrentOperands.weights);
  inputType(context, recurrentOperands.recurrence);
  const state = r.batchFirst ? [batch, d, r.hidden] : [d, batch, r.hidden];
  const wanted: readonly Shape[] = [shape, [d, width, shape[2] ?? 1], [d, width, r.hidden], [d, 2 * width], [batch], state, state, [d, 3 * r.hidden]];
  wanted.forEach((expected, index) => expectShape(context, index, expected));
  const states: ValueType[] = (r.kind === 'lstm' ? [state, state] : [state]).map((dims) => ({ dtype: 'float32', shape: dims }));
  return [typeOfSteps(context.node, shape), ...states];
}

/** What runs through the steps: arrays of [D, B, ..], steps first in gates and results. */
interface Recurrence {
  readonly r: Recurrent;
  readonly steps: number;
  readonly batch: number;
  /** [T, B, D * G * H]: the input's share of every gate, biases included. */
  readonly gates: ArrayLike<number>;
  readonly weights: ArrayLike<number>;
  readonly newBias: ArrayLike<number> | undefined;
  readonly hidden: ArrayLike<number> | undefined;
  readonly cell: ArrayLike<number> | undefined;
  readonly peephole: ArrayLike<number> | undefined;
  readonly lengths: ArrayLike<number> | undefined;
}

interface States {
  /** [T, D, B, H] */
  readonly all: Float64Array;
  /** [D, B, H] */
  readonly hidden: Float64Array;
  readonly cell: Float64Array;
}

/** Row `row` of H R: the share of the hidden state in gate row `row` of direction `d`. */
function product(p: Recurrence, d: number, row: number, h: ArrayLike<number>): number {
  const { hidden } = p.r;
  const at = (d * gateCounts[p.r.kind] * hidden + row) * hidden;
  let sum = 0;
  for (let k = 0; k < hidden; k++) sum += (h[k] ?? 0) * (p.weights[at + k] ?? 0);
  return sum;
}

/** One step of one row of the batch in one direction. */
interface Step {
  readonly d: number;
  /** The input's share of a gate row. */
  readonly input: (row: number) => number;
  /** The activation function with that number, after the clip. */
  readonly apply: (index: number, x: number) => number;
}

/** The hidden and cell state after a step (ONNX, equations of RNN, GRU and LSTM). */
function next(p: Recurrence, { d, input, apply }: Step, h: Float64Array, c: Float64Array): [Float64Array, Float64Array] {
  const { hidden: n, kind } = p.r;
  const each = (fn: (j: number) => number) => Float64Array.from({ length: n }, (_, j) => fn(j));
  const share = (gate: number, j: number) => input(gate * n + j) + product(p, d, gate * n + j, h);
  if (kind === 'rnn') return [each((j) => apply(0, share(0, j))), c];
  if (kind === 'gru') {
    const z = each((j) => apply(0, share(0, j)));
    const reset = each((j) => apply(0, share(1, j)));
    const kept = each((j) => (reset[j] ?? 0) * (h[j] ?? 0));
    const fresh = each((j) => {
      const row = 2 * n + j;
      const recurrent = p.r.linearBeforeReset ? (reset[j] ?? 0) * (product(p, d, row, h) + (p.newBias?.[d * n + j] ?? 0)) : product(p, d, row, kept);
      return apply(1, input(row) + recurrent);
    });
    return [each((j) => (1 - (z[j] ?? 0)) * (fresh[j] ?? 0) + (z[j] ?? 0) * (h[j] ?? 0)), c];
  }
  const peep = (gate: number, j: number, state: Float64Array) => (p.peephole?.[(d * 3 + gate) * n + j] ?? 0) * (state[j] ?? 0);
  const i = each((j) => apply(0, share(0, j) + peep(0, j, c)));
  const forget = each((j) => (p.r.inputForget ? 1 - (i[j] ?? 0) : apply(0, share(2, j) + peep(2, j, c))));
  const fresh = each((j) => apply(1, share(3, j)));
  const cell = each((j) => (forget[j] ?? 0) * (c[j] ?? 0) + (i[j] ?? 0) * (fresh[j] ?? 0));
  const out = each((j) => apply(0, share(1, j) + peep(1, j, cell)));
  return [each((j) => (out[j] ?? 0) * applyUnary(p.r.functions[d * functionsPerDirection + 2] ?? none, cell[j] ?? 0)), cell];
}

/** Runs all directions; what lies beyond a row's length is 0. */
function recur(p: Recurrence): States {
  const { r, steps, batch } = p;
  const [d, n, width] = [r.reverse.length, r.hidden, gateCounts[r.kind] * r.hidden];
  const all = new Float64Array(steps * d * batch * n);
  const [hidden, cell] = [new Float64Array(d * batch * n), new Float64Array(d * batch * n)];
  r.reverse.forEach((backwards, direction) => {
    const apply: Step['apply'] = (index, x) => applyUnary(r.functions[direction * functionsPerDirection + index] ?? none, Math.min(Math.max(x, -r.clip), r.clip));
    for (let b = 0; b < batch; b++) {
      const at = (direction * batch + b) * n;
      const initial = (values: ArrayLike<number> | undefined) => Float64Array.from({ length: n }, (_, j) => values?.[at + j] ?? 0);
      let [h, c]: [Float64Array, Float64Array] = [initial(p.hidden), initial(p.cell)];
      const length = p.lengths?.[b] ?? steps;
      for (let s = 0; s < length; s++) {
        const step = backwards ? length - 1 - s : s;
        const input = (row: number) => p.gates[((step * batch + b) * d + direction) * width + row] ?? 0;
        [h, c] = next(p, { d: direction, input, apply }, h, c);
        all.set(h, ((step * d + direction) * batch + b) * n);
      }
      hidden.set(h, at);
      cell.set(c, at);
    }
  });
  return { all, hidden, cell };
}

/** The two halves of B, added up as the gates want them, and the part that GRU adds before it resets. */
export function splitBias(r: Recurrent, bias: ArrayLike<number>): { gates: Float64Array; fresh: Float64Array | undefined } {
  const [d, n, width] = [r.reverse.length, r.hidden, gateCounts[r.kind] * r.hidden];
  const isFresh = (row: number) => r.linearBeforeReset && row >= 2 * n;
  const gates = Float64Array.from({ length: d * width }, (_, i) => {
    const [direction, row] = [Math.floor(i / width), i % width];
    return (bias[direction * 2 * width + row] ?? 0) + (isFresh(row) ? 0 : (bias[direction * 2 * width + width + row] ?? 0));
  });
  const fresh = Float64Array.from({ length: d * n }, (_, i) => bias[Math.floor(i / n) * 2 * width + width + 2 * n + (i % n)] ?? 0);
  return { gates, fresh: r.linearBeforeReset ? fresh : undefined };
}

/** x W^T + bias of every step. x: [T, B, I]. */
function inputShare(r: Recurrent, x: TensorValue, w: TensorValue, bias: ArrayLike<number> | undefined): Float64Array {
  const rows = r.reverse.length * gateCounts[r.kind] * r.hidden;
  const depth = x.dims[2] ?? 1;
  const [data, weights] = [toNumbers(x), toNumbers(w)];
  return Float64Array.from({ length: (data.length / depth) * rows }, (_, i) => {
    const [pixel, row] = [Math.floor(i / rows), i % rows];
    let sum = bias?.[row] ?? 0;
    for (let k = 0; k < depth; k++) sum += (data[pixel * depth + k] ?? 0) * (weights[row * depth + k] ?? 0);
    return sum;
  });
}

const recurrent: OperatorRecord = {
  infer: inferRecurrent,
  evaluate(context) {
    const r = recurrentOf(context.node);
    const swapped = (value: TensorValue): TensorValue => (r.batchFirst ? transposeValue(value, [1, 0, 2]) : value);
    const numbers = (index: number, arrange = (value: TensorValue) => value) => {
      const value = context.inputs[index];
      return value === undefined ? undefined : toNumbers(arrange(value));
    };
    const at = recurrentOperands;
    const x = swapped(inputValue(context, at.x));
    const given = numbers(at.bias);
    const bias = given === undefined ? undefined : splitBias(r, given);
    const [steps = 1, batch = 1] = x.dims;
    const states = recur({
      r, steps, batch,
      gates: inputShare(r, x, inputValue(context, at.weights), bias?.gates),
      weights: toNumbers(inputValue(context, at.recurrence)),
      newBias: bias?.fresh, hidden: numbers(at.hidden, swapped), cell: numbers(at.cell, swapped), peephole: numbers(at.peephole), lengths: numbers(at.lengths),
    });
    const d = r.reverse.length;
    const y = fromNumbers('float32', [steps, d, batch, r.hidden], states.all);
    const state = (values: Float64Array) => swapped(fromNumbers('float32', [d, batch, r.hidden], values));
    return [r.batchFirst ? transposeValue(y, [2, 0, 1, 3]) : y, state(states.hidden), ...(r.kind === 'lstm' ? [state(states.cell)] : [])];
  },
};

/** Operands of Recurrence by position: RecurrentF32 of program.h. */
export const recurrenceOperands = { gates: 0, weights: 1, newBias: 2, hidden: 3, cell: 4, peephole: 5, lengths: 6 } as const;

/** Attributes of Recurrence. `states`: rows after the steps, the last hidden and the last cell state. */
export function recurrenceAttributes(r: Recurrent, states: number): Record<string, Attribute> {
  return {
    kind: string(r.kind), reverse: ints(r.reverse.map(Number)), hidden: int(r.hidden), clip: float(r.clip),
    linear_before_reset: int(Number(r.linearBeforeReset)), input_forget: int(Number(r.inputForget)), states: int(states),
    functions: strings(r.functions.map(({ kind }) => kind)), alphas: floats(r.functions.map(({ alpha }) => alpha)), betas: floats(r.functions.map(({ beta }) => beta)),
  };
}

/** The recurrence of a Recurrence node. */
export function coreRecurrence(node: Node): Recurrent & { readonly states: number } {
  const alphas = floatsAttribute(node, 'alphas') ?? [];
  const betas = floatsAttribute(node, 'betas') ?? [];
  const functions = (stringsAttribute(node, 'functions') ?? []).map((kind, i): Unary => {
    if (!isUnaryKind(kind)) throw unsupported(node, `unknown function ${kind}`, 'functions');
    return { kind, alpha: alphas[i] ?? 0, beta: betas[i] ?? 0 };
  });
  return {
    kind: oneOf(node, 'kind', recurrentKinds, 'rnn'),
    reverse: requiredInts(node, 'reverse').map((flag) => flag === 1),
    hidden: requiredInt(node, 'hidden'),
    functions,
    clip: floatAttribute(node, 'clip', Infinity),
    linearBeforeReset: intAttribute(node, 'linear_before_reset', 0) === 1,
    inputForget: intAttribute(node, 'input_forget', 0) === 1,
    batchFirst: false,
    states: intAttribute(node, 'states', 0),
  };
}

/** The core operator: gates [T, B, D * G * H], r [D, G * H, H], .. -> [T + states, D, B, H]. */
const recurrence: OperatorRecord = {
  pixels: 'any', format: 'float32',
  infer(context) {
    const { reverse, hidden, states } = coreRecurrence(context.node);
    const [steps = 1, batch = 1] = inputType(context, 0).shape;
    return [{ dtype: 'float32', shape: [steps + states, reverse.length, batch, hidden] }];
  },
  evaluate(context: EvaluateContext) {
    const r = coreRecurrence(context.node);
    const gates = inputValue(context, recurrenceOperands.gates);
    const [steps = 1, batch = 1] = gates.dims;
    const at = recurrenceOperands;
    const numbers = (index: number) => (context.inputs[index] === undefined ? undefined : toNumbers(context.inputs[index]));
    const states = recur({
      r, steps, batch, gates: toNumbers(gates), weights: toNumbers(inputValue(context, at.weights)),
      newBias: numbers(at.newBias), hidden: numbers(at.hidden), cell: numbers(at.cell), peephole: numbers(at.peephole), lengths: numbers(at.lengths),
    });
    const { shape } = outputType(context);
    const rows = [states.all, ...(r.states > 0 ? [states.hidden] : []), ...(r.states > 1 ? [states.cell] : [])];
    return [fromNumbers('float32', shape, rows.flatMap((row) => [...row]))];
  },
};

export const recurrentOps: OpTable = { RNN: recurrent, GRU: recurrent, LSTM: recurrent };
export const recurrenceOps: OpTable = { Recurrence: recurrence };
