/** The student: a small convolutional net over log-mel patches, as one graph that runs it and one that the lab trains. */
import { int, ints } from '../../runtime/graph/attributes.js';
import { graphFromOnnx } from '../../runtime/graph/import.js';
import { elementCount } from '../../runtime/graph/tensor-value.js';
import type { Calculus } from '../../runtime/gradients/rule.js';
import { inferShapes } from '../../runtime/infer/infer.js';
import { parseModel } from '../../runtime/onnx/parse.js';
import { serializeModel } from '../../runtime/onnx/serialize.js';
import { DeployError } from '../errors.js';
import { labelLoss, type LossSettings } from '../lab/losses.js';
import { NetworkWriter } from '../lab/network-writer.js';
import { trainingModel, type TrainingModel } from '../lab/training-model.js';

/** Rows and bands of a patch, as `defaultFeatures` of the lab makes them. */
export const patch = { rows: 96, bands: 64 } as const;

/** Features of -6.9 (silence) to about 3 become -1.5 to 1.8: what the student is fed, and what the manifest of its package says (`normalize`). */
export const patchScale = { mean: -2.5, std: 3 } as const;

/** A convolution with ReLU behind it; kernel and stride are the same along time and frequency. */
export interface Layer {
  inputs: number;
  outputs: number;
  kernel: number;
  stride: number;
  /** Groups of channels; as many as inputs for a depthwise convolution. */
  group: number;
  /** Rows and columns of zeros before the map, and behind it. */
  pads: readonly [number, number];
}

export type Pool = 'mean' | 'max';

/** Layers one after the other, and what the heads see of the last map. */
export interface Net {
  layers: readonly Layer[];
  /** Over time and frequency, for each channel. */
  pools: readonly Pool[];
  /** A feature is fed as (feature - mean) / std. */
  scale: { readonly mean: number; readonly std: number };
}

/** With a stride of 2 over an even size the last window ends with the map. */
const plain = (inputs: number, outputs: number, kernel: 1 | 3, stride: 1 | 2): Layer => ({ inputs, outputs, kernel, stride, group: 1, pads: kernel === 1 ? [0, 0] : [1, stride === 1 ? 1 : 0] });

/** The net that begins with random weights. */
export const ownNet: Net = {
  layers: [plain(1, 24, 3, 2), plain(24, 40, 3, 2), plain(40, 64, 3, 2), plain(64, 112, 3, 2), plain(112, 192, 1, 1)], pools: ['mean'], scale: patchScale,
};

/** Channels of the last map. */
export const channelsOf = ({ layers }: Net): number => layers.at(-1)?.outputs ?? 0;

export interface StudentShape {
  classes: number;
  /** Values of the teacher's embedding that the student is asked to predict while it learns; 0 without a teacher. */
  teacher: number;
  /** `ownNet` if left out. */
  net?: Net;
}

/** What the student minimizes of the classes: each by itself (`binary`), or one of them (losses of the lab). */
export type ClassLoss = { readonly kind: 'binary' } | LossSettings;

export interface Weight {
  dims: readonly number[];
  data: Float32Array;
}
export type Weights = Readonly<Record<string, Weight>>;

/** Weights of a head by what they read: the first pool's are named after the head alone. */
export const headWeight = (head: string, pool: Pool, i: number): string => (i === 0 ? head : `${head}-${pool}`);

function shapesOf({ classes, teacher, net = ownNet }: StudentShape): Record<string, readonly number[]> {
  const channels = channelsOf(net);
  const head = (name: string, bias: string, size: number): [string, number[]][] => [...net.pools.map((pool, i): [string, number[]] => [headWeight(name, pool, i), [size, channels]]), [bias, [size]]];
  return Object.fromEntries([
    ...net.layers.flatMap(({ inputs, outputs, kernel, group }, i): [string, number[]][] => [[`w${i}`, [outputs, inputs / group, kernel, kernel]], [`b${i}`, [outputs]]]),
    ...head('classes', 'classBias', classes), ...(teacher === 0 ? [] : head('teacher', 'teacherBias', teacher)),
  ]);
}

/** Parameters of what is shipped of a student of this shape. */
export const parametersIn = (shape: StudentShape): number => Object.values(shapesOf({ ...shape, teacher: 0 })).reduce((sum, dims) => sum + elementCount(dims), 0);

/** All weights but those of the teacher's head. */
const shippedOf = (weights: Weights): Weights => Object.fromEntries(Object.entries(weights).filter(([name]) => !name.startsWith('teacher')));

/** Parameters of what is shipped. */
export const parametersOf = (weights: Weights): number => Object.values(shippedOf(weights)).reduce((sum, { data }) => sum + data.length, 0);

