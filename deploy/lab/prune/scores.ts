import { openOnnxRuntime } from '../../../runtime/engines/onnxruntime.js';
import { differentiate } from '../../../runtime/gradients/differentiate.js';
import { extendGraph } from '../../../runtime/gradients/extend.js';
import { graphToOnnx } from '../../../runtime/graph/export.js';
import { typeOf } from '../../../runtime/graph/graph.js';
import { elementCount, toNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import { weightOperands } from '../../../runtime/quantize/prepare/plan.js';
import type { Feeds } from '../../../runtime/quantize/observe/calibrate.js';
import { toRows } from '../../../runtime/quantize/observe/columns.js';
import { dampingOf, dot, factorize } from '../../../runtime/quantize/round/gptq.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { uniform } from '../../compress/random.js';
import { DeployError } from '../../errors.js';
import { fixedChannel } from './channels.js';
import type { ColumnMoments } from './columns.js';
import type { Dependencies } from './dependencies.js';
import type { Cut } from './tracer.js';

/**
 * How important a channel is. `l1`: by the size of the weights that make it (arXiv 1608.08710). `gain`: by the factor of the batch normalization
 * behind it (arXiv 1708.06519). `taylor`: by how far the outputs move, to the first order, without it (arXiv 1906.10771). `second-order`: by
 * the error that is left in the layers that read it when their other weights make up for it (Optimal Brain Surgeon with GPTQ's Hessian, summed over
 * the channel's columns, one channel after the other).
 */
export const criteria = ['l1', 'gain', 'taylor', 'second-order'] as const;
export type Criterion = (typeof criteria)[number];

export type Scores = Map<number, number>;

/** Adds what each element gives to the score of the channel at its index of the axis. */
function addAlong({ axis, ids }: Pick<Cut, 'axis' | 'ids'>, dims: readonly number[], scores: Scores, valueAt: (element: number) => number): void {
  const inner = elementCount(dims.slice(axis + 1));
  const count = elementCount(dims);
  for (let i = 0; i < count; i++) {
    const id = ids[Math.floor(i / inner) % ids.length] ?? fixedChannel;
    if (id !== fixedChannel) scores.set(id, (scores.get(id) ?? 0) + valueAt(i));
  }
}

/** Scores relative to the mean of their group: sizes of weights mean something within a layer only. */
function relative({ groups }: Dependencies, scores: Scores): Scores {
  const result: Scores = new Map();
  for (const { channels } of groups) {
    const own = channels.filter((id) => scores.has(id));
    const mean = own.reduce((sum, id) => sum + (scores.get(id) ?? 0), 0) / Math.max(1, own.length);
    for (const id of own) result.set(id, (scores.get(id) ?? 0) / Math.max(mean, 1e-30));
  }
  return result;
}

function bySize(dependencies: Dependencies): Scores {
  const scores: Scores = new Map();
  for (const cut of dependencies.cuts) {
    const value = dependencies.graph.constants.get(cut.constant);
    if (cut.role !== 'makes' || cut.operand !== 1 || value === undefined) continue;
    const numbers = toNumbers(value);
    addAlong(cut, value.dims, scores, (i) => Math.abs(numbers[i] ?? 0));
  }
  return relative(dependencies, scores);
}

/** @throws DeployError E_LAB: the model has no batch normalization that is not folded */
function byGain(dependencies: Dependencies): Scores {
  const scores: Scores = new Map();
  for (const cut of dependencies.cuts) {
    const value = dependencies.graph.constants.get(cut.constant);
    if (cut.node.op !== 'BatchNormalization' || cut.operand !== 1 || value === undefined) continue;
    const numbers = toNumbers(value);
    addAlong(cut, value.dims, scores, (i) => Math.abs(numbers[i] ?? 0));
  }
  if (scores.size === 0) throw new DeployError('E_LAB', 'The criterion gain needs batch normalizations, but the model has none behind a layer whose channels can be removed: exporters fold them into convolutions; choose l1, taylor or second-order');
  return relative(dependencies, scores);
}

const normal = (next: () => number): number => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());

/** Outputs of float32, and a graph that gives the gradients of their product with a direction that is fed. */
function directed({ graph, cuts }: Dependencies): { outputs: string[]; bytes: Uint8Array; gradients: ReadonlyMap<string, string> } {
  const outputs = graph.outputs.filter((name) => typeOf(graph, name).dtype === 'float32');
  const loss = 'lab.loss';
  const whole = extendGraph(graph, {
    inputs: Object.fromEntries(outputs.map((name) => [`lab.direction.${name}`, typeOf(graph, name)])),
    write: (m) => ({ [loss]: outputs.map((name) => m.reduce('ReduceSum', m.mul(m.reshape(name, [elementCount(m.shape(name))]), m.reshape(`lab.direction.${name}`, [elementCount(m.shape(name))])), [0], false)).reduce(m.add) }),
  });
  const wrt = [...new Set(cuts.filter(({ role, ids }) => role === 'makes' && ids.some((id) => id !== fixedChannel)).map(({ constant }) => constant))];
  const { graph: made, gradients } = differentiate({ ...whole, outputs: [loss] }, { loss, wrt });
  return { outputs, bytes: serializeModel(graphToOnnx(made)), gradients };
}

