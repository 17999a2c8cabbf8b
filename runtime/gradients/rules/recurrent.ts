import { absent } from '../../graph/operands.js';
import { typeOfSteps, recurrentOperands } from '../../ops/recurrent.js';
import type { Adjoint, GradientEntry, GradientTable, Rule } from '../rule.js';
import { RecurrentLayer } from './recurrent-layer.js';

/** Gradients of a layer by what its steps read: [D, T, B, G H] by shares of gates, [D, 1, B, H] by initial states. */
interface Found {
  /** By the share of the input in all gates. */
  readonly gates: string;
  /** By the share of the hidden state, biases included. */
  readonly recurrent: string;
  readonly byRecurrence: Adjoint;
  readonly hidden: string;
  readonly cell?: string;
  readonly byPeephole?: Adjoint;
}

/** Gradients by the hidden states, as they come back through the steps. */
class Sweep {
  private readonly fromAbove: readonly string[] | undefined;
  private readonly waits: readonly string[] | undefined;
  private carried: string | undefined;

  constructor(readonly layer: RecurrentLayer) {
    const [y, last] = layer.step.gradients;
    this.fromAbove = y === undefined ? undefined : layer.apart(layer.masked(layer.turned(layer.stepsFirst(y))));
    this.carried = last === undefined ? undefined : layer.fromState(last);
    this.waits = layer.runs === undefined ? undefined : layer.apart(layer.m.affine(layer.runs, -1, 1));
  }

  /** By the hidden state after step t. */
  at(t: number): string {
    const above = this.fromAbove?.[t];
    if (above === undefined) return this.carried ?? this.layer.zeroState();
    return this.carried === undefined ? above : this.layer.m.add(this.carried, above);
  }
  /** Takes the gradient by the hidden state before step t. Where the sequence does not run, that state was handed on as it was. */
  carry(t: number, before: string, after: string): void {
    const { m } = this.layer;
    const waits = this.waits?.[t];
    this.carried = waits === undefined ? before : m.add(before, m.mul(after, waits));
  }
  get initial(): string {
    return this.carried ?? this.layer.zeroState();
  }
}

/** Visits the steps from the last to the first. What each gives back comes in the order of the steps. */
const backwards = <T>({ steps }: RecurrentLayer, visit: (t: number) => T): T[] => Array.from({ length: steps }, (_, i) => visit(steps - 1 - i)).reverse();

/** Rows of R for the product with the gradients of one step, [D, 1, rows, H]. */
function rowsOfStep({ m, directions, r }: RecurrentLayer, recurrence: string): string {
  return m.reshape(recurrence, [directions, 1, m.shape(recurrence)[1] ?? 1, r.hidden]);
}

const at = (values: readonly string[], t: number): string => values[t] ?? absent;

function rnn(layer: RecurrentLayer): Found {
  const { m } = layer;
  const sweep = new Sweep(layer);
  const recurrence = layer.weights(recurrentOperands.recurrence);
  const slopes = layer.apart(layer.masked(layer.activate(0, m.add(layer.share(0), layer.share(1))).slope));
  const rows = rowsOfStep(layer, recurrence);
  const gates = layer.together(backwards(layer, (t) => {
    const after = sweep.at(t);
    const gate = m.mul(after, at(slopes, t));
    sweep.carry(t, m.op('MatMul', gate, rows), after);
    return gate;
  }));
  return { gates, recurrent: gates, byRecurrence: () => layer.byWeights(gates, layer.before), hidden: sweep.initial };
}

/** Gates z and r, with the share of the input in the third one. */
function gruGates(layer: RecurrentLayer) {
  const { m } = layer;
  const [input, recurrent] = [layer.share(0), layer.share(1)];
  const { value, slope } = layer.activate(0, m.add(layer.gates(input, 0, 2), layer.gates(recurrent, 0, 2)));
  const [z, reset] = [layer.gates(value, 0), layer.gates(value, 1)];
  return { z, reset, zSlope: layer.gates(slope, 0), resetSlope: layer.gates(slope, 1), input: layer.gates(input, 2), recurrent: layer.gates(recurrent, 2) };
}

/** h = (1 - z) n + z h', n = g(x + r (R h')). All gradients by gates are those by h times what is known before. */
function gruLinearBeforeReset(layer: RecurrentLayer): Found {
  const { m, before } = layer;
  const { z, reset, zSlope, resetSlope, input, recurrent } = gruGates(layer);
  const fresh = layer.activate(1, m.add(input, m.mul(reset, recurrent)));
  const byFresh = layer.masked(m.mul(m.affine(z, -1, 1), fresh.slope));
  const byZ = layer.masked(m.mul(m.sub(before, fresh.value), zSlope));
  const factors = layer.apart(m.concat([byZ, m.mul(byFresh, m.mul(recurrent, resetSlope)), m.mul(byFresh, reset)], 3));
  const keep = layer.apart(layer.masked(z));
  const sweep = new Sweep(layer);
  const rows = rowsOfStep(layer, layer.weights(recurrentOperands.recurrence));
  const found = backwards(layer, (t) => {
    const after = sweep.at(t);
    const gates = m.mul(m.concat([after, after, after], 3), at(factors, t));
    sweep.carry(t, m.add(m.op('MatMul', gates, rows), m.mul(after, at(keep, t))), after);
    return { gates, after };
  });
  const gates = layer.together(found.map((step) => step.gates));
  const byN = m.mul(layer.together(found.map((step) => step.after)), byFresh);
  return {
    gates: m.concat([layer.gates(gates, 0, 2), byN], 3), recurrent: gates,
    byRecurrence: () => layer.byWeights(gates, before), hidden: sweep.initial,
  };
}

