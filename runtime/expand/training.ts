import { floatAttribute, hasAttribute, oneOf, unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { type Builder, type Expansion, input, Notation } from './builder.js';

// One step of an optimizer (ai.onnx.preview.training): the rate R, the count of steps T, then all weights, all gradients, and the lists of states.

/** Operands 2.. of a node as `lists` lists of one length. */
function listsOf({ inputs }: Node, lists: number): string[][] {
  const count = Math.floor((inputs.length - 2) / lists);
  return Array.from({ length: lists }, (_, i) => inputs.slice(2 + i * count, 2 + (i + 1) * count));
}

/** Results by list, in the order of the node's outputs. */
const byList = (results: readonly (readonly string[])[]): string[] => (results[0] ?? []).flatMap((_, list) => results.map((each) => each[list] ?? ''));

/** The gradient and what the norm of the weights adds to it. */
const regularized = (m: Notation, node: Node, x: string, gradient: string): string => m.add(m.scale(x, floatAttribute(node, 'norm_coefficient', 0)), gradient);

const adagrad: Expansion = (b, node) => {
  const m = new Notation(b);
  const [weights = [], gradients = [], sums = []] = listsOf(node, 3);
  const steps = m.cast(input(node, 1), 'float32');
  const rate = m.div(input(node), m.add(m.scale(steps, floatAttribute(node, 'decay_factor', 0)), m.number(1)));
  return byList(weights.map((x, i) => {
    const gradient = regularized(m, node, x, gradients[i] ?? '');
    const sum = m.add(sums[i] ?? '', m.mul(gradient, gradient));
    const scale = m.add(m.op('Sqrt', sum), m.number(floatAttribute(node, 'epsilon', 1e-6)));
    return [m.sub(x, m.div(m.mul(rate, gradient), scale)), sum];
  }));
};

/** decay * old + (1 - decay) * fresh */
const moving = (m: Notation, old: string, fresh: string, decay: number): string => m.add(m.scale(old, decay), m.scale(fresh, 1 - decay));

function adamRate(b: Builder, node: Node, alpha: number, beta: number): string {
  const m = new Notation(b);
  const steps = m.cast(input(node, 1), 'float32');
  const rest = (decay: number): string => m.sub(m.number(1), m.op('Pow', m.number(decay), steps));
  const started = m.op('Greater', steps, m.number(0));
  // Before the first step the divisor would be 0, and its quotient is not taken.
  const divisor = m.where(started, rest(alpha), m.number(1));
  return m.where(started, m.div(m.mul(input(node), m.op('Sqrt', rest(beta))), divisor), input(node));
}

const adam: Expansion = (b, node) => {
  // ONNX's own test of the default computes with another number than the specification states.
  if (!hasAttribute(node, 'epsilon')) throw unsupported(node, 'Expected a number but received none, and implementations disagree on the default; state it', 'epsilon');
  const m = new Notation(b);
  const [weights = [], gradients = [], means = [], squares = []] = listsOf(node, 4);
  const [alpha, beta] = [floatAttribute(node, 'alpha', 0.9), floatAttribute(node, 'beta', 0.999)];
  const rate = adamRate(b, node, alpha, beta);
  return byList(weights.map((x, i) => {
    const gradient = regularized(m, node, x, gradients[i] ?? '');
    const mean = moving(m, means[i] ?? '', gradient, alpha);
    const square = moving(m, squares[i] ?? '', m.mul(gradient, gradient), beta);
    const scale = m.add(m.op('Sqrt', square), m.number(floatAttribute(node, 'epsilon', 1e-6)));
    return [m.scale(m.sub(x, m.div(m.mul(rate, mean), scale)), 1 - floatAttribute(node, 'norm_coefficient_post', 0)), mean, square];
  }));
};

const momentum: Expansion = (b, node) => {
  const m = new Notation(b);
  const [weights = [], gradients = [], velocities = []] = listsOf(node, 3);
  const alpha = floatAttribute(node, 'alpha', 0.9);
  const nesterov = oneOf(node, 'mode', ['standard', 'nesterov'], 'standard') === 'nesterov';
  const started = m.op('Greater', m.cast(input(node, 1), 'float32'), m.number(0));
  const beta = m.where(started, m.number(floatAttribute(node, 'beta', 1)), m.number(1));
  return byList(weights.map((x, i) => {
    const gradient = regularized(m, node, x, gradients[i] ?? '');
    const velocity = m.add(m.scale(velocities[i] ?? '', alpha), m.mul(beta, gradient));
    return [m.sub(x, m.mul(input(node), nesterov ? m.add(gradient, m.scale(velocity, alpha)) : velocity)), velocity];
  }));
};

const table: Readonly<Record<string, Expansion>> = { Adagrad: adagrad, Adam: adam, Momentum: momentum };

export const trainings: Readonly<Record<string, Expansion>> = Object.fromEntries(Object.entries(table).map(([op, expansion]) => [`ai.onnx.preview.training.${op}`, expansion]));
