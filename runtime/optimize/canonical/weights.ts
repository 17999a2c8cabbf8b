import { int, intAttribute, notConstant } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { operand } from '../../graph/operands.js';
import { keepsOrder } from '../../graph/permutation.js';
import { reshaped, type Shape, type TensorValue } from '../../graph/tensor-value.js';
import { transposeValue } from '../../ops/movement.js';
import { normalizeAxis } from '../../ops/op.js';
import { dequantizedValue } from '../../ops/quantization.js';
import type { Rewriter } from '../rewriter.js';

export interface WeightLayout {
  /** Shape to see the stored weights under, before they are permuted. */
  readonly view?: Shape;
  readonly perm: readonly number[];
  /** Shape after it. */
  readonly shape: Shape;
  /** Axis of the stored weights that runs over output channels; it ends up as axis 0. */
  readonly outputAxis: number;
}

/** 1x1 and depthwise weights only move axes of one element: most of a network keeps the elements as they are. */
function relaid(value: TensorValue, { view = value.dims, perm, shape }: WeightLayout): TensorValue {
  return reshaped(keepsOrder(perm, view) ? value : transposeValue(reshaped(value, view), perm), shape);
}

/**
 * Stores weights in another order. They are a constant, or a constant that is dequantized: then the DequantizeLinear is
 * made anew, with its channel axis where the output channels are now, or floats where its scales run over something else.
 * @throws RuntimeError E_MODEL_OP: the weights are computed while the model runs
 */
export function relayWeights(editor: Rewriter, node: Node, index: number, layout: WeightLayout): string {
  const name = operand(node, index);
  const constant = editor.constant(name);
  if (constant !== undefined) return editor.addConstant(`${name}.ohwi`, relaid(constant, layout));
  const dequantize = editor.producer(name);
  const stored = editor.constant(dequantize?.inputs[0]);
  const scales = editor.constant(dequantize?.inputs[1]);
  if (dequantize?.op !== 'DequantizeLinear' || stored === undefined || scales === undefined) {
    throw notConstant(node, index, 'weights');
  }
  const perTensor = scales.data.length === 1;
  const axis = perTensor ? 0 : normalizeAxis(dequantize, intAttribute(dequantize, 'axis', 1), stored.dims.length);
  if (!perTensor && (axis !== layout.outputAxis || intAttribute(dequantize, 'block_size', 0) !== 0)) {
    // No integer kernel has scales that change within an output channel.
    return editor.addConstant(`${name}.ohwi`, relaid(dequantizedValue(dequantize, stored, scales, editor.constant(dequantize.inputs[2])), layout));
  }
  const relaidName = editor.addConstant(`${dequantize.inputs[0]}.ohwi`, relaid(stored, layout));
  return editor.emit({
    name: dequantize.name,
    op: 'DequantizeLinear',
    inputs: [relaidName, ...dequantize.inputs.slice(1)],
    attributes: { axis: int(0) },
  });
}
