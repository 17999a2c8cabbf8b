import { unsupported } from '../../graph/attributes.js';
import type { Graph, Node } from '../../graph/graph.js';
import { outputOf } from '../../graph/operands.js';
import { fromNumbers, scalar, subByteBits, toNumbers, type DType } from '../../graph/tensor-value.js';
import { quantizationOf, rangeOf } from '../../ops/quantization.js';
import { quantization } from '../../ops/views.js';
import { Rewriter } from '../rewriter.js';

/** The byte type that holds a type of 4 or 2 bits. */
const widened = (dtype: DType): DType => (dtype === 'int4' || dtype === 'int2' ? 'int8' : 'uint8');

/** The constant `name` in its byte type; the name itself when it is of a byte type already. */
function widenConstant(editor: Rewriter, name: string): string {
  const value = editor.constant(name);
  if (value === undefined || subByteBits(value.dtype) === 8) return name;
  return editor.addConstant(`${name}.bytes`, fromNumbers(widened(value.dtype), value.dims, toNumbers(value)));
}

/** A QuantizeLinear to 4 or 2 bits: a clip to the narrow type's range, then a QuantizeLinear to bytes. */
function widenQuantize(editor: Rewriter, node: Node): void {
  const { x, scale: scaleName, zeroPoint: zeroName, output } = quantization(node);
  const [scale, zeroPoint] = [editor.constant(scaleName), editor.constant(zeroName)];
  if (scale?.data.length !== 1 || zeroName === undefined || zeroPoint === undefined) {
    throw unsupported(node, `data of type ${editor.type(output).dtype} with a scale that is not one constant number`, 'zero_point');
  }
  const { scales, zeroPoints } = quantizationOf(node, 1, scale, zeroPoint, zeroPoint.dtype);
  const bounds = rangeOf(zeroPoint.dtype).map((code) => (code - (zeroPoints[0] ?? 0)) * (scales[0] ?? 1));
  const limits = bounds.map((bound, i) => editor.addConstant(`${node.name}.bound${i}`, scalar('float32', bound)));
  const clipped = editor.emit({ name: node.name, op: 'Clip', inputs: [x, ...limits] });
  const attributes = new Map(node.attributes);
  attributes.delete('output_dtype');
  editor.replace(node, { inputs: [clipped, scaleName, widenConstant(editor, zeroName)], attributes });
  editor.setType(output, { dtype: widened(zeroPoint.dtype), shape: editor.type(output).shape });
}

/**
 * Codes of 4 and 2 bits as bytes: constants are stored as bytes, and what is quantized to fewer bits while the model runs is clipped to their
 * range first. How narrow codes are is found again where it matters, from the clips and the weights themselves.
 * @throws RuntimeError E_MODEL_OP: data of such a type with a scale for each channel, or one that is computed
 */
export function widenQuantizedTypes(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const node of graph.nodes) {
    const narrow = node.op === 'QuantizeLinear' && subByteBits(editor.type(outputOf(node)).dtype) < 8;
    if (narrow && !editor.isOutput(outputOf(node))) widenQuantize(editor, node);
    if (node.op !== 'DequantizeLinear') continue;
    const inputs = node.inputs.map((name) => widenConstant(editor, name));
    if (inputs.some((name, i) => name !== node.inputs[i])) editor.replace(node, { inputs });
  }
  return editor.finish();
}
