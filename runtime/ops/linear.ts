import { floatAttribute, intAttribute, misshapen } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { elementCount, fromNumbers, reshaped, toNumbers, type Shape, type TensorValue } from '../graph/tensor-value.js';
import { broadcastOffsets } from './indexing.js';
import { transposeValue } from './movement.js';
import { broadcast, expectType, inputType, inputValue, outputType, type OperatorRecord, type OpTable } from './op.js';
import { broadcastRegion, wholeRegion, wholeSpan, type Needs } from './regions.js';

/** Shape of a product of stacks of matrices, as numpy's matmul. */
export function matMulShape(node: Node, a: Shape, b: Shape): number[] {
  if (a.length === 0 || b.length === 0) throw misshapen(node, 'an operand is a scalar');
  const left = a.length === 1 ? [1, ...a] : a;
  const right = b.length === 1 ? [...b, 1] : b;
  const depth = left.at(-1);
  if (depth !== right.at(-2)) throw misshapen(node, `[${a.join(', ')}] and [${b.join(', ')}] do not multiply`);
  const batch = broadcast(node, left.slice(0, -2), right.slice(0, -2));
  return [...batch, ...(a.length === 1 ? [] : [left.at(-2) ?? 1]), ...(b.length === 1 ? [] : [right.at(-1) ?? 1])];
}

/** Product of [.., M, K] and [.., K, N] in double precision, batch axes broadcast. */
export function multiply(a: TensorValue, b: TensorValue, batch: Shape): Float64Array {
  const [rows, depth, columns] = [a.dims.at(-2) ?? 1, a.dims.at(-1) ?? 1, b.dims.at(-1) ?? 1];
  const [left, right] = [toNumbers(a), toNumbers(b)];
  const leftAt = broadcastOffsets(a.dims.slice(0, -2), batch);
  const rightAt = broadcastOffsets(b.dims.slice(0, -2), batch);
  const out = new Float64Array(elementCount(batch) * rows * columns);
  let at = 0;
  leftAt.forEach((l, i) => {
    for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) {
      let sum = 0;
      for (let k = 0; k < depth; k++) sum += (left[(l * rows + r) * depth + k] ?? 0) * (right[((rightAt[i] ?? 0) * depth + k) * columns + c] ?? 0);
      out[at++] = sum;
    }
  });
  return out;
}

const matrix = (value: TensorValue, column: boolean): TensorValue =>
  value.dims.length > 1 ? value : reshaped(value, column ? [value.dims[0] ?? 1, 1] : [1, value.dims[0] ?? 1]);

/** Rows of the first, columns of the second, of both the batch; further operands as a whole. Of MatMul and MatMulS32. */
export const needsProduct: Needs = ({ inputs, output }, region) => inputs.map((shape, i) => {
  if (shape === undefined || i > 1) return shape === undefined ? undefined : wholeRegion(shape);
  const [a = [], b = []] = inputs;
  const ends = (a.length > 1 ? 1 : 0) + (b.length > 1 ? 1 : 0); // axes of the output behind the batch
  const batch = broadcastRegion(shape.slice(0, -2), region.slice(0, output.length - ends));
  if (shape.length < 2) return wholeRegion(shape);
  const [rows, columns] = shape.slice(-2).map(wholeSpan);
  if (rows === undefined || columns === undefined) return wholeRegion(shape);
  if (i === 0) return [...batch, region[output.length - ends] ?? rows, columns];
  return [...batch, rows, region.at(-1) ?? columns];
});

const matMul: OperatorRecord = {
  needs: needsProduct, pixels: 'any', format: 'float32',
  infer(context) {
    const a = expectType(context, 0, ['float32']);
    return [{ dtype: a.dtype, shape: matMulShape(context.node, a.shape, inputType(context, 1).shape) }];
  },
  evaluate(context) {
    const a = matrix(inputValue(context, 0), false);
    const b = matrix(inputValue(context, 1), true);
    const batch = broadcast(context.node, a.dims.slice(0, -2), b.dims.slice(0, -2));
    return [fromNumbers('float32', outputType(context).shape, multiply(a, b, batch))];
  },
};

/** Whether the operands of a Gemm are transposed, and its factors. */
export function gemmOf(node: Node): { transA: boolean; transB: boolean; alpha: number; beta: number } {
  return {
    transA: intAttribute(node, 'transA', 0) !== 0,
    transB: intAttribute(node, 'transB', 0) !== 0,
    alpha: floatAttribute(node, 'alpha', 1),
    beta: floatAttribute(node, 'beta', 1),
  };
}

const gemm: OperatorRecord = {
  infer(context) {
    const a = expectType(context, 0, ['float32']);
    const b = inputType(context, 1);
    const { transA, transB } = gemmOf(context.node);
    if (a.shape.length !== 2 || b.shape.length !== 2) throw misshapen(context.node, `operands of rank ${a.shape.length} and ${b.shape.length}`);
    const [left, right] = [transA ? [...a.shape].reverse() : a.shape, transB ? [...b.shape].reverse() : b.shape];
    const shape = matMulShape(context.node, left, right);
    if (context.inputs[2] !== undefined) broadcast(context.node, context.inputs[2].shape, shape);
    return [{ dtype: a.dtype, shape }];
  },
  evaluate(context) {
    const { transA, transB, alpha, beta } = gemmOf(context.node);
    const a = transA ? transposeValue(inputValue(context, 0), [1, 0]) : inputValue(context, 0);
    const b = transB ? transposeValue(inputValue(context, 1), [1, 0]) : inputValue(context, 1);
    const { shape } = outputType(context);
    const product = multiply(a, b, []);
    const c = context.inputs[2];
    const added = c === undefined ? undefined : toNumbers(c);
    const at = c === undefined ? undefined : broadcastOffsets(c.dims, shape);
    return [fromNumbers('float32', shape, product.map((sum, i) => alpha * sum + beta * (added?.[at?.[i] ?? 0] ?? 0)))];
  },
};

export const linearOps: OpTable = { MatMul: matMul, Gemm: gemm };
