import { intAttribute, intsAttribute, stringAttribute } from '../../graph/attributes.js';
import { GraphEditor } from '../../graph/editor.js';
import type { Graph, Node } from '../../graph/graph.js';
import { sameShape } from '../../graph/tensor-value.js';
import { isIdentityPermutation } from '../../graph/permutation.js';

/** Operators that give back their input when it keeps its shape and type. */
const shapeOnly = new Set(['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'View', 'Expand', 'BroadcastTo', 'Cast', 'StridedSlice', 'PadNd', 'Tile']);

/** Reductions that change an element even when nothing is added to it. */
const squaring = new Set(['l2', 'sum_square']);

function isIdentity(editor: GraphEditor, node: Node): boolean {
  const [input = '', output = ''] = [node.inputs[0], node.outputs[0]];
  if (input === '' || output === '') return false;
  const [from, to] = [editor.type(input), editor.type(output)];
  const same = from.dtype === to.dtype && sameShape(from.shape, to.shape);
  switch (node.op) {
    case 'Identity': return true;
    case 'Dropout': return node.outputs.slice(1).every((mask) => mask === '' || (editor.consumers(mask).length === 0 && !editor.isOutput(mask)));
    case 'Transpose': return same && isIdentityPermutation(intsAttribute(node, 'perm') ?? []);
    case 'Concat': case 'Sum': case 'Min': case 'Max': return node.inputs.length === 1 && same;
    case 'StridedSlice': return same && (intsAttribute(node, 'steps') ?? []).every((step) => step === 1);
    case 'Interleave': return same && (intsAttribute(node, 'strides') ?? []).every((stride) => stride === 1) && (intsAttribute(node, 'skips') ?? []).every((skip) => skip === 0);
    case 'Reduce': return same && (intsAttribute(node, 'axes') ?? []).length === 0 && !squaring.has(stringAttribute(node, 'kind', ''));
    case 'Split': return node.outputs.length === 1 && intAttribute(node, 'axis', 0) >= 0 && same;
    default: return shapeOnly.has(node.op) && same;
  }
}

/** Bypasses nodes that give back their input. A node whose input is a graph input, and its output a graph output, stays. */
export function removeIdentities(graph: Graph): Graph {
  const editor = new GraphEditor(graph);
  for (const original of editor.all()) {
    // Redirecting replaces the readers, so look each node up again by what it makes.
    const node = editor.producer(original.outputs.find((output) => output !== ''));
    if (node === undefined || !isIdentity(editor, node)) continue;
    const [input = '', output = ''] = [node.inputs[0], node.outputs[0]];
    if (editor.redirect(output, input)) editor.remove(node);
  }
  return editor.finish();
}
