import { intAttribute } from '../../graph/attributes.js';
import { GraphEditor } from '../../graph/editor.js';
import { constantOf, consumersOf, producersOf, typeOf, type Graph, type Node } from '../../graph/graph.js';
import { elementCount, sameShape } from '../../graph/tensor-value.js';
import type { EngineName } from '../../session.js';
import { openPart, runSample, spread, type Feeds } from '../observe/calibrate.js';
import { clippedScale } from '../ranges/clip-search.js';
import { columnLayout, ColumnSample, toRows, type ColumnLayout } from '../observe/columns.js';
import { divideOperand, scaleMaker, scaleReader } from './equalize.js';
import { largestCode, type Grid } from '../formats/grids.js';
import { Histogram } from '../observe/histogram.js';
import { mostColumns, mostOutputs, variance } from '../ranges/output-ranges.js';
import { reported, type OnQuantizeProgress } from '../report/progress.js';
import { weightOperands, type Layer, type QuantizationPlan } from './plan.js';
import { affineParameters, chooseRange, roundTrip, type CalibrationMethod } from '../ranges/range.js';
import { firstOutput, hasOperand, operand, optionalOperand } from '../../graph/operands.js';

/** Where factors of a value's channels go on the way to it: into the weights of a layer, or into operands with one number a channel. */
interface Fold {
  node: Node;
  operands: 'weights' | readonly number[];
}

/** A value whose channels can be divided by factors that the layers which read it take into their weights. */
export interface MigrationGroup {
  value: string;
  channels: number;
  folds: readonly Fold[];
  readers: readonly Layer[];
}

/** Where scales may migrate. auto: everywhere except between convolutions, where cross-layer equalization leaves hardly anything to gain. */
export type MigrationScope = 'auto' | 'all' | 'none';

export const migrationScopes: readonly MigrationScope[] = ['auto', 'all', 'none'];

export interface Migration {
  /** Exponent of the channels' magnitudes; 0 means that nothing was changed, because no exponent reduced the error. */
  alpha: number;
  /** Error at the readers' outputs with the factors, divided by the error without them. */
  error: number;
}

export interface MigrationTask {
  graph: Graph;
  plan: QuantizationPlan;
  samples: readonly Feeds[];
  engine: EngineName | undefined;
  /** The grid that a layer's weights and activations are to have. */
  gridFor: (layer: Layer) => Grid;
  /** How ranges are chosen of activations with 256 levels, and with fewer. */
  methodFor: (levels: number) => CalibrationMethod;
  percentile: number;
  scope: MigrationScope;
  onProgress: OnQuantizeProgress;
}

/** Exponents that are tried first; then those half-way to the neighbours of the best. */
const exponents = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];

/** Factors beyond this, or its inverse, only amplify what calibration happened not to see. */
const largestFactor = 32;

/** Less gain than this share of the error is chance. */
const leastGain = 0.02;

interface Context {
  graph: Graph;
  producers: ReadonlyMap<string, Node>;
  consumers: ReadonlyMap<string, readonly Node[]>;
}

const channelAxis = (graph: Graph, node: Node): number => (node.op === 'Conv' ? 1 : typeOf(graph, operand(node, 0)).shape.length - 1);

