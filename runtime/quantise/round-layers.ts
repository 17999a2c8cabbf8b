import type { Graph } from '../graph/graph.js';
import type { TensorValue } from '../graph/tensor-value.js';
import type { EngineName } from '../session.js';
import { openPart, type Feeds } from './calibrate.js';
import { clippedScale } from './clip-search.js';
import { columnLayout, ColumnSample, fromRows, toRows, type ColumnLayout } from './columns.js';
import { covariance, largestBlock, roundingOrder, roundRow } from './gptq.js';
import { largestCode, type Grid } from './grids.js';
import { inputParameters, insertQuantisation, type RoundedLayer, type WeightContext } from './insert.js';
import { roundTrip } from './range.js';
import { weightOperands, type Layer, type QuantisationPlan } from './plan.js';
import { leastScale } from './weights.js';

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
  plan: QuantisationPlan;
  /** By output of the layer: those whose weights are to be rounded. */
  grids: ReadonlyMap<string, Grid>;
  /** All that is settled of the other values and layers. */
  context: Omit<WeightContext, 'rounded'>;
}

/** What a layer reads in the float model and in the quantized one, at the same places. */
interface Seen {
  layer: Layer;
  float: ColumnSample;
  quantised: ColumnSample;
}

/** Groups of layers that are observed together. */
function stagesOf({ plan, grids }: RoundingTask): Layer[][] {
  const layers = plan.layers.filter((layer) => layer.kind === 'weighted' && grids.has(layer.output));
  const size = Math.max(1, Math.ceil(layers.length / largestStages));
  return Array.from({ length: Math.ceil(layers.length / size) }, (_, stage) => layers.slice(stage * size, (stage + 1) * size));
}

/**
 * Rounds the weights of layers to their grids, front to back: each group of layers sees the activations that the layers before it make
 * once rounded, and the bias takes what remains of the difference to the float model's mean.
 * @returns by output of the layer
 * @throws RuntimeError E_QUANTIZE
 */
export async function roundLayers(task: RoundingTask): Promise<Map<string, RoundedLayer>> {
  const rounded = new Map<string, RoundedLayer>();
  for (const layers of stagesOf(task)) {
    const float = await observeFloat(task, layers);
    const quantised = await observeQuantised(task, layers, rounded);
    for (const layer of layers) addRounded(rounded, task, { layer, float: float.get(layer), quantised: quantised.get(layer) });
  }
  return rounded;
}

/** Rounds the weights of layers as if each were the only one that is rounded: what it alone costs can then be measured. */
export async function roundAlone(task: RoundingTask): Promise<Map<string, RoundedLayer>> {
  const rounded = new Map<string, RoundedLayer>();
  for (const layers of stagesOf(task)) {
    const float = await observeFloat(task, layers);
    for (const layer of layers) {
      const input = inputParameters(layer, task.context);
      const seen = float.get(layer);
      if (input !== undefined && seen !== undefined) addRounded(rounded, task, { layer, float: seen, quantised: seen.map((value) => roundTrip(value, input)) });
    }
  }
  return rounded;
}

function addRounded(rounded: Map<string, RoundedLayer>, task: RoundingTask, { layer, float, quantised }: { layer: Layer; float: ColumnSample | undefined; quantised: ColumnSample | undefined }): void {
  const result = float === undefined || quantised === undefined ? undefined : roundLayer(task, { layer, float, quantised });
  if (result !== undefined) rounded.set(layer.output, result);
}

/** What layers read in the float model. */
export const observeFloat = (task: Observation, layers: readonly Layer[]): Promise<Map<Layer, ColumnSample>> =>
  observe(task, layers, task.graph, (layer) => layer.node.inputs[0] ?? '');

/** What layers read when those before them are rounded as far as `done`. */
function observeQuantised(task: RoundingTask, layers: readonly Layer[], done: ReadonlyMap<string, RoundedLayer>): Promise<Map<Layer, ColumnSample>> {
  const { graph, plan, grids, context } = task;
  const open = [...grids.keys()].filter((output) => !done.has(output)).map((output): [string, 'float'] => [output, 'float']);
  const qdq = insertQuantisation(graph, plan, { ...context, rounded: new Map<string, RoundedLayer | 'float'>([...done, ...open]) });
  return observe(task, layers, qdq.graph, (layer) => qdq.inputs.get(layer.output) ?? '');
}

