import { intAttribute, misshapen, unsupported } from '../../graph/attributes.js';
import type { Graph, Node } from '../../graph/graph.js';
import { elementCount, fromNumbers, reshaped, toNumbers, type Shape } from '../../graph/tensor-value.js';
import { unaryAttribute, viewAttributes } from '../../ops/core.js';
import { normalizeAxis } from '../../ops/op.js';
import { rangeOf } from '../../ops/quantization.js';
import type { UnaryKind } from '../../ops/unary-functions.js';
import { quantization } from '../../ops/views.js';
import { castTo } from '../canonical/whole.js';
import { tensorQuantization } from '../quantized/parameters.js';
import { Rewriter } from '../rewriter.js';

/** The shape in which scales or zero-points broadcast against [shape]: one for all, or one for each index of the node's axis. */
function parameterShape(node: Node, shape: Shape, count: number): number[] {
  if (count === 1) return [];
  const axis = normalizeAxis(node, intAttribute(node, 'axis', 1), shape.length);
  if (shape[axis] !== count) throw misshapen(node, `${count} scales or zero-points for axis ${axis} of [${shape.join(', ')}]`);
  return shape.map((_, i) => (i === axis ? count : 1));
}

/** Scales or zero-points as floats that broadcast. */
function parameter(editor: Rewriter, node: Node, value: string, shape: Shape): string {
  const dims = parameterShape(node, shape, elementCount(editor.type(value).shape));
  const constant = editor.constant(value);
  if (constant !== undefined) return editor.addConstant(value, reshaped(fromNumbers('float32', constant.dims, toNumbers(constant)), dims));
  return editor.emit({ name: node.name, op: 'View', inputs: [castTo(editor, node, value, 'float32')], attributes: viewAttributes(dims) });
}

const unary = (editor: Rewriter, node: Node, kind: UnaryKind, x: string, [alpha, beta]: readonly [number, number] = [0, 0]): string =>
  editor.emit({ name: node.name, op: 'Unary', inputs: [x], attributes: unaryAttribute({ kind, alpha, beta }) });

function decompose(editor: Rewriter, node: Node): void {
  const { x, scale: scaleName, zeroPoint: zeroName, output, blockSize } = quantization(node);
  if (blockSize !== 0) throw unsupported(node, 'blocked quantization', 'block_size');
  const { shape } = editor.type(x);
  const { dtype } = editor.type(output);
  const scale = parameter(editor, node, scaleName, shape);
  const zero = zeroName === undefined ? undefined : parameter(editor, node, zeroName, shape);
  const combine = (op: 'Add' | 'Sub' | 'Mul' | 'Div', a: string, b: string): string => editor.emit({ name: node.name, op, inputs: [a, b] });
  if (node.op === 'DequantizeLinear') {
    const whole = castTo(editor, node, x, 'float32');
    editor.substitute(node, { op: 'Mul', inputs: [zero === undefined ? whole : combine('Sub', whole, zero), scale] });
    return;
  }
  const steps = unary(editor, node, 'round', combine('Div', x, scale));
  const clamped = unary(editor, node, 'clip', zero === undefined ? steps : combine('Add', steps, zero), rangeOf(dtype));
  const bytes = castTo(editor, node, clamped, dtype);
  editor.substitute(node, { op: 'View', inputs: [bytes], attributes: viewAttributes(shape) });
}

/**
 * QuantizeLinear and DequantizeLinear that the engine has no op for (a scale for each channel of the data, parameters that are known only
 * when the model runs, 32-bit numbers) as arithmetic of floats, in the order of their definition: the numbers are the same.
 */
export function decomposeQuantization(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const node of graph.nodes) {
    if ((node.op === 'QuantizeLinear' || node.op === 'DequantizeLinear') && tensorQuantization(editor, node) === undefined) decompose(editor, node);
  }
  return editor.finish();
}
