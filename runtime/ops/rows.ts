import { float, floatAttribute, ints, misshapen, requiredInts, type AttributeRecord } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { inverse, type Permutation } from '../graph/permutation.js';
import { float32s, reshaped, type Shape } from '../graph/tensor-value.js';
import { zip } from './binary.js';
import { alongPixels } from './cell-flow.js';
import { multiply } from './linear.js';
import { transposeValue } from './movement.js';
import { softmaxValue } from './normalization.js';
import { inputType, inputValue, type OperatorRecord, type OpTable } from './op.js';
import { needsAlong } from './regions.js';
import { scaledAndShifted, standardized } from './standardization.js';

// Core operators of whole rows, which passes recognize: each is one pass over memory where the operators that it stands for are many.

/** x, scale [C]?, bias [C]?: layer normalization over the last axis. */
const lastAxis = (shape: Shape): number => Math.max(0, shape.length - 1);

const normalizeRows: OperatorRecord = {
  linear: true, pixels: 'any', format: 'float32',
  needs: (context, region) => needsAlong(() => [lastAxis(context.output)])(context, region),
  cells: (node, context) => alongPixels(() => [lastAxis(context.shape(node.outputs[0] ?? ''))])(node, context),
  infer: (context) => [inputType(context, 0)],
  evaluate(context) {
    const x = inputValue(context, 0);
    const normal = standardized(x, [lastAxis(x.dims)], floatAttribute(context.node, 'epsilon', 1e-5));
    return [scaledAndShifted(normal, context.inputs[1] ?? float32s([1]), context.inputs[2])];
  },
};

export interface Orders {
  readonly q: Permutation;
  readonly k: Permutation;
  readonly v: Permutation;
  readonly y: Permutation;
}

/** Axis i of q [.., M, D], k [.., N, D], v [.., N, E] and y [.., M, E] is axis order[i] of the value. */
export const attentionAttributes = (scale: number, { q, k, v, y }: Orders): AttributeRecord => ({
  scale: float(scale), q_perm: ints(q), k_perm: ints(k), v_perm: ints(v), y_perm: ints(y),
});
export const attentionOrders = (node: Node): Orders => ({
  q: requiredInts(node, 'q_perm'), k: requiredInts(node, 'k_perm'), v: requiredInts(node, 'v_perm'), y: requiredInts(node, 'y_perm'),
});
export const attentionScale = (node: Node): number => floatAttribute(node, 'scale', 1);

const ordered = (shape: Shape, order: Permutation): number[] => order.map((axis) => shape[axis] ?? 1);

/** y = softmax(scale * q k^T + mask) v */
const fusedAttention: OperatorRecord = {
  format: 'float32',
  infer(context) {
    const orders = attentionOrders(context.node);
    const [q, k, v] = [ordered(inputType(context, 0).shape, orders.q), ordered(inputType(context, 1).shape, orders.k), ordered(inputType(context, 2).shape, orders.v)];
    if (q.at(-1) !== k.at(-1) || k.at(-2) !== v.at(-2)) throw misshapen(context.node, `[${q.join(', ')}], [${k.join(', ')}] and [${v.join(', ')}] do not multiply`);
    return [{ dtype: 'float32', shape: ordered([...q.slice(0, -1), v.at(-1) ?? 1], inverse(orders.y)) }];
  },
  evaluate(context) {
    const orders = attentionOrders(context.node);
    const turned = [...orders.k.slice(0, -2), ...orders.k.slice(-2).reverse()];
    const [q, k, v] = [transposeValue(inputValue(context, 0), orders.q), transposeValue(inputValue(context, 1), turned), transposeValue(inputValue(context, 2), orders.v)];
    const batch = q.dims.slice(0, -2);
    const [rows, columns] = [q.dims.at(-2) ?? 1, k.dims.at(-1) ?? 1];
    const scale = attentionScale(context.node);
    const scores = reshaped(float32s(Array.from(multiply(q, k, batch), (score) => scale * score)), [...batch, rows, columns]);
    const mask = context.inputs[3];
    const masked = mask === undefined ? scores : zip(scores, mask, { dtype: 'float32', shape: scores.dims }, (a, b) => a + b);
    const shares = softmaxValue(masked, { size: columns, inner: 1 }, 'soft');
    return [transposeValue(reshaped(float32s(Array.from(multiply(shares, v, batch))), [...batch, rows, v.dims.at(-1) ?? 1]), inverse(orders.y))];
  },
};

export const rowOps: OpTable = { NormalizeRows: normalizeRows, FusedAttention: fusedAttention };
