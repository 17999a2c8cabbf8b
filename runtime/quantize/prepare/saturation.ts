import { floatAttribute } from '../../graph/attributes.js';
import { consumersOf, producersOf, type Graph, type Node } from '../../graph/graph.js';
import type { Range } from '../ranges/range.js';
import { outputOf } from '../../graph/operands.js';

/** Operators that only move elements, so that a value can be limited in front of them as well as behind. */
const movers: ReadonlySet<string> = new Set(['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Transpose', 'Slice', 'Concat', 'Identity', 'DepthToSpace', 'SpaceToDepth']);

/** Where functions that grow without bound to the right have all but ended on the left: Silu(-8) is -0.0027, Gelu(-5) -1.4e-6, Mish(-8) -0.0027. */
const leftEnds: Readonly<Record<string, number>> = { HardSwish: -3, Gelu: -5, Mish: -8, Softplus: -8, Elu: -8, Relu: 0 };

/**
 * Where a function still changes: Sigmoid(8) and Tanh(8) differ from 1 by 3.4e-4 and 2.3e-7, less than a twelfth of a step of 1/256. Softmax has no
 * such range, for it depends on differences between its inputs: limiting two large logits could make them equal.
 */
function rangeOf(node: Node, value: string, producers: ReadonlyMap<string, Node>): Range | undefined {
  const left = leftEnds[node.op];
  if (left !== undefined && node.inputs[0] === value) return { min: left, max: Infinity };
  if (node.op === 'Mul') return gatedRange(node, value, producers);
  const alpha = floatAttribute(node, 'alpha', 1);
  if (node.op === 'Swish' && alpha > 0) return { min: -8 / alpha, max: Infinity };
  if (node.op === 'Sigmoid' || node.op === 'Tanh') return { min: -8, max: 8 };
  if (node.op !== 'HardSigmoid') return undefined;
  const [slope, beta] = [floatAttribute(node, 'alpha', 0.2), floatAttribute(node, 'beta', 0.5)];
  if (slope === 0) return undefined;
  const [zero, one] = [-beta / slope, (1 - beta) / slope];
  return { min: Math.min(zero, one), max: Math.max(zero, one) };
}

/** Of x * gate(x), as exporters write Silu and HardSwish: where the gate is shut, so is everything. */
function gatedRange(node: Node, value: string, producers: ReadonlyMap<string, Node>): Range | undefined {
  const other = node.inputs.find((input) => input !== value);
  const gate = other === undefined ? undefined : producers.get(other);
  if (gate === undefined || (gate.op !== 'Sigmoid' && gate.op !== 'HardSigmoid') || gate.inputs[0] !== value) return undefined;
  const open = rangeOf(gate, value, producers);
  return open === undefined || floatAttribute(gate, 'alpha', 1) < 0 ? undefined : { min: open.min, max: Infinity };
}

/**
 * Values that only functions read which are constant on one side or both, with the range in which they matter. Logits of a classifier can reach hundreds:
 * a grid over all of them has steps of several units, and leaves nothing of the part in which the function is not constant. What goes into a Silu is
 * often far more negative than positive.
 */
export function saturationLimits(graph: Graph): Map<string, Range> {
  const consumers = consumersOf(graph.nodes);
  const producers = producersOf(graph.nodes);
  const outputs = new Set(graph.outputs);
  const limits = new Map<string, Range>();
  // A value's readers come after the node that makes it: from the last node to the first, all of them are known.
  for (const value of [...graph.nodes].reverse().flatMap((node) => node.outputs)) {
    const readers = consumers.get(value) ?? [];
    if (readers.length === 0 || outputs.has(value)) continue;
    const ranges = readers.map((node) => (movers.has(node.op) && node.outputs.length === 1 ? limits.get(outputOf(node)) : rangeOf(node, value, producers)));
    const known = ranges.filter((range) => range !== undefined);
    if (known.length < ranges.length) continue;
    limits.set(value, { min: Math.min(...known.map(({ min }) => min)), max: Math.max(...known.map(({ max }) => max)) });
  }
  return limits;
}
