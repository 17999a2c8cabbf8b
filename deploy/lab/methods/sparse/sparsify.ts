import { GraphEditor } from '../../../../runtime/graph/editor.js';
import { RuntimeError } from '../../../../runtime/errors.js';
import { graphToOnnx } from '../../../../runtime/graph/export.js';
import type { Graph, Node } from '../../../../runtime/graph/graph.js';
import type { ChosenSizes } from '../../../../runtime/graph/open-dimensions.js';
import { firstOutput, withOperand } from '../../../../runtime/graph/operands.js';
import { float32s, fromNumbers, toNumbers, type TensorValue } from '../../../../runtime/graph/tensor-value.js';
import { parseModel } from '../../../../runtime/onnx/parse.js';
import { serializeModel } from '../../../../runtime/onnx/serialize.js';
import { deflate } from '../../../../runtime/package/deflate.js';
import type { Feeds } from '../../../../runtime/quantize/observe/calibrate.js';
import { toRows, type ColumnSample } from '../../../../runtime/quantize/observe/columns.js';
import { planQuantization, weightOperands, type Layer, type WeightOperands } from '../../../../runtime/quantize/prepare/plan.js';
import { prepareGraph } from '../../../../runtime/quantize/prepare/read-model.js';
import { centredCosine, outputsOf } from '../../../../runtime/quantize/report/fidelity.js';
import { covariance, largestBlock, roundingOrder, type RoundingOrder } from '../../../../runtime/quantize/round/gptq.js';
import { observeFloat } from '../../../../runtime/quantize/round/round-layers.js';
import { dequantizeConstant } from '../../../../runtime/quantize/write/insert.js';
import { storeNarrow } from '../../../../runtime/quantize/write/store-narrow.js';
import { createSession } from '../../../../runtime/session.js';
import { sweep, unaware, type Sparsity, type Swept, type WeightGrid } from './sweep.js';

export interface SparsifySettings {
  readonly sparsity?: Sparsity | undefined;
  /** Integers of the weights; left out: they stay float32. */
  readonly weights?: 'int8' | 'int4' | undefined;
  /** Inputs of an output that share a scale, of matrix products; left out: all. */
  readonly group?: number | undefined;
  /** `second-order`: SparseGPT; `magnitude`: the smallest weights go, each integer is the nearest, and nothing is made up for. */
  readonly criterion?: 'second-order' | 'magnitude';
  readonly exclude?: readonly string[];
  readonly sizes?: ChosenSizes;
  onLayer?(done: number, total: number): void;
}

export interface SparseLayer {
  layer: string;
  op: string;
  weights: number;
  /** Share of the weights that are zero. */
  zeros: number;
  /** Error of the layer's output, as a share of what its weights make of the inputs without their means; null without samples of it. */
  error: number | null;
}

export interface SparsifyReport {
  criterion: 'second-order' | 'magnitude';
  layers: SparseLayer[];
  /** Of all weights of the layers, the untouched ones included. */
  zeros: number;
  bytes_before: number;
  bytes_after: number;
  /** What the file takes in a package, which compresses it. */
  packed_before: number;
  packed_after: number;
  /** Cosine of the outputs without their mean over the samples, on every fifth sample, which nothing was set by; null with fewer than five. */
  agreement: number | null;
  judged_samples: number;
}

/** Layers of fewer weights an output are left alone: they have little to give, and depthwise ones suffer most. */
const fewestInputs = 16;

/** Sessions are opened this often, so that a layer sees what became of most layers before it. */
const stages = 32;

interface Chosen {
  readonly layer: Layer;
  readonly operands: WeightOperands;
  readonly weights: TensorValue;
}

function chosenLayers(graph: Graph, exclude: readonly string[]): Chosen[] {
  const uses = new Map<string, number>();
  for (const { inputs } of graph.nodes) for (const input of inputs) uses.set(input, (uses.get(input) ?? 0) + 1);
  return planQuantization(graph, new Set(exclude)).layers.flatMap((layer) => {
    const operands = weightOperands(graph, layer.node);
    const weights = operands === undefined ? undefined : graph.constants.get(operands.weights);
    if (layer.kind !== 'weighted' || operands === undefined || weights === undefined || operands.group !== 1 || uses.get(operands.weights) !== 1) return [];
    return weights.data.length / (weights.dims[operands.axis] ?? 1) < fewestInputs ? [] : [{ layer, operands, weights }];
  });
}

