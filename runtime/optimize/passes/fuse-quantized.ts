import { float, int, requiredInt, type Attribute } from '../../graph/attributes.js';
import type { Graph, Node } from '../../graph/graph.js';
import { outputOf, withOperand } from '../../graph/operands.js';
import { sameShape } from '../../graph/tensor-value.js';
import { convQ8Operands } from '../../ops/quantized.js';
import { rangeOf } from '../../ops/quantization.js';
import { binaryQ8, convQ8, lutQ8 } from '../../ops/views.js';
import { explain } from '../../graph/explain.js';
import { Rewriter } from '../rewriter.js';

function absorb(editor: Rewriter, conv: Node, reader: Node, inputs: readonly string[], changes: Record<string, Attribute>): boolean {
  editor.remove(reader);
  editor.replace(conv, { name: reader.name, inputs, outputs: reader.outputs, attributes: new Map([...conv.attributes, ...Object.entries(changes)]) });
  return true;
}

/** The table that follows a convolution, when it is one table for all channels in the convolution's own type. */
function fuseTable(editor: Rewriter, conv: Node, reader: Node): boolean {
  const own = convQ8(conv);
  if (reader.op !== 'LutQ8' || own.residual !== undefined || own.table !== undefined) return false;
  const { table } = lutQ8(reader);
  const { dtype, shape } = editor.type(table);
  if (shape[0] !== 256 || dtype !== editor.type(own.output).dtype) {
    explain('fuse-quantized', conv, () => `LutQ8 '${reader.name}' has a table for each channel, or changes the type`);
    return false;
  }
  return absorb(editor, conv, reader, withOperand(conv.inputs, convQ8Operands.table, table), {});
}

/** The addition of two quantized tensors, one of which this convolution makes, in the convolution's epilogue. */
function fuseResidual(editor: Rewriter, conv: Node, reader: Node): boolean {
  const { output, residual, table } = convQ8(conv);
  if (reader.op !== 'BinaryQ8' || residual !== undefined || table !== undefined) return false;
  const sum = binaryQ8(reader);
  if (sum.kind !== 'add') return false;
  const first = sum.a === output;
  const other = first ? sum.b : sum.a;
  if (other === output || editor.constant(other) !== undefined || !sameShape(editor.type(other).shape, editor.type(output).shape)) {
    explain('fuse-quantized', conv, () => `what BinaryQ8 '${reader.name}' adds is a constant, or does not have the shape of the convolution's output`);
    return false;
  }
  const { aZp, bZp, aMul, bMul, yZp, yLo, yHi } = sum.arithmetic;
  const y = editor.type(sum.output).dtype;
  // The convolution's own result takes the type of the sum: the same number, 128 steps away.
  const shift = rangeOf(y)[0] - rangeOf(editor.type(output).dtype)[0];
  const moved = (name: string) => int(requiredInt(conv, name) + shift);
  return absorb(editor, conv, reader, withOperand(conv.inputs, convQ8Operands.residual, other), {
    y_type: { type: 'string', value: y },
    mid_zp: moved('mid_zp'), mid_lo: moved('mid_lo'), mid_hi: moved('mid_hi'),
    mid_mul: float(first ? aMul : bMul),
    res_zp: int(first ? bZp : aZp),
    res_mul: float(first ? bMul : aMul),
    y_zp: int(yZp), y_lo: int(yLo), y_hi: int(yHi),
  });
}

/** Lets quantized convolutions do the table lookup or the residual addition that follows; the results stay bit for bit. */
export function fuseQuantized(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const start of [...graph.nodes].reverse()) {
    const conv = start.op === 'ConvQ8' ? editor.producer(start.outputs[0]) : undefined;
    const reader = conv === undefined ? undefined : editor.soleConsumer(outputOf(conv));
    if (conv?.op !== 'ConvQ8') continue;
    if (reader === undefined) explain('fuse-quantized', conv, 'its output is an output of the model, or does not have exactly one reader');
    else if (!fuseTable(editor, conv, reader) && !fuseResidual(editor, conv, reader)) explain('fuse-quantized', conv, () => `it cannot compute the ${reader.op} '${reader.name}' that reads it`);
  }
  return editor.finish();
}
