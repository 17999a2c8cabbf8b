import type { Graph } from '../../graph/graph.js';
import type { TensorValue } from '../../graph/tensor-value.js';
import type { EngineName } from '../../session.js';
import { openPart, type Feeds } from '../observe/calibrate.js';
import { clippedScale } from '../ranges/clip-search.js';
import { columnLayout, ColumnSample, fromRows, toRows, type ColumnLayout } from '../observe/columns.js';
import { blocksOf, covariance, roundingOrder, roundRow } from './gptq.js';
import type { OnQuantizeProgress } from '../report/progress.js';
import { largestCode, type Grid } from '../formats/grids.js';
import { inputParameters, insertQuantization, type RoundedLayer, type WeightContext } from '../write/insert.js';
import { roundTrip } from '../ranges/range.js';
import { weightOperands, type Layer, type QuantizationPlan } from '../prepare/plan.js';
import { leastScale } from './weights.js';
import { operand } from '../../graph/operands.js';

/** Columns that a layer's statistics are made of: with twice as many as there are weights, each weight's part in them is known. */
const columnsFor = (depth: number): number => Math.max(1024, Math.min(4096, 2 * depth));

/** Sessions are opened this often, so that a layer sees the rounding of most layers before it. */
const largestStages = 8;

/** Samples that weights are rounded by: each gives columns from all over its feature maps. */
export const roundingSamples = 128;

export interface Observation {
  graph: Graph;
  samples: readonly Feeds[];
  engine: EngineName | undefined;
}

export interface RoundingTask extends Observation {
  plan: QuantizationPlan;
  /** By output of the layer: those whose weights are to be rounded. */
  grids: ReadonlyMap<string, Grid>;
  /** All that is settled of the other values and layers. */
  context: Omit<WeightContext, 'rounded'>;
  onProgress: OnQuantizeProgress;
}

/** What a layer reads, before and after it is rounded to the layer's codes, at the same places. */
interface Seen {
  unrounded: ColumnSample;
  rounded: ColumnSample;
}

/** Groups of layers that are observed together. */
function stagesOf({ plan, grids }: RoundingTask): Layer[][] {
  const layers = plan.layers.filter((layer) => layer.kind === 'weighted' && grids.has(layer.output));
  const size = Math.max(1, Math.ceil(layers.length / largestStages));
  return Array.from({ length: Math.ceil(layers.length / size) }, (_, stage) => layers.slice(stage * size, (stage + 1) * size));
}

/** To be called for each layer that is rounded. */
function roundingCounter(stages: readonly (readonly Layer[])[], onProgress: OnQuantizeProgress): () => void {
  const total = stages.flat().length;
  let done = 0;
  onProgress('round', done, total);
  return () => onProgress('round', ++done, total);
}

/**
 * Rounds the weights of layers to their grids, front to back: each group of layers sees the activations that the layers before it make
 * once rounded, and the bias takes what rounding a layer's input and weights does to the mean of its output. What reaches it from the layers
 * before is theirs to take: those of its own group would else be made up for twice.
 * @returns by output of the layer
 * @throws RuntimeError E_QUANTIZE
 */
export async function roundLayers(task: RoundingTask): Promise<Map<string, RoundedLayer>> {
  const done = new Map<string, RoundedLayer>();
  const stages = stagesOf(task);
  const count = roundingCounter(stages, task.onProgress);
  for (const layers of stages) {
    const seen = await observeQuantized(task, layers, done);
    for (const layer of layers) {
      addRounded(done, task, layer, seen.get(layer));
      count();
    }
  }
  return done;
}

/** Rounds the weights of layers as if each were the only one that is rounded: what it alone costs can then be measured. */
export async function roundAlone(task: RoundingTask): Promise<Map<string, RoundedLayer>> {
  const done = new Map<string, RoundedLayer>();
  const stages = stagesOf(task);
  const count = roundingCounter(stages, task.onProgress);
  for (const layers of stages) {
    const float = await observeFloat(task, layers);
    for (const layer of layers) {
      const input = inputParameters(layer, task.context);
      const unrounded = float.get(layer);
      if (input !== undefined && unrounded !== undefined) addRounded(done, task, layer, { unrounded, rounded: unrounded.map((value) => roundTrip(value, input)) });
      count();
    }
  }
  return done;
}