/** Means of the columns, and their mean products: about their means where a bias can take these up. */
function momentsOf({ values, count, layout: { depth } }: ColumnSample, hasBias: boolean): { h: Float64Array; means: Float64Array } {
  const h = covariance(values, { count, stride: depth, first: 0, depth });
  const means = new Float64Array(depth);
  for (let c = 0; c < count; c++) for (let k = 0; k < depth; k++) means[k] = (means[k] ?? 0) + (values[c * depth + k] ?? 0) / count;
  if (!hasBias) for (let i = 0; i < depth; i++) for (let j = 0; j < depth; j++) h[i * depth + j] = (h[i * depth + j] ?? 0) + (means[i] ?? 0) * (means[j] ?? 0);
  return { h, means };
}

/** Sum over the rows of v H v'. */
function energy(rows: ArrayLike<number>, h: Float64Array, depth: number): number {
  let sum = 0;
  for (let start = 0; start < rows.length; start += depth) {
    for (let i = 0; i < depth; i++) {
      const v = rows[start + i] ?? 0;
      if (v === 0) continue;
      for (let j = 0; j < depth; j++) sum += v * (h[i * depth + j] ?? 0) * (rows[start + j] ?? 0);
    }
  }
  return sum;
}

/** [outputs][depth] back to how the layer has them. */
const asStored = (rows: ArrayLike<number>, outputs: number, axis: number): Float64Array => {
  const depth = rows.length / outputs;
  return Float64Array.from({ length: rows.length }, (_, i) => rows[axis === 0 ? i : (i % outputs) * depth + Math.floor(i / outputs)] ?? 0);
};

interface Changed {
  readonly swept: Swept;
  readonly bias: Float32Array | undefined;
  readonly report: SparseLayer;
}

function changeLayer({ layer, operands, weights }: Chosen, columns: ColumnSample, graph: Graph, settings: SparsifySettings): Changed {
  const outputs = weights.dims[operands.axis] ?? 1;
  const rows = toRows(toNumbers(weights), outputs, operands.axis);
  const depth = rows.length / outputs;
  const hasBias = layer.node.op !== 'MatMul';
  const { h, means } = momentsOf(columns, hasBias);
  const aware = settings.criterion !== 'magnitude';
  const order: RoundingOrder = aware ? roundingOrder(h, depth, columns.count, { inOrder: true }) : unaware(depth);
  const swept = sweep(rows, order, { sparsity: settings.sparsity, grid: gridOf(settings, weights.dims.length), ...(aware ? {} : { block: depth }) });
  const lost = rows.map((w, i) => w - (swept.rows[i] ?? 0));
  const stored = operands.bias === undefined ? undefined : graph.constants.get(operands.bias);
  const bias = !aware || !hasBias ? undefined : Float32Array.from({ length: outputs }, (_, o) => {
    let value = Number(stored?.data[o] ?? 0);
    for (let k = 0; k < depth; k++) value += (lost[o * depth + k] ?? 0) * (means[k] ?? 0);
    return value;
  });
  const all = energy(rows, h, depth);
  const zeros = swept.rows.reduce((sum, w) => sum + (w === 0 ? 1 : 0), 0) / rows.length;
  return { swept, bias, report: { layer: layer.name, op: layer.op, weights: rows.length, zeros, error: all === 0 ? null : energy(lost, h, depth) / all } };
}

/** Scales of groups are for matrices. */
function gridOf({ weights, group }: SparsifySettings, rank: number): WeightGrid | undefined {
  if (weights === undefined) return undefined;
  return { largest: weights === 'int8' ? 127 : 7, group: rank === 2 ? group : undefined };
}

function withBias(node: Node, bias: Float32Array | undefined, constants: Map<string, TensorValue>): Node {
  if (bias === undefined) return node;
  const name = `${firstOutput(node)}.bias`;
  constants.set(name, float32s(bias));
  return { ...node, inputs: withOperand(node.inputs, 2, name) };
}