/**
 * The mean square of what a channel contributes to the outputs along random directions, to the first order: the sum of weight times gradient over the
 * weights that make it. No labels are needed.
 * @param sizes root mean square of each output
 */
async function byTaylor(dependencies: Dependencies, samples: readonly Feeds[], sizes: ReadonlyMap<string, number>, seed: number): Promise<Scores> {
  const { graph, cuts } = dependencies;
  const { outputs, bytes, gradients } = directed(dependencies);
  const next = uniform(seed);
  const session = await openOnnxRuntime(bytes);
  const scores: Scores = new Map();
  try {
    for (const feeds of samples) {
      const directions = outputs.map((name): [string, Tensor] => {
        const dims = typeOf(graph, name).shape;
        return [`lab.direction.${name}`, { type: 'float32', dims, data: Float32Array.from({ length: elementCount(dims) }, () => normal(next) / (sizes.get(name) ?? 1)) }];
      });
      const results = await session.run({ ...feeds, ...Object.fromEntries(directions) });
      const moved: Scores = new Map();
      for (const cut of cuts) {
        const value: TensorValue | undefined = graph.constants.get(cut.constant);
        const gradient = results[gradients.get(cut.constant) ?? '']?.data;
        if (cut.role !== 'makes' || value === undefined || gradient === undefined) continue;
        const numbers = toNumbers(value);
        addAlong(cut, value.dims, moved, (i) => (numbers[i] ?? 0) * Number(gradient[i] ?? 0));
      }
      for (const [id, sum] of moved) scores.set(id, (scores.get(id) ?? 0) + sum * sum);
    }
  } finally {
    await session.close();
  }
  return scores;
}

/** The inverse of a covariance, which is damped. */
function inverseOf(covariance: Float64Array, variances: Float64Array, count: number): Float64Array {
  const n = variances.length;
  const h = covariance.slice();
  const added = dampingOf(variances, count) || 1;
  for (let k = 0; k < n; k++) h[k * n + k] = (h[k * n + k] ?? 0) + added;
  factorize(h, n);
  // H = R R', so that the inverse is T' T with T the inverse of R. Row j of `columns` is column j of T, from its diagonal up.
  const columns = new Float64Array(n * n);
  for (let j = 0; j < n; j++) {
    columns[j * n + j] = 1 / (h[j * n + j] ?? 1);
    for (let i = j - 1; i >= 0; i--) columns[j * n + i] = -dot(h, i * n + i + 1, columns, j * n + i + 1, j - i) / (h[i * n + i] ?? 1);
  }
  const inverse = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) inverse[i * n + j] = inverse[j * n + i] = dot(columns, i * n, columns, j * n, j + 1);
  return inverse;
}

/** Weights [outputs][width] of the columns that are left, the inverse of their covariance, and the sum of each column's squared weights. */
interface Columns {
  readonly width: number;
  readonly rows: Float64Array;
  readonly inverse: Float64Array;
  readonly squares: Float64Array;
}

/** Takes column k out: the other weights make up for it, and the inverse becomes that of the others. */
function eliminate({ rows, inverse, squares, width }: Columns, k: number): void {
  const pivot = Math.max(inverse[k * width + k] ?? 1, 1e-30);
  const line = inverse.slice(k * width, (k + 1) * width);
  squares.fill(0);
  for (let start = 0; start < rows.length; start += width) {
    const factor = (rows[start + k] ?? 0) / pivot;
    for (let i = 0; i < width; i++) {
      const weight = (rows[start + i] ?? 0) - factor * (line[i] ?? 0);
      rows[start + i] = weight;
      squares[i] = (squares[i] ?? 0) + weight * weight;
    }
    rows[start + k] = 0;
  }
  squares[k] = 0;
  for (let i = 0; i < width; i++) {
    const factor = (line[i] ?? 0) / pivot;
    if (factor !== 0) for (let j = 0; j < width; j++) inverse[i * width + j] = (inverse[i * width + j] ?? 0) - factor * (line[j] ?? 0);
  }
}

/** The same without the columns that have been taken out. */
function packed({ rows, inverse, squares, width }: Columns, left: readonly number[]): Columns {
  const taken = (from: Float64Array, lines: readonly number[]): Float64Array => {
    const result = new Float64Array(lines.length * left.length);
    lines.forEach((line, at) => left.forEach((column, i) => (result[at * left.length + i] = from[line * width + column] ?? 0)));
    return result;
  };
  return { width: left.length, rows: taken(rows, [...new Array(rows.length / width).keys()]), inverse: taken(inverse, left), squares: taken(squares, [0]) };
}

