import { hasAttribute, ints, intsAttribute, type AttributeRecord } from '../../graph/attributes.js';
import type { Graph, Node } from '../../graph/graph.js';
import { operand, outputOf } from '../../graph/operands.js';
import { int64s } from '../../graph/tensor-value.js';
import { Rewriter } from '../../optimize/rewriter.js';

/** Functions of one value that kernels join to a convolution, or compute from a table. */
const functions: ReadonlySet<string> = new Set(['Relu', 'LeakyRelu', 'Clip', 'Sigmoid', 'Tanh', 'HardSigmoid', 'HardSwish', 'Elu', 'Gelu', 'Softplus', 'Mish', 'Selu', 'Celu', 'Softsign', 'Swish']);

/** Attributes of a convolution over one axis, for one over an axis of 1 and that axis. */
function widened(node: Node): AttributeRecord {
  const [first, last] = intsAttribute(node, 'pads') ?? [0, 0];
  const given = (name: string): AttributeRecord => (hasAttribute(node, name) ? { [name]: ints([1, ...(intsAttribute(node, name) ?? [])]) } : {});
  return { ...Object.fromEntries(node.attributes), ...given('kernel_shape'), ...given('strides'), ...given('dilations'), ...(hasAttribute(node, 'pads') ? { pads: ints([0, first ?? 0, 0, last ?? 0]) } : {}) };
}

/** The function that alone reads a value, and takes nothing else but single numbers. */
function functionOf(editor: Rewriter, value: string): Node | undefined {
  const next = editor.soleConsumer(value);
  const plain = next !== undefined && functions.has(next.op) && next.inputs[0] === value && next.outputs.length === 1;
  return plain && next.inputs.slice(1).every((input) => input === '' || editor.constant(input)?.data.length === 1) ? next : undefined;
}

/**
 * Convolutions over one axis (sound, sensors) become convolutions over two, the first of which is 1, and so do the functions behind them:
 * kernels for 8 bits, here and elsewhere, are those of pictures.
 * @param graph operator set 13 or later (axes as operands)
 */
export function widenConvolutions(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  /** Values over two axes by what they are over one. */
  const wide = new Map<string, string>();
  for (const node of graph.nodes) {
    const weights = node.op === 'Conv' ? editor.constant(node.inputs[1]) : undefined;
    if (weights?.dtype !== 'float32' || weights.dims.length !== 3) continue;
    const axes = editor.addConstant(`${node.name}.axes`, int64s([2]));
    const [outputs = 1, inputs = 1, kernel = 1] = weights.dims;
    const x = wide.get(operand(node, 0)) ?? editor.emit({ name: `${node.name}.wide`, op: 'Unsqueeze', inputs: [operand(node, 0), axes] });
    const w = editor.addConstant(`${operand(node, 1)}.wide`, { ...weights, dims: [outputs, inputs, 1, kernel] });
    let output = outputOf(node);
    editor.remove(node);
    let value = editor.emit({ name: node.name, op: 'Conv', inputs: [x, w, ...node.inputs.slice(2)], attributes: widened(node) });
    for (let next = functionOf(editor, output); next !== undefined; next = functionOf(editor, output)) {
      editor.remove(next);
      value = editor.emit({ name: next.name, op: next.op, inputs: [value, ...next.inputs.slice(1)], attributes: Object.fromEntries(next.attributes) });
      output = outputOf(next);
    }
    wide.set(output, value);
    editor.emitTo(output, { name: `${node.name}.narrow`, op: 'Squeeze', inputs: [value, axes] });
  }
  return editor.finish();
}