/** Weights that keep the variance of what flows through (He et al., arXiv 1502.01852); biases of 0. */
export function initialWeights(shape: StudentShape, random: () => number): Record<string, Weight> {
  return Object.fromEntries(Object.entries(shapesOf(shape)).map(([name, dims]) => {
    const bound = dims.length === 1 ? 0 : Math.sqrt(6 / elementCount(dims.slice(1)));
    return [name, { dims, data: Float32Array.from({ length: elementCount(dims) }, () => bound * (2 * random() - 1)) }];
  }));
}

/** Layers that are given (`w0`, `b0` ...) under heads of 0, which change nothing in them before they have learned something themselves. */
export function givenWeights(shape: StudentShape, layers: Weights): Record<string, Weight> {
  return Object.fromEntries(Object.entries(shapesOf(shape)).map(([name, dims]) => [name, layers[name] ?? { dims, data: new Float32Array(elementCount(dims)) }]));
}

/**
 * Weights of a student that was converted to int8, as floats: to go on learning from.
 * @throws RuntimeError E_MODEL_* when it cannot be read; DeployError E_LAB when it is no such student
 */
export function weightsOf(model: Uint8Array, shape: StudentShape): Record<string, Weight> {
  const initializers = [...parseModel(model).graph.initializers];
  const named = (wanted: string): ArrayLike<number> | undefined => {
    const [, value] = initializers.find(([each]) => each.replaceAll('_equalized', '') === wanted) ?? [];
    return value === undefined ? undefined : Float64Array.from(value.data as ArrayLike<number>);
  };
  return Object.fromEntries(Object.entries(shapesOf(shape)).map(([name, dims]) => {
    // What stays float has neither codes nor scales.
    const [codes, scales] = [named(`${name}_quantized`) ?? named(name), named(`${name}_scale`) ?? [1]];
    if (codes === undefined) throw new DeployError('E_LAB', `Expected the weights ${name} of a student in int8 but the model has none`);
    const size = elementCount(dims);
    if (codes.length !== size) throw new DeployError('E_LAB', `Expected ${size} weights ${name} but the model has ${codes.length}`);
    const each = size / scales.length;
    return [name, { dims, data: Float32Array.from({ length: size }, (_, i) => (codes[i] ?? 0) * (scales[Math.floor(i / each)] ?? 0)) }];
  }));
}

function convolution(net: NetworkWriter, x: string, { kernel, stride, group, pads: [before, after] }: Layer, i: number): string {
  const y = net.node('Conv', [x, `w${i}`, `b${i}`], `conv${i}`, { kernel_shape: ints([kernel, kernel]), strides: ints([stride, stride]), pads: ints([before, before, after, after]), group: int(group) });
  return net.node('Relu', [y], `map${i}`);
}

const pooling = { mean: 'GlobalAveragePool', max: 'GlobalMaxPool' } as const satisfies Record<Pool, string>;

/** The net up to the pools that the heads see, with its weights. @param onlyHeads the pools are inputs, and layers are left out */
function writtenNet(weights: Weights, { layers, pools }: Net, onlyHeads = false): { net: NetworkWriter; seen: string[] } {
  const net = new NetworkWriter();
  for (const [name, { dims, data }] of Object.entries(weights)) if (!onlyHeads || !isLayer(name)) net.weights.set(name, { dtype: 'float32', dims, data });
  if (onlyHeads) return { net, seen: seenOf({ pools }) };
  const last = layers.reduce((x, layer, i) => convolution(net, x, layer, i), 'patch');
  return { net, seen: pools.map((pool) => net.node('Flatten', [net.node(pooling[pool], [last], `pooled-${pool}`)], `of-${pool}`, { axis: int(1) })) };
}

/** A linear layer over all pools. Each has a product of its own, because maxima are larger than means and share no scale with them in int8. */
function linear(net: NetworkWriter, pools: readonly Pool[], seen: readonly string[], [head, bias]: readonly [string, string], output: string): void {
  seen.reduce((sum, x, i) => {
    const last = i === seen.length - 1;
    const weight = headWeight(head, pools[i] ?? 'mean', i);
    if (i === 0) return net.node('Gemm', [x, weight, bias], last ? output : `${output}-0`, { transB: int(1) });
    return net.node('Add', [sum, net.node('Gemm', [x, weight], `${output}-part${i}`, { transB: int(1) })], last ? output : `${output}-${i}`);
  }, '');
}