/** When no more than this share of the columns is left, the others are packed: work goes with their square. */
const packedShare = 0.8;

/**
 * Removes the channels that a layer reads one after the other, always the one that is missed least when the others make up for it (Optimal Brain
 * Surgeon). What a channel scores is what its removal costs then: of two that are alike, one costs nothing, and the other a lot.
 * @param rows weights [outputs][depth]; they change
 * @param inverse of the covariance of its columns; it changes
 * @param ids the channel of each run of depth / ids.length columns
 */
export function eliminated(rows: Float64Array, inverse: Float64Array, depth: number, ids: readonly number[]): Scores {
  const taps = depth / ids.length;
  let left = new Map<number, number[]>();
  ids.forEach((id, i) => left.set(id, [...(left.get(id) ?? []), ...Array.from({ length: taps }, (_, t) => i * taps + t)]));
  let columns: Columns = { width: depth, rows, inverse, squares: new Float64Array(depth) };
  rows.forEach((weight, i) => (columns.squares[i % depth] = (columns.squares[i % depth] ?? 0) + weight * weight));
  const scores: Scores = new Map();
  let most = 0;
  while (left.size > 0) {
    let [next, least] = [fixedChannel, Infinity];
    for (const [id, own] of left) {
      const cost = id === fixedChannel ? Infinity : own.reduce((sum, k) => sum + (columns.squares[k] ?? 0) / Math.max(columns.inverse[k * columns.width + k] ?? 1, 1e-30), 0);
      if (cost < least || next === fixedChannel) [next, least] = [id, cost];
    }
    if (next === fixedChannel) break;
    most = Math.max(most, least);
    scores.set(next, most);
    for (const k of left.get(next) ?? []) eliminate(columns, k);
    left.delete(next);
    const kept = [...left.values()].flat();
    if (kept.length > packedShare * columns.width) continue;
    columns = packed(columns, kept);
    let at = 0;
    left = new Map([...left].map(([id, own]) => [id, own.map(() => at++)]));
  }
  return scores;
}

/** What each channel adds to the outputs, where covariances are not known: nothing can make up for it. */
function alone(rows: Float64Array, { layout: { depth, groups }, variances }: ColumnMoments, ids: readonly number[]): { scores: Scores; energy: number } {
  const scores: Scores = new Map();
  const [taps, perGroup] = [depth / ids.length, rows.length / depth / groups];
  let energy = 0;
  rows.forEach((w, i) => {
    const [o, k] = [Math.floor(i / depth), i % depth];
    const own = w * w * (variances[Math.floor(o / perGroup) * depth + k] ?? 0);
    const id = ids[Math.floor(k / taps)] ?? fixedChannel;
    energy += own;
    scores.set(id, (scores.get(id) ?? 0) + own);
  });
  return { scores, energy };
}

/** Error at the outputs of the layers that read a channel, relative to the energy of these outputs. */
function bySecondOrder({ graph, cuts }: Dependencies, moments: ReadonlyMap<Cut['node'], ColumnMoments>): Scores {
  const scores: Scores = new Map();
  for (const { role, node, ids } of cuts) {
    const [known, operands] = [moments.get(node), weightOperands(graph, node)];
    const weights = operands === undefined ? undefined : graph.constants.get(operands.weights);
    if (role !== 'reads' || known === undefined || operands === undefined || weights === undefined) continue;
    const rows = Float64Array.from(toRows(toNumbers(weights), known.layout.outputs, operands.axis));
    const { scores: plain, energy } = alone(rows, known, ids);
    const { covariance, variances, count, layout: { depth } } = known;
    const own = covariance === undefined ? plain : eliminated(rows, inverseOf(covariance, variances, count), depth, ids);
    for (const [id, error] of own) if (id !== fixedChannel) scores.set(id, (scores.get(id) ?? 0) + error / Math.max(energy, 1e-30));
  }
  return scores;
}

export interface ScoreData {
  readonly samples: readonly Feeds[];
  /** Root mean square of each output. */
  readonly sizes: ReadonlyMap<string, number>;
  readonly moments: ReadonlyMap<Cut['node'], ColumnMoments>;
  readonly seed: number;
}

/**
 * The importance of every channel that may go, comparable between groups.
 * @throws DeployError E_LAB: no normalization for `gain`; RuntimeError E_GRADIENT: an operator without a gradient, for `taylor`
 */
export async function scoreChannels(criterion: Criterion, dependencies: Dependencies, { samples, sizes, moments, seed }: ScoreData): Promise<Scores> {
  switch (criterion) {
    case 'l1': return bySize(dependencies);
    case 'gain': return byGain(dependencies);
    case 'taylor': return byTaylor(dependencies, samples, sizes, seed);
    case 'second-order': return bySecondOrder(dependencies, moments);
  }
}