function addRounded(done: Map<string, RoundedLayer>, task: RoundingTask, layer: Layer, seen: Seen | undefined): void {
  const result = seen === undefined ? undefined : roundLayer(task, layer, seen);
  if (result !== undefined) done.set(layer.output, result);
}

/** What layers read in the float model. */
export async function observeFloat(task: Observation, layers: readonly Layer[]): Promise<Map<Layer, ColumnSample>> {
  const inputOf = (layer: Layer): string => operand(layer.node, 0);
  const seen = makeSamples(task, layers);
  await watch({ ...task, values: layers.map(inputOf) }, (sample) => addColumns(seen, sample, inputOf));
  return seen;
}

/** What layers read when those before them are rounded as far as `done`. */
async function observeQuantized(task: RoundingTask, layers: readonly Layer[], done: ReadonlyMap<string, RoundedLayer>): Promise<Map<Layer, Seen>> {
  const { graph, plan, grids, context, samples, engine } = task;
  const open = [...grids.keys()].filter((output) => !done.has(output)).map((output): [string, 'float'] => [output, 'float']);
  const qdq = insertQuantization(graph, plan, { ...context, rounded: new Map<string, RoundedLayer | 'float'>([...done, ...open]) });
  const unroundedOf = ({ node }: Layer): string => operand(node, 0);
  const roundedOf = (layer: Layer): string => qdq.inputs.get(layer.output) ?? unroundedOf(layer);
  const [unrounded, rounded] = [makeSamples(task, layers), makeSamples(task, layers)];
  await watch({ graph: qdq.graph, values: layers.flatMap((layer) => [unroundedOf(layer), roundedOf(layer)]), samples, engine }, (sample) => {
    addColumns(unrounded, sample, unroundedOf);
    addColumns(rounded, sample, roundedOf);
  });
  return new Map([...rounded].map(([layer, columns]) => [layer, { unrounded: unrounded.get(layer) ?? columns, rounded: columns }]));
}

function makeSamples({ graph }: Observation, layers: readonly Layer[]): Map<Layer, ColumnSample> {
  return new Map(layers.flatMap((layer) => {
    const layout = columnLayout(graph, layer);
    return layout === undefined ? [] : [[layer, new ColumnSample(layout, columnsFor(layout.depth))]];
  }));
}

/** Takes a share of the columns, one of `shares`, from one sample's values. */
function addColumns(seen: ReadonlyMap<Layer, ColumnSample>, { values, index, shares }: SampleValues, inputOf: (layer: Layer) => string): void {
  for (const [layer, columns] of seen) {
    const data = values[inputOf(layer)]?.data;
    if (data instanceof Float32Array) columns.add(data, index, Math.ceil(columns.capacity / shares));
  }
}

/** What one of `shares` samples, number `index`, gave. */
interface SampleValues {
  values: Feeds;
  index: number;
  shares: number;
}

interface Watched extends Observation {
  values: readonly string[];
}

/** Runs samples through the part of the graph that makes some values. */
async function watch({ graph, values, samples, engine }: Watched, visit: (sample: SampleValues) => void): Promise<void> {
  const session = values.every((value) => graph.inputs.includes(value)) ? undefined : await openPart(graph, values, engine);
  try {
    for (const [index, feeds] of samples.entries()) visit({ values: { ...feeds, ...(await session?.run(feeds)) }, index, shares: samples.length });
  } finally {
    await session?.close();
  }
}

