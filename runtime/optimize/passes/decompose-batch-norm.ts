import { notConstant } from '../../graph/attributes.js';
import { GraphEditor } from '../../graph/editor.js';
import type { Graph } from '../../graph/graph.js';
import { fromNumbers, toNumbers } from '../../graph/tensor-value.js';
import { batchNormAffine } from '../../ops/normalization.js';
import { single } from '../../ops/views.js';

const parameterNames = ['scale', 'B', 'input_mean', 'input_var'] as const;

/** BatchNormalization that nothing could absorb, as a multiplication and an addition. */
export function decomposeBatchNorm(graph: Graph): Graph {
  const editor = new GraphEditor(graph);
  for (const node of graph.nodes) {
    if (node.op !== 'BatchNormalization') continue;
    const parameters = node.inputs.slice(1, 5).map((name) => editor.constant(name));
    parameterNames.forEach((what, i) => { if (parameters[i] === undefined) throw notConstant(node, i + 1, what); });
    const affine = batchNormAffine(node, parameters.flatMap((value) => (value === undefined ? [] : [toNumbers(value)])));
    const { x: input, output } = single(node);
    const type = editor.type(input);
    const dims = [affine.mul.length, ...type.shape.slice(2).map(() => 1)];
    const mul = editor.addConstant(`${node.name}.mul`, fromNumbers('float32', dims, affine.mul));
    const add = editor.addConstant(`${node.name}.add`, fromNumbers('float32', dims, affine.add));
    editor.remove(node);
    const scaledValue = editor.insert({ name: `${node.name}.scaled`, op: 'Mul', inputs: [input, mul] }, type);
    editor.add({ name: node.name, op: 'Add', inputs: [scaledValue, add], outputs: [output] });
  }
  return editor.finish();
}