/** As above with n = g(x + R (r h')): the gradient by r comes back through R. */
function gruResetFirst(layer: RecurrentLayer): Found {
  const { m, before, r } = layer;
  const recurrence = layer.weights(recurrentOperands.recurrence);
  const [first, last] = [m.slice(recurrence, 1, 0, 2 * r.hidden), m.slice(recurrence, 1, 2 * r.hidden, 3 * r.hidden)];
  const { z, reset, zSlope, resetSlope, input } = gruGates(layer);
  const kept = m.mul(reset, before);
  const bias = layer.bias(1);
  const product = layer.product(kept, last);
  const fresh = layer.activate(1, m.add(input, bias === undefined ? product : m.add(product, layer.gates(bias, 2))));
  const byFresh = layer.apart(layer.masked(m.mul(m.affine(z, -1, 1), fresh.slope)));
  const factors = layer.apart(layer.masked(m.concat([m.mul(m.sub(before, fresh.value), zSlope), m.mul(before, resetSlope)], 3)));
  const [keep, resets] = [layer.apart(layer.masked(z)), layer.apart(reset)];
  const sweep = new Sweep(layer);
  const [firstRows, lastRows] = [rowsOfStep(layer, first), rowsOfStep(layer, last)];
  const gates = layer.together(backwards(layer, (t) => {
    const after = sweep.at(t);
    const byN = m.mul(after, at(byFresh, t));
    const byKept = m.op('MatMul', byN, lastRows);
    const others = m.mul(m.concat([after, byKept], 3), at(factors, t));
    const through = m.add(m.op('MatMul', others, firstRows), m.mul(byKept, at(resets, t)));
    sweep.carry(t, m.add(through, m.mul(after, at(keep, t))), after);
    return m.concat([others, byN], 3);
  }));
  const byRecurrence = (): string => m.concat([layer.byWeights(layer.gates(gates, 0, 2), before), layer.byWeights(layer.gates(gates, 2), kept)], 1);
  return { gates, recurrent: gates, byRecurrence, hidden: sweep.initial };
}

interface Peepholes {
  readonly i: string;
  readonly o: string;
  readonly f: string;
}

const peepholesOf = (layer: RecurrentLayer): Peepholes | undefined => {
  const [i, o, f] = [0, 1, 2].map((row) => layer.peephole(row));
  return i === undefined || o === undefined || f === undefined ? undefined : { i, o, f };
};

/** Cell states after each step, [D, T, B, H]: the operator does not give them, so they are computed again. @param shares of gates i, o, f, c */
function cells(layer: RecurrentLayer, shares: string, peepholes: Peepholes | undefined): string {
  const { m, r } = layer;
  const fresh = layer.activate(1, layer.gates(shares, 3)).value;
  let state = layer.state(recurrentOperands.cell) ?? layer.zeroState();
  if (peepholes === undefined) {
    const enter = layer.activate(0, layer.gates(shares, 0)).value;
    const forget = r.inputForget ? m.affine(enter, -1, 1) : layer.activate(0, layer.gates(shares, 2)).value;
    const [keeps, enters] = [layer.apart(layer.kept(forget)), layer.apart(layer.masked(m.mul(enter, fresh)))];
    return layer.together(keeps.map((keep, t) => (state = m.add(m.mul(keep, state), at(enters, t)))));
  }
  const [inputs, forgets, freshes] = [layer.apart(layer.gates(shares, 0)), layer.apart(layer.gates(shares, 2)), layer.apart(fresh)];
  const runs = layer.runs === undefined ? undefined : layer.apart(layer.runs);
  return layer.together(inputs.map((input, t) => {
    const enter = layer.activate(0, m.add(input, m.mul(peepholes.i, state))).value;
    const forget = r.inputForget ? m.affine(enter, -1, 1) : layer.activate(0, m.add(at(forgets, t), m.mul(peepholes.f, state))).value;
    const next = m.add(m.mul(forget, state), m.mul(enter, at(freshes, t)));
    state = runs === undefined ? next : m.add(state, m.mul(at(runs, t), m.sub(next, state)));
    return state;
  }));
}

/** What gradients by the hidden (h) and the cell state (c) after a step are multiplied by. */
interface LstmFactors {
  /** c by h. */
  readonly cell: string;
  /** Gates i, o, f, c: the second one by h, the others by c. */
  readonly gates: string;
  /** The cell state before the step by c. */
  readonly keep: string;
}