/** What is shipped: a patch [1, 1, rows, bands] to probabilities [1, classes]: independent of each other after a loss of the kind `binary`, and with a sum of 1 after others. */
export function studentModel(weights: Weights, { classes, net: shape = ownNet }: Pick<StudentShape, 'classes' | 'net'>, loss: ClassLoss = { kind: 'binary' }): Uint8Array {
  const { net, seen } = writtenNet(shippedOf(weights), shape);
  linear(net, shape.pools, seen, ['classes', 'classBias'], 'logits');
  if (loss.kind === 'binary') net.node('Sigmoid', ['logits'], 'scores');
  else net.node('Softmax', ['logits'], 'scores', { axis: int(1) });
  return serializeModel(net.model({ patch: [1, 1, patch.rows, patch.bands] }, { scores: [1, classes] }));
}

/** Names of the nodes at both ends of a student: the convolution that reads the features, and the head. */
export const edgeNodes = ({ pools }: Pick<Net, 'pools'>): string[] => ['conv0', 'logits', ...(pools.length < 2 ? [] : ['logits-0']), ...pools.slice(1).flatMap((_, i) => [`logits-part${i + 1}`, ...(i + 2 < pools.length ? [`logits-${i + 1}`] : [])])];

/** The net up to what the heads see: a patch to the pools [1, channels] of its last map, named by `seenOf`. */
export function poolsModel(weights: Weights, { net: shape = ownNet }: Pick<StudentShape, 'net'>): Uint8Array {
  const { net, seen } = writtenNet(Object.fromEntries(Object.entries(weights).filter(([name]) => isLayer(name))), shape);
  return serializeModel(net.model({ patch: [1, 1, patch.rows, patch.bands] }, Object.fromEntries(seen.map((name) => [name, [1, channelsOf(shape)]]))));
}

/** Whether a weight belongs to a layer, and not to a head. */
export const isLayer = (name: string): boolean => /^[wb]\d+$/.test(name);

/** Names of the pools that the heads see. */
export const seenOf = ({ pools }: Pick<Net, 'pools'>): string[] => pools.map((pool) => `of-${pool}`);

export interface LearningSettings {
  batch: number;
  /** Weight of the teacher's embedding in the loss. */
  distill: number;
  loss?: ClassLoss;
  /** So many of the first layers stay as they are. With all of them, the inputs are the pools (`seenOf`) instead of patches: what stays need not be computed anew. */
  frozen?: number;
}

/**
 * One step of learning. Inputs: `patch` (or the pools), `target` [batch, classes], `keep` [batch, channels] (the mask of dropout), with a teacher `embedding`
 * [batch, teacher], and the weights. The loss is that of the classes, plus `distill` times the mean square error of the predicted embedding.
 */
export function learningModel(weights: Weights, { classes, teacher, net: shape = ownNet }: StudentShape, { batch, distill, loss = { kind: 'binary' }, frozen = 0 }: LearningSettings): TrainingModel {
  const onlyHeads = frozen >= shape.layers.length;
  const { net, seen } = writtenNet(weights, shape, onlyHeads);
  const taught = teacher > 0 && distill > 0;
  const kept = seen.map((x, i) => net.node('Mul', [x, 'keep'], `kept-${i}`));
  linear(net, shape.pools, kept, ['classes', 'classBias'], 'logits');
  if (taught) linear(net, shape.pools, kept, ['teacher', 'teacherBias'], 'predicted');
  const still = new Set(Array.from({ length: frozen }, (_, i) => [`w${i}`, `b${i}`]).flat());
  const inputs = onlyHeads ? Object.fromEntries(seen.map((name) => [name, [batch, channelsOf(shape)]])) : { patch: [batch, 1, patch.rows, patch.bands] };
  const model = net.model({ ...inputs, keep: [batch, channelsOf(shape)] }, { logits: [batch, classes], ...(taught ? { predicted: [batch, teacher] } : {}) });
  return trainingModel(inferShapes(graphFromOnnx(model)), {
    inputs: { target: { dtype: 'float32', shape: [batch, classes] }, ...(taught ? { embedding: { dtype: 'float32', shape: [batch, teacher] } as const } : {}) },
    weights: Object.keys(weights).filter((name) => !still.has(name) && (taught || !name.startsWith('teacher'))),
    loss(m) {
      const ofClasses = loss.kind === 'binary' ? binary(m, batch) : labelLoss(m, loss, 'logits', 'target');
      return taught ? m.add(ofClasses, m.scale(m.reduce('ReduceMean', m.square(m.sub('predicted', 'embedding')), [0, 1], false), distill)) : ofClasses;
    },
  });
}

/** Sum over the classes of softplus(z) - z * target, mean over the batch: binary cross-entropy. */
function binary(m: Calculus, batch: number): string {
  const each = m.sub(m.op('Softplus', 'logits'), m.mul('logits', 'target'));
  return m.scale(m.reduce('ReduceSum', each, [0, 1], false), 1 / batch);
}