/** Columns of layers over the samples, of which `graph` makes the inputs. */
async function observe(task: Observation, layers: readonly Layer[], graph: Graph, inputOf: (layer: Layer) => string): Promise<Map<Layer, ColumnSample>> {
  const { samples, engine } = task;
  const seen = new Map<Layer, ColumnSample>();
  for (const layer of layers) {
    const layout = columnLayout(task.graph, layer);
    if (layout !== undefined) seen.set(layer, new ColumnSample(layout, columnsFor(layout.depth)));
  }
  await watch({ graph, values: layers.map(inputOf), samples, engine }, (values, index) => {
    for (const [layer, columns] of seen) {
      const data = values[inputOf(layer)]?.data;
      if (data instanceof Float32Array) columns.add(data, index, Math.ceil(columns.capacity / samples.length));
    }
  });
  return seen;
}

interface Watched {
  graph: Graph;
  values: readonly string[];
  samples: readonly Feeds[];
  engine: EngineName | undefined;
}

/** Runs samples through the part of the graph that makes some values. */
async function watch({ graph, values, samples, engine }: Watched, visit: (values: Feeds, index: number) => void): Promise<void> {
  if (values.every((value) => graph.inputs.includes(value))) return samples.forEach(visit);
  const session = await openPart(graph, values, engine);
  try {
    for (const [index, feeds] of samples.entries()) visit({ ...feeds, ...(await session.run(feeds)) }, index);
  } finally {
    await session.close();
  }
}

function roundLayer({ graph, grids, context }: RoundingTask, { layer, float, quantised }: Seen): RoundedLayer | undefined {
  const operands = weightOperands(graph, layer.node);
  const weights = operands === undefined ? undefined : graph.constants.get(operands.weights);
  const grid = grids.get(layer.output);
  const input = inputParameters(layer, context);
  if (operands === undefined || weights === undefined || grid === undefined || input === undefined) return undefined;
  const { layout } = quantised;
  const stored = operands.bias === undefined ? undefined : graph.constants.get(operands.bias);
  const bias = Float32Array.from({ length: layout.outputs }, (_, o) => Number(stored?.data[o] ?? 0));
  const rows = toRows(weights.data as ArrayLike<number>, layout.outputs, operands.axis);
  const rounding = roundRows(rows, layout, quantised, { bias, inputScale: input.scale, largest: largestCode(grid) });
  const corrected = layer.node.op === 'MatMul' ? undefined : matchMeans(rows, rounding, bias, { layout, float, quantised });
  const tensor: TensorValue = { dtype: 'int8', dims: [...weights.dims], data: fromRows(rounding.codes, layout.outputs, operands.axis) };
  return { weights: tensor, scales: rounding.scales, axis: operands.axis, levels: grid.weights, bias: corrected };
}

interface Rounding {
  codes: Int8Array;
  scales: Float32Array;
}

/** Rounds all rows of a layer, group by group and in blocks of weights that a factorisation can take. */
function roundRows(
  rows: Float32Array, { groups, depth, outputs }: ColumnLayout, { values, count }: ColumnSample, { bias, inputScale, largest }: { bias: Float32Array; inputScale: number; largest: number },
): Rounding {
  const codes = new Int8Array(rows.length);
  const scales = new Float32Array(outputs);
  const perGroup = outputs / groups;
  const blocks = Math.ceil(depth / largestBlock);
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

/** The bias with which the mean of each output over the columns is the float layer's. */
function matchMeans(
  rows: Float32Array, { codes, scales }: Rounding, bias: Float32Array, { layout: { groups, depth, outputs }, float, quantised }: { layout: ColumnLayout; float: ColumnSample; quantised: ColumnSample },
): Float32Array {
  const [expected, actual] = [meanColumn(float), meanColumn(quantised)];
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