/** h = o k(c), c = f c' + i g. Peepholes let i and f see c', and o see c. */
function lstmFactors(layer: RecurrentLayer, shares: string, after: string, before: string, peepholes: Peepholes | undefined): LstmFactors {
  const { m, r } = layer;
  const seen = (gate: number, peephole: string | undefined, state: string) =>
    layer.activate(0, peephole === undefined ? layer.gates(shares, gate) : m.add(layer.gates(shares, gate), m.mul(peephole, state)));
  const enter = seen(0, peepholes?.i, before);
  const out = seen(1, peepholes?.o, after);
  const forget = r.inputForget ? { value: m.affine(enter.value, -1, 1), slope: undefined } : seen(2, peepholes?.f, before);
  const fresh = layer.activate(1, layer.gates(shares, 3));
  const shown = layer.activate(2, after);
  const byOut = m.mul(shown.value, out.slope);
  const byEnter = m.mul(r.inputForget ? m.sub(fresh.value, before) : fresh.value, enter.slope);
  const byForget = forget.slope === undefined ? undefined : m.mul(before, forget.slope);
  const cell = m.mul(out.value, shown.slope);
  const keeps = [forget.value, ...(peepholes === undefined ? [] : [m.mul(byEnter, peepholes.i), ...(byForget === undefined ? [] : [m.mul(byForget, peepholes.f)])])];
  return {
    cell: layer.masked(peepholes === undefined ? cell : m.add(cell, m.mul(byOut, peepholes.o))),
    gates: layer.masked(m.concat([byEnter, byOut, byForget ?? m.filled(m.shape(before)), m.mul(enter.value, fresh.slope)], 3)),
    keep: layer.kept(keeps.reduce(m.add)),
  };
}

function lstm(layer: RecurrentLayer): Found {
  const { m } = layer;
  const shares = m.add(layer.share(0), layer.share(1));
  const peepholes = peepholesOf(layer);
  const after = cells(layer, shares, peepholes);
  const before = layer.cellBefore(after);
  const factors = lstmFactors(layer, shares, after, before, peepholes);
  const [toCell, toGates, keep] = [layer.apart(factors.cell), layer.apart(factors.gates), layer.apart(factors.keep)];
  const sweep = new Sweep(layer);
  const rows = rowsOfStep(layer, layer.weights(recurrentOperands.recurrence));
  const last = layer.step.gradients[2];
  let cell = last === undefined ? undefined : layer.fromState(last);
  const gates = layer.together(backwards(layer, (t) => {
    const byHidden = sweep.at(t);
    const shown = m.mul(byHidden, at(toCell, t));
    const byCell = cell === undefined ? shown : m.add(shown, cell);
    const byGates = m.mul(m.concat([byCell, byHidden, byCell, byCell], 3), at(toGates, t));
    sweep.carry(t, m.op('MatMul', byGates, rows), byHidden);
    cell = m.mul(byCell, at(keep, t));
    return byGates;
  }));
  const sum = (gate: number, state: string): string => layer.overSteps(m.mul(layer.gates(gates, gate), state));
  return {
    gates, recurrent: gates, byRecurrence: () => layer.byWeights(gates, layer.before), hidden: sweep.initial, cell: cell ?? layer.zeroState(),
    byPeephole: () => m.concat([sum(0, before), sum(1, after), sum(2, before)], 1),
  };
}

/**
 * The way back through time (Werbos, Proceedings of the IEEE 78(10), 1990). Gates of all steps are computed again at once from Y, which holds
 * the hidden states, and so is all that gradients are multiplied by. What must go step by step is one product with R, and few small operators;
 * the gradients by W, R, x and biases are one product, or one sum, over all steps.
 */
const recurrent: Rule = (step) => {
  const layer = new RecurrentLayer(step);
  const { m } = step;
  const { kind, linearBeforeReset } = layer.r;
  const found = kind === 'rnn' ? rnn(layer) : kind === 'lstm' ? lstm(layer) : linearBeforeReset ? gruLinearBeforeReset(layer) : gruResetFirst(layer);
  const byBias = (): string => {
    const half = layer.overSteps(found.gates);
    return m.concat([half, found.recurrent === found.gates ? half : layer.overSteps(found.recurrent)], 1);
  };
  const adjoints: Record<keyof typeof recurrentOperands, Adjoint | undefined> = {
    x: () => layer.toInput(layer.back(found.gates, layer.weights(recurrentOperands.weights))),
    weights: () => layer.byWeights(found.gates, layer.x),
    recurrence: found.byRecurrence,
    bias: byBias,
    lengths: undefined,
    hidden: () => layer.toState(found.hidden),
    cell: found.cell === undefined ? undefined : () => layer.toState(found.cell ?? absent),
    peephole: found.byPeephole,
  };
  return Object.values(adjoints);
};

const entry: GradientEntry = {
  rule: recurrent,
  // All hidden states are needed even where the model asks for the last one only.
  augment: (b, node) => ({ output: 0, type: typeOfSteps(node, b.type(node.inputs[recurrentOperands.x] ?? absent).shape) }),
};

export const recurrentGradients: GradientTable = { RNN: entry, GRU: entry, LSTM: entry };