/** Where to fold factors of the channels of `value`, of which nobody else may know; undefined: nowhere, exactly. */
function foldsOf(context: Context, value: string, channels: number, axis: number): Fold[] | undefined {
  const { graph, producers, consumers } = context;
  const node = producers.get(value);
  if (node === undefined || graph.outputs.includes(value)) return undefined;
  const { shape } = typeOf(graph, value);
  const rank = shape.length;
  const perChannel = (index: number): boolean => {
    const constant = constantOf(graph, optionalOperand(node, index));
    return constant?.dtype === 'float32' && elementCount(constant.dims) === channels && constant.dims[axis - rank + constant.dims.length] === channels;
  };
  const before = (input: number): Fold[] | undefined => {
    const source = operand(node, input);
    return consumers.get(source)?.length === 1 && sameShape(typeOf(graph, source).shape, shape) ? foldsOf(context, source, channels, axis) : undefined;
  };
  const given = [1, 2].filter((index) => hasOperand(node, index));
  const normalized = (right: boolean): Fold[] | undefined =>
    right && given.length > 0 && given.every((index) => constantOf(graph, optionalOperand(node, index))?.data.length === channels) ? [{ node, operands: given }] : undefined;
  switch (node.op) {
    case 'Relu': case 'LeakyRelu':
      return before(0);
    case 'PRelu':
      return constantOf(graph, optionalOperand(node, 1)) !== undefined ? before(0) : undefined;
    case 'Mul': case 'Add': {
      const index = [0, 1].find(perChannel);
      if (index === undefined) return undefined;
      if (node.op === 'Mul') return [{ node, operands: [index] }];
      const rest = before(1 - index);
      return rest === undefined ? undefined : [{ node, operands: [index] }, ...rest];
    }
    case 'LayerNormalization':
      return normalized(axis === rank - 1 && [rank - 1, -1].includes(intAttribute(node, 'axis', -1)));
    case 'InstanceNormalization': case 'BatchNormalization':
      return normalized(axis === 1);
    default:
      return weightOperands(graph, node) !== undefined && channelAxis(graph, node) === axis ? [{ node, operands: 'weights' }] : undefined;
  }
}

/** The values of a plan whose channels can take factors: a normalization or a layer makes them, and layers with constant weights alone read them. */
export function findMigrations(graph: Graph, plan: QuantizationPlan): MigrationGroup[] {
  const layers = new Map(plan.layers.filter(({ kind }) => kind === 'weighted').map((layer) => [firstOutput(layer.node), layer]));
  const context = { graph, producers: producersOf(graph.nodes), consumers: consumersOf(graph.nodes) };
  const found: MigrationGroup[] = [];
  for (const value of plan.values) {
    const nodes = context.consumers.get(value) ?? [];
    const readers = nodes.flatMap((node) => layers.get(firstOutput(node)) ?? []);
    const [first] = readers;
    if (first === undefined || readers.length < nodes.length) continue;
    const axis = channelAxis(graph, first.node);
    const channels = typeOf(graph, value).shape[axis] ?? 0;
    const folds = readers.every(({ node }) => channelAxis(graph, node) === axis) ? foldsOf(context, value, channels, axis) : undefined;
    if (folds !== undefined) found.push({ value, channels, folds, readers });
  }
  return found;
}

/** Whether convolutions make and read the value: then its channels are of like range already. */
const isBetweenConvolutions = ({ folds, readers }: MigrationGroup): boolean => folds.at(-1)?.node.op === 'Conv' && readers.every(({ node }) => node.op === 'Conv');

/** Divides the channels of the groups' values by factors; the layers that read them multiply. What the network computes stays the same but for rounding. */
export function migrateChannels(graph: Graph, factors: ReadonlyMap<MigrationGroup, Float32Array>): Graph {
  const editor = new GraphEditor(graph);
  for (const [{ folds, readers }, values] of factors) {
    for (const { node, operands } of folds) {
      if (operands === 'weights') scaleMaker(editor, graph, node, values);
      else for (const operand of operands) divideOperand(editor, node, operand, values);
    }
    for (const { node } of readers) scaleReader(editor, graph, node, values);
  }
  return editor.finish();
}

/** A layer that reads a group's value, with what it reads in the float model. */
interface Reader {
  layer: Layer;
  columns: ColumnSample;
  /** Weights of some outputs, as rows, and which output each is. */
  rows: readonly { output: number; weights: Float32Array }[];
}

