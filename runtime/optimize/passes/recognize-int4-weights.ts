import { int } from '../../graph/attributes.js';
import type { Graph, Node } from '../../graph/graph.js';
import { optionalOperand } from '../../graph/operands.js';
import { elementCount, fromNumbers, mapNumbers, reshaped, toNumbers, type TensorValue } from '../../graph/tensor-value.js';
import { transposeValue } from '../../ops/movement.js';
import { gemmOf } from '../../ops/linear.js';
import { quantizationOf } from '../../ops/quantization.js';
import { pair } from '../../ops/views.js';
import { explain } from '../../graph/explain.js';
import { Rewriter } from '../rewriter.js';

/** Rows up to which reading half a byte a weight is worth unpacking it (kernels/DECISIONS.md): with more the float product is as fast. */
const mostRows = 4;

/** Groups of the engine's kernels are multiples of this. */
const groupStep = 32;

/** Whether binary16 holds a number exactly: 11 significant bits, exponents -14 to 15 (IEEE 754). */
export function isHalf(x: number): boolean {
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(x))), -14);
  return Math.abs(x) <= 65504 && Number.isInteger(x / 2 ** (exponent - 10));
}

interface GroupedWeights {
  /** int8 in [-8, 7], [N, K]. */
  readonly codes: TensorValue;
  /** float32, [N, K / group]. */
  readonly scales: TensorValue;
  readonly group: number;
}

/** Constant codes of 4 bits with a scale for every `group` along K, as the engine takes them; `depthAxis`: which axis of the stored tensor is K. */
function groupedWeights(editor: Rewriter, value: string, depthAxis: 0 | 1): GroupedWeights | undefined {
  const node = editor.producer(value);
  const [stored, scale, zero] = [0, 1, 2].map((index) => editor.constant(node?.inputs[index]));
  if (node?.op !== 'DequantizeLinear' || stored?.dims.length !== 2 || scale?.dims.length !== 2) return undefined;
  const { axis, blocks, zeroPoints } = quantizationOf(node, 2, scale, zero, stored.dtype);
  const [depth, group] = [stored.dims[depthAxis] ?? 0, blocks?.size ?? 0];
  const fits = axis === depthAxis && group >= groupStep && group % groupStep === 0 && depth % group === 0 && scale.dims[depthAxis] === depth / group;
  const numbers = toNumbers(stored);
  if (!fits || zeroPoints.some((z) => z !== 0) || !numbers.every((w) => w >= -8 && w <= 7) || !toNumbers(scale).every(isHalf)) return undefined;
  const byOutput = (tensor: TensorValue): TensorValue => (depthAxis === 1 ? tensor : transposeValue(tensor, [1, 0]));
  return { codes: byOutput(fromNumbers('int8', stored.dims, mapNumbers(numbers, (w) => w))), scales: byOutput(scale), group };
}

/** The bias of a Gemm when it is one constant number for each output; undefined: there is none. */
function gemmBias(editor: Rewriter, node: Node, outputs: number): TensorValue | undefined | 'other' {
  const name = optionalOperand(node, 2);
  if (name === undefined) return undefined;
  const value = editor.constant(name);
  return value?.data.length === outputs && value.dims.at(-1) === outputs ? reshaped(value, [outputs]) : 'other';
}

function replaceProduct(editor: Rewriter, node: Node): void {
  const gemm = node.op === 'Gemm' ? gemmOf(node) : undefined;
  if (gemm !== undefined && (gemm.transA || gemm.alpha !== 1 || gemm.beta !== 1)) return explain('recognize-int4-weights', node, 'it transposes A, or alpha or beta is not 1');
  const { a, b } = pair(node);
  const { shape } = editor.type(a);
  if (elementCount(shape.slice(0, -1)) > mostRows) return explain('recognize-int4-weights', node, () => `it has more than ${mostRows} rows`);
  const weights = groupedWeights(editor, b, gemm?.transB === true ? 1 : 0);
  if (weights === undefined) return explain('recognize-int4-weights', node, () => `its weights are not constant codes of 4 bits without zero-points, with a scale that binary16 holds for every ${groupStep} (or a multiple) along the depth`);
  const bias = gemm === undefined ? undefined : gemmBias(editor, node, weights.codes.dims[0] ?? 0);
  if (bias === 'other') return explain('recognize-int4-weights', node, 'its bias is not one constant number for each output');
  const inputs = [a, editor.addConstant(`${b}.codes`, weights.codes), editor.addConstant(`${b}.scales`, weights.scales), ...(bias === undefined ? [] : [editor.addConstant(`${node.name}.bias`, bias)])];
  editor.substitute(node, { op: 'MatMulW4', inputs, attributes: { group: int(weights.group) } });
}

/**
 * Recognizes weight-only quantization of fully connected layers: a float product by constant int4 codes in groups along the depth that share a scale of 16 bits. The weights
 * stay codes, which is what a layer of one row waits for memory for. More rows, zero-points, other groups and scales of 32 bits make float
 * weights of them, as elsewhere.
 */
export function recognizeInt4Weights(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const node of graph.nodes) if (node.op === 'MatMul' || node.op === 'Gemm') replaceProduct(editor, node);
  return editor.finish();
}
