import type { Graph, Node } from '../../../runtime/graph/graph.js';
import { hasOperand, withOperand } from '../../../runtime/graph/operands.js';
import { float32s, fromNumbers, toNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { toRows } from '../../../runtime/quantize/observe/columns.js';
import { weightOperands } from '../../../runtime/quantize/prepare/plan.js';
import { dampingOf, dot, factorize } from '../../../runtime/quantize/round/gptq.js';
import type { ColumnMoments } from './columns.js';
import type { Dependencies } from './dependencies.js';

/** Solves H x = b in place, with R of H = R R'. */
function solve(r: Float64Array, n: number, b: Float64Array): void {
  for (let i = n - 1; i >= 0; i--) b[i] = ((b[i] ?? 0) - dot(r, i * n + i + 1, b, i + 1, n - i - 1)) / (r[i * n + i] ?? 1);
  for (let i = 0; i < n; i++) {
    let sum = b[i] ?? 0;
    for (let k = 0; k < i; k++) sum -= (r[k * n + i] ?? 0) * (b[k] ?? 0);
    b[i] = sum / (r[i * n + i] ?? 1);
  }
}

/** Rows of weights [outputs][depth] such that the columns that stay make up for those that go, by least squares; and what the bias gains. */
function adjusted(rows: Float32Array, { layout: { outputs, depth }, covariance, variances, means, count }: ColumnMoments & { covariance: Float64Array }, gone: ReadonlySet<number>): { rows: Float64Array; bias: Float64Array } {
  const stay = [...variances.keys()].filter((k) => !gone.has(k));
  const n = stay.length;
  const h = new Float64Array(n * n);
  const added = dampingOf(variances, count) || 1;
  stay.forEach((from, i) => stay.forEach((to, j) => (h[i * n + j] = (covariance[from * depth + to] ?? 0) + (i === j ? added : 0))));
  factorize(h, n);
  const result = Float64Array.from(rows);
  const bias = new Float64Array(outputs);
  for (let o = 0; o < outputs; o++) {
    const row = rows.subarray(o * depth, (o + 1) * depth);
    const change = new Float64Array(n);
    for (const k of gone) {
      const w = row[k] ?? 0;
      if (w === 0) continue;
      bias[o] = (bias[o] ?? 0) + w * (means[k] ?? 0);
      for (let i = 0; i < n; i++) change[i] = (change[i] ?? 0) + w * (covariance[k * depth + (stay[i] ?? 0)] ?? 0);
    }
    solve(h, n, change);
    stay.forEach((k, i) => {
      result[o * depth + k] = (row[k] ?? 0) + (change[i] ?? 0);
      bias[o] = (bias[o] ?? 0) - (change[i] ?? 0) * (means[k] ?? 0);
    });
  }
  return { rows: result, bias };
}

const fromRows = (rows: Float64Array, { dims }: TensorValue, outputs: number, axis: number): TensorValue => {
  const depth = rows.length / outputs;
  return fromNumbers('float32', dims, axis === 0 ? rows : rows.map((_, i) => rows[(i % outputs) * depth + Math.floor(i / outputs)] ?? 0));
};

/**
 * Changes the layers that read removed channels so that their other inputs make up for these as well as they can (least squares on the columns that the
 * layers saw: the update of Optimal Brain Surgeon). Mean activations of the removed channels go into the biases.
 * @returns the graph, its channels still there
 */
export function compensate({ graph, cuts }: Pick<Dependencies, 'graph' | 'cuts'>, removed: ReadonlySet<number>, moments: ReadonlyMap<Node, ColumnMoments>): Graph {
  const constants = new Map(graph.constants);
  const replaced = new Map<Node, Node>();
  const uses = new Map<string, number>();
  for (const { inputs } of graph.nodes) for (const input of inputs) uses.set(input, (uses.get(input) ?? 0) + 1);
  for (const { role, node, ids } of cuts) {
    const [known, operands] = [moments.get(node), weightOperands(graph, node)];
    const weights = operands === undefined ? undefined : graph.constants.get(operands.weights);
    // Shared weights serve several inputs; a MatMul has no bias that could take the means.
    if (role !== 'reads' || known?.covariance === undefined || operands === undefined || weights === undefined || node.op === 'MatMul' || uses.get(operands.weights) !== 1) continue;
    const { covariance, layout: { depth, outputs } } = known;
    const taps = depth / ids.length;
    const gone = new Set(Array.from({ length: depth }, (_, k) => k).filter((k) => removed.has(ids[Math.floor(k / taps)] ?? 0)));
    if (gone.size === 0 || gone.size === depth) continue;
    const { rows, bias } = adjusted(toRows(toNumbers(weights), outputs, operands.axis), { ...known, covariance }, gone);
    constants.set(operands.weights, fromRows(rows, weights, outputs, operands.axis));
    const old = hasOperand(node, 2) ? constants.get(node.inputs[2] ?? '') : undefined;
    const name = `${node.outputs[0] ?? node.name}.pruned-bias`;
    constants.set(name, old === undefined ? float32s(bias) : fromNumbers('float32', old.dims, [...toNumbers(old)].map((b, i) => b + (bias[i] ?? 0))));
    replaced.set(node, { ...node, inputs: withOperand(node.inputs, 2, name) });
  }
  return { ...graph, constants, nodes: graph.nodes.map((node) => replaced.get(node) ?? node) };
}