/** Weights as integers with their scales, in front of the layers that read them. */
function quantized(graph: Graph, chosen: readonly Chosen[], changes: ReadonlyMap<string, Changed>, settings: SparsifySettings): Graph {
  if (settings.weights === undefined) return graph;
  const editor = new GraphEditor(graph);
  const levels = new Map<string, number>();
  for (const { operands: { weights: name, axis }, weights } of chosen) {
    const { codes, scales } = changes.get(name)?.swept ?? {};
    if (codes === undefined || scales === undefined) continue;
    const outputs = weights.dims[axis] ?? 1;
    const groups = scales.length / outputs;
    const stored = fromNumbers('int8', weights.dims, asStored(codes, outputs, axis));
    const blocks = groups === 1 ? undefined : { size: settings.group ?? 0, dims: axis === 0 ? [outputs, groups] : [groups, outputs] };
    const readers = editor.consumers(name);
    const restored = dequantizeConstant(editor, name, stored, Float32Array.from(asStored(scales, outputs, groups === 1 ? 0 : axis)), { axis: groups === 1 ? axis : 1 - axis, blocks });
    for (const reader of readers) editor.replace(reader, { inputs: reader.inputs.map((input) => (input === name ? restored : input)) });
    if (settings.weights === 'int4') levels.set(editor.producer(restored)?.inputs[0] ?? '', 15);
  }
  return storeNarrow(editor.finish(), levels);
}

async function agreementOf(before: Graph, after: Uint8Array, samples: readonly Feeds[]): Promise<number | null> {
  if (samples.length === 0) return null;
  const outputs = async (bytes: Uint8Array): Promise<Feeds[]> => {
    const session = await createSession(bytes, { engine: 'onnxruntime' });
    return outputsOf(session, samples).finally(() => session.close());
  };
  return centredCosine(await outputs(serializeModel(graphToOnnx(before))), await outputs(after));
}

/**
 * Sets weights of convolutions and matrix products to zero, or to integers, or both, without labels and without training: front to back, each layer by what
 * the changed layers before it make of the samples. The model computes as before; what shrinks is its package.
 * @param samples every fifth judges the result
 * @throws RuntimeError E_QUANTIZE: a model without such layers, or no samples; E_MODEL_*
 */
export async function sparsify(bytes: Uint8Array, samples: readonly Feeds[], settings: SparsifySettings): Promise<{ model: Uint8Array; report: SparsifyReport }> {
  const original = prepareGraph(parseModel(bytes), settings.sizes ?? {});
  const judged = samples.length < 5 ? [] : samples.filter((_, i) => i % 5 === 4);
  const seen = samples.length < 5 ? samples : samples.filter((_, i) => i % 5 !== 4);
  if (seen.length === 0) throw new RuntimeError('E_QUANTIZE', 'Expected at least one sample but received none');
  const chosen = chosenLayers(original, settings.exclude ?? []);
  if (chosen.length === 0) throw new RuntimeError('E_QUANTIZE', `The model has no convolution or matrix product with constant weights, at least ${fewestInputs} for each output`);
  let graph = original;
  const changes = new Map<string, Changed>();
  const size = Math.ceil(chosen.length / stages);
  for (let start = 0; start < chosen.length; start += size) {
    const stage = chosen.slice(start, start + size);
    // The layers' nodes change with their biases; what they read does not.
    const columns = await observeFloat({ graph, samples: seen, engine: undefined }, stage.map(({ layer }) => layer));
    const constants = new Map(graph.constants);
    const replaced = new Map<string, Node>();
    for (const each of stage) {
      const sample = columns.get(each.layer);
      settings.onLayer?.(changes.size, chosen.length);
      if (sample === undefined || sample.layout.depth > largestBlock) continue;
      const change = changeLayer(each, sample, graph, settings);
      changes.set(each.operands.weights, change);
      constants.set(each.operands.weights, fromNumbers('float32', each.weights.dims, asStored(change.swept.rows, sample.layout.outputs, each.operands.axis)));
      replaced.set(firstOutput(each.layer.node), withBias(each.layer.node, change.bias, constants));
    }
    graph = { ...graph, constants, nodes: graph.nodes.map((node) => replaced.get(firstOutput(node)) ?? node) };
  }
  const model = serializeModel(graphToOnnx(quantized(graph, chosen, changes, settings)));
  const layers = [...changes.values()].map(({ report }) => report);
  const total = planQuantization(original).layers.reduce((sum, { node }) => sum + (original.constants.get(weightOperands(original, node)?.weights ?? '')?.data.length ?? 0), 0);
  const packed = (data: Uint8Array): number => (deflate(data) ?? data).length;
  return {
    model,
    report: {
      criterion: settings.criterion ?? 'second-order', layers, zeros: layers.reduce((sum, { zeros, weights }) => sum + zeros * weights, 0) / total,
      bytes_before: bytes.length, bytes_after: model.length, packed_before: packed(bytes), packed_after: packed(model), agreement: await agreementOf(original, model, judged), judged_samples: judged.length,
    },
  };
}
