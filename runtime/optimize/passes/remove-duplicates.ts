import { GraphEditor } from '../../graph/editor.js';
import type { Graph, Node } from '../../graph/graph.js';
import { optionalOutput } from '../../graph/operands.js';
import { recordOf } from '../../ops/registry.js';

/** JSON has no int64, and makes one thing of NaN and both infinities. */
const told = (_: string, value: unknown): unknown => (typeof value === 'bigint' || (typeof value === 'number' && !Number.isFinite(value)) ? `${value} ${typeof value}` : value);

/** A node's attributes as text: the same text for the same ones. */
export const attributesOf = (node: Node): string => JSON.stringify([...node.attributes].sort(([a], [b]) => (a < b ? -1 : 1)), told);

/** Nodes of one operator with the same inputs: the first one, and once there is a second one the outputs by attributes. */
interface Alike {
  readonly node: Node;
  readonly output: string;
  outputs?: Map<string, string>;
}

/** What an input is read as: exporters write the same number as a constant for each of its readers, scales above all. */
function read(editor: GraphEditor, input: string): unknown {
  const constant = editor.constant(input);
  if (constant?.data.length !== 1) return input;
  const [number] = constant.data;
  return [constant.dtype, ...constant.dims, Object.is(number, -0) ? '-0' : String(number)];
}

/** Nodes that compute the same from the same inputs become one. */
export function removeDuplicates(graph: Graph): Graph {
  const editor = new GraphEditor(graph);
  const seen = new Map<string, Alike>();
  for (const original of graph.nodes) {
    const output = optionalOutput(original, 0);
    const node = editor.producer(output);
    if (output === undefined || node === undefined || recordOf(node)?.repeats !== true || editor.isOutput(output)) continue;
    const key = JSON.stringify([node.op, node.inputs.map((input) => read(editor, input))]);
    const alike = seen.get(key);
    if (alike === undefined) {
      seen.set(key, { node, output });
      continue;
    }
    alike.outputs ??= new Map([[attributesOf(alike.node), alike.output]]);
    const attributes = attributesOf(node);
    const twin = alike.outputs.get(attributes);
    if (twin === undefined) alike.outputs.set(attributes, output);
    else if (editor.redirect(output, twin)) editor.remove(node);
  }
  return editor.finish();
}