async function observeReaders({ graph, samples, engine }: MigrationTask, groups: readonly MigrationGroup[]): Promise<Map<Layer, Reader>> {
  const readers = new Map<Layer, Reader>();
  for (const layer of groups.flatMap((group) => group.readers)) {
    const layout = columnLayout(graph, layer);
    const operands = weightOperands(graph, layer.node);
    const weights = constantOf(graph, operands?.weights);
    if (layout === undefined || operands === undefined || weights === undefined) continue;
    const all = toRows(weights.data as ArrayLike<number>, layout.outputs, operands.axis);
    const rows = spread(Array.from({ length: layout.outputs }, (_, o) => o), mostOutputs).map((output) => ({ output, weights: all.slice(output * layout.depth, (output + 1) * layout.depth) }));
    readers.set(layer, { layer, columns: new ColumnSample(layout, mostColumns), rows });
  }
  const session = await openPart(graph, groups.map(({ value }) => value), engine);
  try {
    for (const [index, feeds] of samples.entries()) {
      const results = await runSample(session, feeds, index);
      for (const { layer, columns } of readers.values()) {
        const data = results[operand(layer.node, 0)]?.data;
        if (data instanceof Float32Array) columns.add(data, index, Math.ceil(columns.capacity / samples.length));
      }
    }
  } finally {
    await session.close();
  }
  return readers;
}

/** The channel that each number of a column comes from. */
function channelOfColumn({ groups, depth }: ColumnLayout, channels: number): (k: number) => number {
  const taps = (groups * depth) / channels;
  return (k) => Math.floor(k / taps);
}

/** Mean magnitude of each channel; one that calibration never saw counts as one like the others. */
function channelMeans(readers: readonly Reader[], channels: number): Float64Array {
  const sums = new Float64Array(channels);
  for (const { columns: { values, count, layout } } of readers) {
    const width = layout.groups * layout.depth;
    const channelOf = channelOfColumn(layout, channels);
    for (let i = 0; i < count * width; i++) sums[channelOf(i % width)] = (sums[channelOf(i % width)] ?? 0) + Math.abs(values[i] ?? 0);
  }
  const live = sums.filter((sum) => sum > 0);
  const typical = live.reduce((sum, value) => sum + value, 0) / Math.max(1, live.length);
  return sums.map((sum) => (sum > 0 ? sum : typical || 1));
}

/** AWQ's factors (Lin et al., arXiv 2306.00978, section 3.2): a power of the magnitudes, the geometric mean of largest and smallest being 1. */
function factorsFor(magnitudes: Float64Array, alpha: number): Float32Array {
  const raw = magnitudes.map((magnitude) => magnitude ** alpha);
  const middle = Math.sqrt(Math.max(...raw) * Math.min(...raw));
  return Float32Array.from(raw, (value) => Math.max(1 / largestFactor, Math.min(largestFactor, value / middle)));
}

/** Variance that rounding weights and activations puts into a reader's outputs, as a share of the outputs' own; the means are the bias's matter. */
function outputError(task: MigrationTask, { layer, columns: { values, count, layout }, rows }: Reader, factors: Float32Array): number {
  const grid = task.gridFor(layer);
  const [width, largest] = [layout.groups * layout.depth, largestCode(grid)];
  const channelOf = channelOfColumn(layout, factors.length);
  const factorOf = Float32Array.from({ length: width }, (_, k) => factors[channelOf(k)] ?? 1);
  const scaled = Float32Array.from({ length: count * width }, (_, i) => (values[i] ?? 0) / (factorOf[i % width] ?? 1));
  const histogram = new Histogram();
  histogram.add(scaled);
  const parameters = affineParameters(chooseRange(histogram, task.methodFor(grid.activations), task.percentile, grid.activations), grid.activations);
  const rounded = scaled.map((x) => roundTrip(x, parameters));
  let [noise, signal] = [0, 0];
  for (const { output, weights } of rows) {
    const first = Math.floor((output * layout.groups) / layout.outputs) * layout.depth;
    const row = weights.map((w, k) => w * (factorOf[first + k] ?? 1));
    const codes = roundToGrid(row, scaled, { count, width, first }, largest);
    const [errors, outputs] = [new Array<number>(count), new Array<number>(count)];
    for (let c = 0; c < count; c++) {
      let [exact, actual] = [0, 0];
      for (let k = 0, i = c * width + first; k < layout.depth; k++, i++) {
        exact += (row[k] ?? 0) * (scaled[i] ?? 0);
        actual += (codes[k] ?? 0) * (rounded[i] ?? 0);
      }
      outputs[c] = exact;
      errors[c] = actual - exact;
    }
    noise += variance(errors);
    signal += variance(outputs);
  }
  return signal === 0 ? 0 : noise / signal;
}

