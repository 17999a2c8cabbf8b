import type { Graph, Node } from '../../graph/graph.js';
import { operand, optionalOperand, outputOf } from '../../graph/operands.js';
import { explain } from '../../graph/explain.js';
import { elementCount, float32s, isByte, reshaped, scalar, toNumbers, type TensorValue } from '../../graph/tensor-value.js';
import { operandsBy, scaledBy } from '../operands.js';
import { Rewriter } from '../rewriter.js';

const pass = 'recognize-scaled-products';

/** The numbers of a constant that is one number, or one for each column; undefined for any other value. */
function columnsOf(editor: Rewriter, value: string | undefined, columns: number): TensorValue | undefined {
  const constant = editor.constant(value);
  if (constant?.dtype !== 'float32') return undefined;
  if (constant.data.length === 1) return scalar('float32', Number(constant.data[0]));
  return constant.data.length === columns && constant.dims.at(-1) === columns ? reshaped(constant, [columns]) : undefined;
}

interface Factor {
  /** One number that a run computes; undefined: 1. */
  readonly live: string | undefined;
  readonly constant: TensorValue;
}

/** A factor of the columns: constants, a number that a run computes, or the product of both. */
function factorOf(editor: Rewriter, value: string, columns: number): Factor | undefined {
  const constant = columnsOf(editor, value, columns);
  if (constant !== undefined) return { live: undefined, constant };
  const one = (name: string): boolean => elementCount(editor.type(name).shape) === 1 && editor.type(name).dtype === 'float32';
  const node = editor.producer(value);
  if (node?.op === 'Mul') {
    const [scale, live] = operandsBy(node, (input) => columnsOf(editor, input, columns) !== undefined) ?? ['', ''];
    const numbers = columnsOf(editor, scale, columns);
    if (numbers !== undefined && one(live)) return { live, constant: numbers };
  }
  const scaled = node?.op === 'Unary' ? scaledBy(editor, node) : undefined;
  if (scaled !== undefined && one(scaled.x)) return { live: scaled.x, constant: scalar('float32', scaled.factor) };
  return one(value) ? { live: value, constant: scalar('float32', 1) } : undefined;
}

/** What reads the sums as floats, times a factor. */
function scaling(editor: Rewriter, node: Node, columns: number): { last: Node; factor: Factor } | undefined {
  const cast = editor.soleConsumer(outputOf(node));
  if (cast?.op !== 'Cast' || editor.type(outputOf(cast)).dtype !== 'float32') return undefined;
  const mul = editor.soleConsumer(outputOf(cast));
  if (mul?.op !== 'Mul') return undefined;
  const factor = factorOf(editor, operand(mul, mul.inputs[0] === outputOf(cast) ? 1 : 0), columns);
  const same = editor.type(outputOf(mul)).shape.join() === editor.type(outputOf(node)).shape.join();
  return factor === undefined || !same ? undefined : { last: mul, factor };
}

function replaceProduct(editor: Rewriter, node: Node): void {
  const [a, b, aZero, bZero] = [operand(node, 0), operand(node, 1), optionalOperand(node, 2), optionalOperand(node, 3)];
  const weights = editor.constant(b);
  if (weights?.dims.length !== 2 || editor.constant(bZero) === undefined) return explain(pass, node, 'its weights are not a constant matrix with constant zero-points');
  if (!isByte(editor.type(a).dtype) || aZero === undefined || bZero === undefined) return explain(pass, node, 'it does not multiply bytes');
  const columns = weights.dims[1] ?? 1;
  const scaled = scaling(editor, node, columns);
  if (scaled === undefined) return explain(pass, node, 'its sums are not read as floats times a factor of the columns alone');
  const { factor } = scaled;
  const add = editor.soleConsumer(outputOf(scaled.last));
  const [bias = ''] = add?.op === 'Add' ? (operandsBy(add, (input) => columnsOf(editor, input, columns) !== undefined) ?? []) : [];
  const numbers = columnsOf(editor, bias, columns);
  const fits = numbers !== undefined && add !== undefined && editor.type(outputOf(add)).shape.join() === editor.type(outputOf(node)).shape.join();
  const constant = (name: string, value: TensorValue): string => editor.addConstant(`${node.name}.${name}`, value);
  const row = (value: TensorValue): TensorValue => (value.data.length === columns && value.dims.length === 1 ? value : float32s(new Float64Array(columns).fill(Number(toNumbers(value)[0]))));
  editor.replace(fits ? add : scaled.last, {
    op: 'ScaledProduct', attributes: {},
    inputs: [a, b, factor.live ?? constant('a_scale', scalar('float32', 1)), aZero, bZero, constant('scale', factor.constant), ...(fits ? [constant('bias', row(numbers))] : [])],
  });
}

/**
 * Recognizes layers that quantize their activations by the data of each run, as onnxruntime's `quantize_dynamic` writes them: the integer product of bytes by constant
 * weights, as floats times the scales of both, and a bias for each column.
 */
export function recognizeScaledProducts(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const node of graph.nodes) if (node.op === 'MatMulS32' && editor.has(node)) replaceProduct(editor, node);
  return editor.finish();
}
