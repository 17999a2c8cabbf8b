import { floatAttribute } from '../../graph/attributes.js';
import { consumersOf, type Graph, type Node } from '../../graph/graph.js';
import type { Range } from '../ranges/range.js';
import { outputOf } from '../../graph/operands.js';

/** Operators that only move elements, so that a value can be limited in front of them as well as behind. */
const movers: ReadonlySet<string> = new Set(['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Transpose', 'Slice', 'Concat', 'Identity', 'DepthToSpace', 'SpaceToDepth']);

/**
 * Where a function still changes: Sigmoid(8) and Tanh(8) differ from 1 by 3.4e-4 and 2.3e-7, less than a twelfth of a step of 1/256. Softmax has no
 * such range, for it depends on differences between its inputs: limiting two large logits could make them equal.
 */
function rangeOf(node: Node): Range | undefined {
  if (node.op === 'Sigmoid' || node.op === 'Tanh') return { min: -8, max: 8 };
  if (node.op !== 'HardSigmoid') return undefined;
  const [alpha, beta] = [floatAttribute(node, 'alpha', 0.2), floatAttribute(node, 'beta', 0.5)];
  if (alpha === 0) return undefined;
  const [zero, one] = [-beta / alpha, (1 - beta) / alpha];
  return { min: Math.min(zero, one), max: Math.max(zero, one) };
}

/**
 * Values that only Sigmoid, Tanh and HardSigmoid read, with the range in which they matter. Logits of a classifier can reach hundreds: a grid over all
 * of them has steps of several units, and leaves nothing of the part in which the function is not constant.
 */
export function saturationLimits(graph: Graph): Map<string, Range> {
  const consumers = consumersOf(graph.nodes);
  const outputs = new Set(graph.outputs);
  const limits = new Map<string, Range>();
  // A value's readers come after the node that makes it: from the last node to the first, all of them are known.
  for (const value of [...graph.nodes].reverse().flatMap((node) => node.outputs)) {
    const readers = consumers.get(value) ?? [];
    if (readers.length === 0 || outputs.has(value)) continue;
    const ranges = readers.map((node) => (movers.has(node.op) && node.outputs.length === 1 ? limits.get(outputOf(node)) : rangeOf(node)));
    const known = ranges.filter((range) => range !== undefined);
    if (known.length < ranges.length) continue;
    limits.set(value, { min: Math.min(...known.map(({ min }) => min)), max: Math.max(...known.map(({ max }) => max)) });
  }
  return limits;
}
