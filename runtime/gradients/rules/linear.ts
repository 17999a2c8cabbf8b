import { gemmOf } from '../../ops/linear.js';
import { optionalOperand } from '../../graph/operands.js';
import { elementCount } from '../../graph/tensor-value.js';
import { rules, type Calculus, type GradientTable, type Rule } from '../rule.js';

/** The last two axes exchanged. */
function flipped(m: Calculus, x: string): string {
  const rank = m.shape(x).length;
  return m.transpose(x, Array.from({ length: rank }, (_, i) => (i < rank - 2 ? i : 2 * rank - 3 - i)));
}

/** Vectors count as a row on the left and as a column on the right. */
const matMul: Rule = (step) => {
  const { m, dy } = step;
  const [left, right] = [step.shape(0), step.shape(1)];
  const a = m.reshape(step.x(0), left.length === 1 ? [1, ...left] : left);
  const b = m.reshape(step.x(1), right.length === 1 ? [...right, 1] : right);
  const shape = m.shape(dy);
  const batch = shape.slice(0, shape.length - (left.length === 1 ? 0 : 1) - (right.length === 1 ? 0 : 1));
  const [rows = 1, depth = 1, columns = 1] = [m.shape(a).at(-2), m.shape(a).at(-1), m.shape(b).at(-1)];
  const dOut = m.reshape(dy, [...batch, rows, columns]);
  const shared = m.shape(b).length === 2 && batch.length > 0;
  const all = rows * elementCount(batch);
  return [
    () => m.reshape(m.unbroadcast(m.op('MatMul', dOut, flipped(m, b)), m.shape(a)), left),
    () => {
      // One product instead of one for each matrix of the batch, and a sum of them.
      if (shared) return m.reshape(m.op('MatMul', m.transpose(m.reshape(a, [all, depth]), [1, 0]), m.reshape(dOut, [all, columns])), right);
      return m.reshape(m.unbroadcast(m.op('MatMul', flipped(m, a), dOut), m.shape(b)), right);
    },
  ];
};

const gemm: Rule = (step) => {
  const { m, node, dy } = step;
  const { transA, transB, alpha, beta } = gemmOf(node);
  const product = (a: string, b: string, left: boolean, right: boolean): string => m.b.emit('Gemm', [a, b], {
    alpha: { type: 'float', value: alpha }, transA: { type: 'int', value: left ? 1 : 0 }, transB: { type: 'int', value: right ? 1 : 0 },
  });
  const c = optionalOperand(node, 2);
  return [
    () => (transA ? product(step.x(1), dy, transB, true) : product(dy, step.x(1), false, !transB)),
    () => (transB ? product(dy, step.x(0), true, transA) : product(step.x(0), dy, !transA, false)),
    c === undefined ? undefined : () => m.scale(m.unbroadcast(dy, m.shape(c)), beta),
  ];
};

export const linearGradients: GradientTable = rules({ MatMul: matMul, Gemm: gemm });