/** A row of weights, each rounded to the nearest point of its grid. */
function roundToGrid(row: Float32Array, columns: Float32Array, { count, width, first }: { count: number; width: number; first: number }, largest: number): Float32Array {
  const importance = new Float64Array(row.length);
  for (let c = 0; c < count; c++) for (let k = 0; k < row.length; k++) importance[k] = (importance[k] ?? 0) + (columns[c * width + first + k] ?? 0) ** 2;
  const scale = clippedScale(row, importance, largest);
  return scale === 0 ? row : row.map((w) => Math.max(-largest, Math.min(largest, Math.round(w / scale))) * scale);
}

/** The exponent with the least error at the readers' outputs, and its factors; 0 where none is better than no factors at all. */
function search(task: MigrationTask, readers: readonly Reader[], channels: number): { migration: Migration; factors: Float32Array } {
  const magnitudes = channelMeans(readers, channels);
  const errorWith = (factors: Float32Array): number => readers.reduce((sum, reader) => sum + outputError(task, reader, factors), 0);
  const without = errorWith(factorsFor(magnitudes, 0));
  let best: Migration = { alpha: 0, error: 1 };
  const consider = (alpha: number): void => {
    const error = without === 0 ? 1 : errorWith(factorsFor(magnitudes, alpha)) / without;
    if (error < best.error) best = { alpha, error };
  };
  exponents.forEach(consider);
  const coarse = best.alpha;
  [-0.05, 0.05].map((step) => Number((coarse + step).toFixed(2))).filter((alpha) => alpha > 0).forEach(consider);
  const migration = best.error < 1 - leastGain ? best : { alpha: 0, error: 1 };
  return { migration, factors: factorsFor(magnitudes, migration.alpha) };
}

/**
 * Moves the magnitudes of channels from activations into the weights that multiply them, so far that rounding both to the layer's grid costs the
 * outputs least: activation-aware weight quantization (AWQ), with the rounding of activations counted, too. Between a normalization or a layer and
 * the layers that read it, over whatever commutes with a positive factor a channel: Relu, LeakyRelu, PRelu, but no Clip.
 * @returns the graph, and by output of the reading layer what was done
 * @throws RuntimeError E_QUANTIZE for a sample that does not fit
 */
export async function migrateScales(task: MigrationTask): Promise<{ graph: Graph; migrations: Map<string, Migration> }> {
  const groups = findMigrations(task.graph, task.plan).filter((group) => task.scope === 'all' || (task.scope === 'auto' && !isBetweenConvolutions(group)));
  const migrations = new Map<string, Migration>();
  if (groups.length === 0 || task.samples.length === 0) return { graph: task.graph, migrations };
  const observed = await observeReaders(task, groups);
  const chosen = new Map<MigrationGroup, Float32Array>();
  for (const group of reported(groups, 'migrate', task.onProgress)) {
    const readers = group.readers.map((layer) => observed.get(layer)).filter((reader) => reader !== undefined);
    const { migration, factors } = search(task, readers, group.channels);
    for (const { output } of group.readers) migrations.set(output, migration);
    if (migration.alpha > 0) chosen.set(group, factors);
  }
  return { graph: migrateChannels(task.graph, chosen), migrations };
}