function roundLayer({ graph, grids, context }: RoundingTask, layer: Layer, seen: Seen): RoundedLayer | undefined {
  const operands = weightOperands(graph, layer.node);
  const weights = operands === undefined ? undefined : graph.constants.get(operands.weights);
  const grid = grids.get(layer.output);
  const input = inputParameters(layer, context);
  if (operands === undefined || weights === undefined || grid === undefined || input === undefined) return undefined;
  const { layout } = seen.rounded;
  const stored = operands.bias === undefined ? undefined : graph.constants.get(operands.bias);
  const bias = Float32Array.from({ length: layout.outputs }, (_, o) => Number(stored?.data[o] ?? 0));
  const rows = toRows(weights.data as ArrayLike<number>, layout.outputs, operands.axis);
  const rounding = roundRows(rows, layout, seen.rounded, { bias, inputScale: input.scale, largest: largestCode(grid) });
  const corrected = layer.node.op === 'MatMul' ? undefined : matchMeans(rows, rounding, bias, seen);
  const tensor: TensorValue = { dtype: 'int8', dims: [...weights.dims], data: fromRows(rounding.codes, layout.outputs, operands.axis) };
  return { weights: tensor, scales: rounding.scales, axis: operands.axis, levels: grid.weights, bias: corrected };
}

interface Rounding {
  codes: Int8Array;
  scales: Float32Array;
}

/** Rounds all rows of a layer, group by group and in blocks of weights that a factorization can take. */
function roundRows(
  rows: Float32Array, { groups, depth, outputs }: ColumnLayout, { values, count }: ColumnSample, { bias, inputScale, largest }: { bias: Float32Array; inputScale: number; largest: number },
): Rounding {
  const codes = new Int8Array(rows.length);
  const scales = new Float32Array(outputs);
  const perGroup = outputs / groups;
  const blocks = blocksOf(depth);
  for (let group = 0; group < groups; group++) {
    const orders = Array.from({ length: blocks }, (_, block) => {
      const [start, end] = [Math.floor((block * depth) / blocks), Math.floor(((block + 1) * depth) / blocks)];
      const h = covariance(values, { count, stride: groups * depth, first: group * depth + start, depth: end - start });
      return { start, end, order: roundingOrder(h, end - start, count) };
    });
    const importance = Float64Array.from(orders.flatMap(({ order }) => [...order.diagonal]));
    for (let o = group * perGroup; o < (group + 1) * perGroup; o++) {
      const row = rows.subarray(o * depth, (o + 1) * depth);
      const scale = Math.fround(Math.max(clippedScale(row, importance, largest), leastScale(bias[o] ?? 0, inputScale)));
      scales[o] = scale > 1e-30 ? scale : 1;
      for (const { start, end, order } of orders) {
        roundRow(row.subarray(start, end), codes.subarray(o * depth + start, o * depth + end), order, { scale: scales[o] ?? 1, largest });
      }
    }
  }
  return { codes, scales };
}

/** The bias with which the mean of each output over the columns is what it would be without rounding. */
function matchMeans(rows: Float32Array, { codes, scales }: Rounding, bias: Float32Array, { unrounded, rounded }: Seen): Float32Array {
  const { groups, depth, outputs } = rounded.layout;
  const [expected, actual] = [meanColumn(unrounded), meanColumn(rounded)];
  return bias.map((value, o) => {
    const first = Math.floor((o * groups) / outputs) * depth;
    const scale = scales[o] ?? 1;
    let shift = 0;
    for (let k = 0; k < depth; k++) {
      shift += (rows[o * depth + k] ?? 0) * (expected[first + k] ?? 0) - (codes[o * depth + k] ?? 0) * scale * (actual[first + k] ?? 0);
    }
    return value + shift;
  });
}

function meanColumn({ values, count, layout: { groups, depth } }: ColumnSample): Float64Array {
  const width = groups * depth;
  const means = new Float64Array(width);
  for (let c = 0; c < count; c++) for (let k = 0; k < width; k++) means[k] = (means[k] ?? 0) + (values[c * width + k] ?? 0) / count;
  return means;
}
