import { float, floatAttribute, int, requiredInt, stringAttribute, type Attribute } from '../../graph/attributes.js';
import type { Graph, Node } from '../../graph/graph.js';
import { sameShape } from '../../graph/tensor-value.js';
import { convQ8Operands } from '../../ops/quantized.js';
import { rangeOf } from '../../ops/quantization.js';
import { Rewriter } from '../rewriter.js';

const present = (node: Node, operand: number): boolean => (node.inputs[operand] ?? '') !== '';

function withOperand(inputs: readonly string[], index: number, value: string): string[] {
  return Array.from({ length: Math.max(inputs.length, index + 1) }, (_, i) => (i === index ? value : (inputs[i] ?? '')));
}

function absorb(editor: Rewriter, conv: Node, reader: Node, inputs: readonly string[], changes: Record<string, Attribute>): boolean {
  editor.remove(reader);
  editor.replace(conv, { name: reader.name, inputs, outputs: reader.outputs, attributes: new Map([...conv.attributes, ...Object.entries(changes)]) });
  return true;
}

/** The table that follows a convolution, when it is one table for all channels in the convolution's own type. */
function fuseTable(editor: Rewriter, conv: Node, reader: Node): boolean {
  if (reader.op !== 'LutQ8' || present(conv, convQ8Operands.residual) || present(conv, convQ8Operands.table)) return false;
  const table = reader.inputs[1] ?? '';
  const { dtype, shape } = editor.type(table);
  if (shape[0] !== 256 || dtype !== editor.type(conv.outputs[0] ?? '').dtype) return false;
  return absorb(editor, conv, reader, withOperand(conv.inputs, convQ8Operands.table, table), {});
}

/** The addition of two quantized tensors, one of which this convolution makes, in the convolution's epilogue. */
function fuseResidual(editor: Rewriter, conv: Node, reader: Node): boolean {
  const output = conv.outputs[0] ?? '';
  const kind = stringAttribute(reader, 'kind', '');
  if (reader.op !== 'BinaryQ8' || kind !== 'add' || present(conv, convQ8Operands.residual) || present(conv, convQ8Operands.table)) return false;
  const first = reader.inputs[0] === output;
  const other = reader.inputs[first ? 1 : 0] ?? '';
  if (other === output || editor.constant(other) !== undefined || !sameShape(editor.type(other).shape, editor.type(output).shape)) return false;
  const [own, added] = first ? (['a', 'b'] as const) : (['b', 'a'] as const);
  const y = editor.type(reader.outputs[0] ?? '').dtype;
  // The convolution's own result takes the type of the sum: the same number, 128 steps away.
  const shift = rangeOf(y)[0] - rangeOf(editor.type(output).dtype)[0];
  const moved = (name: string) => int(requiredInt(conv, name) + shift);
  return absorb(editor, conv, reader, withOperand(conv.inputs, convQ8Operands.residual, other), {
    y_type: { type: 'string', value: y },
    mid_zp: moved('mid_zp'), mid_lo: moved('mid_lo'), mid_hi: moved('mid_hi'),
    mid_mul: float(floatAttribute(reader, `${own}_mul`, 1)),
    res_zp: int(requiredInt(reader, `${added}_zp`)),
    res_mul: float(floatAttribute(reader, `${added}_mul`, 1)),
    y_zp: int(requiredInt(reader, 'y_zp')), y_lo: int(requiredInt(reader, 'y_lo')), y_hi: int(requiredInt(reader, 'y_hi')),
  });
}

/** Lets quantized convolutions do the table lookup or the residual addition that follows; the results stay bit for bit. */
export function fuseQuantized(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const start of [...graph.nodes].reverse()) {
    const conv = start.op === 'ConvQ8' ? editor.producer(start.outputs[0]) : undefined;
    const reader = conv === undefined ? undefined : editor.soleConsumer(conv.outputs[0] ?? '');
    if (conv?.op !== 'ConvQ8' || reader === undefined) continue;
    if (!fuseTable(editor, conv, reader)) fuseResidual(editor, conv, reader);
  }
  return editor.finish();
}
