import { GraphEditor } from '../../graph/editor.js';
import type { Graph, Node } from '../../graph/graph.js';
import { optionalOutput } from '../../graph/operands.js';
import { recordOf } from '../../ops/registry.js';

/** JSON has no int64, and makes one thing of NaN and both infinities. */
const told = (_: string, value: unknown): unknown => (typeof value === 'bigint' || (typeof value === 'number' && !Number.isFinite(value)) ? `${value} ${typeof value}` : value);

const keyOf = (node: Node): string => JSON.stringify([node.op, node.inputs, [...node.attributes].sort(([a], [b]) => (a < b ? -1 : 1))], told);

/** Nodes that compute the same from the same inputs become one. */
export function removeDuplicates(graph: Graph): Graph {
  const editor = new GraphEditor(graph);
  const seen = new Map<string, string>();
  for (const original of graph.nodes) {
    const output = optionalOutput(original, 0);
    const node = editor.producer(output);
    if (output === undefined || node === undefined || recordOf(node)?.repeats !== true || editor.isOutput(output)) continue;
    const key = keyOf(node);
    const twin = seen.get(key);
    if (twin === undefined) seen.set(key, output);
    else if (editor.redirect(output, twin)) editor.remove(node);
  }
  return editor.finish();
}
