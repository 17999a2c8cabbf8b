/** The student: a small convolutional net over log-mel patches, as one graph that runs it and one that the lab trains. */
import { int, ints } from '../../runtime/graph/attributes.js';
import { graphFromOnnx } from '../../runtime/graph/import.js';
import { elementCount } from '../../runtime/graph/tensor-value.js';
import type { Calculus } from '../../runtime/gradients/rule.js';
import { inferShapes } from '../../runtime/infer/infer.js';
import { parseModel } from '../../runtime/onnx/parse.js';
import { serializeModel } from '../../runtime/onnx/serialize.js';
import { DeployError } from '../errors.js';
import { NetworkWriter } from '../lab/network-writer.js';
import { trainingModel, type TrainingModel } from '../lab/training-model.js';

/** Rows and bands of a patch, as `defaultFeatures` of the lab makes them. */
export const patch = { rows: 96, bands: 64 } as const;

/** Features of -6.9 (silence) to about 3 become -1.5 to 1.8: what the student is fed, and what the manifest of its package says (`normalize`). */
export const patchScale = { mean: -2.5, std: 3 } as const;

interface Layer {
  inputs: number;
  outputs: number;
  kernel: 1 | 3;
  stride: 1 | 2;
}

const layers: readonly Layer[] = [
  { inputs: 1, outputs: 24, kernel: 3, stride: 2 },
  { inputs: 24, outputs: 40, kernel: 3, stride: 2 },
  { inputs: 40, outputs: 64, kernel: 3, stride: 2 },
  { inputs: 64, outputs: 112, kernel: 3, stride: 2 },
  { inputs: 112, outputs: 192, kernel: 1, stride: 1 },
];
/** Means over the last map: what the heads see. */
export const embedded = 192;

export interface StudentShape {
  classes: number;
  /** Values of the teacher's embedding that the student is asked to predict while it learns; 0 without a teacher. */
  teacher: number;
}

export interface Weight {
  dims: readonly number[];
  data: Float32Array;
}
export type Weights = Readonly<Record<string, Weight>>;

function shapesOf({ classes, teacher }: StudentShape): Record<string, readonly number[]> {
  return {
    ...Object.fromEntries(layers.flatMap(({ inputs, outputs, kernel }, i) => [[`w${i}`, [outputs, inputs, kernel, kernel]], [`b${i}`, [outputs]]])),
    classes: [classes, embedded], classBias: [classes], ...(teacher === 0 ? {} : { teacher: [teacher, embedded], teacherBias: [teacher] }),
  };
}

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

/**
 * Weights of a student that was converted to int8, as floats: to go on learning from.
 * @throws RuntimeError E_MODEL_* when it cannot be read; DeployError E_LAB when it is no such student
 */
export function weightsOf(model: Uint8Array, shape: StudentShape): Record<string, Weight> {
  const initializers = [...parseModel(model).graph.initializers];
  const find = (name: string, part: string): ArrayLike<number> => {
    const [, value] = initializers.find(([each]) => each.replaceAll('_equalized', '') === `${name}_${part}`) ?? [];
    if (value === undefined) throw new DeployError('E_LAB', `Expected the weights ${name} of a student in int8 but the model has none`);
    return Float64Array.from(value.data as ArrayLike<number>);
  };
  return Object.fromEntries(Object.entries(shapesOf(shape)).map(([name, dims]) => {
    const [codes, scales] = [find(name, 'quantized'), find(name, 'scale')];
    const size = elementCount(dims);
    if (codes.length !== size) throw new DeployError('E_LAB', `Expected ${size} weights ${name} but the model has ${codes.length}`);
    const each = size / scales.length;
    return [name, { dims, data: Float32Array.from({ length: size }, (_, i) => (codes[i] ?? 0) * (scales[Math.floor(i / each)] ?? 0)) }];
  }));
}

/** Padding before the first pixel, and behind the last: with a stride of 2 over an even size the last window ends with the map. */
const padsOf = ({ kernel, stride }: Layer): [number, number] => (kernel === 1 ? [0, 0] : [1, stride === 1 ? 1 : 0]);

function convolution(net: NetworkWriter, x: string, layer: Layer, i: number): string {
  const [before, after] = padsOf(layer);
  const { kernel, stride } = layer;
  const y = net.node('Conv', [x, `w${i}`, `b${i}`], `conv${i}`, { kernel_shape: ints([kernel, kernel]), strides: ints([stride, stride]), pads: ints([before, before, after, after]) });
  return net.node('Relu', [y], `map${i}`);
}

/** The net up to the means that the heads see, with its weights. */
function netOf(weights: Weights): { net: NetworkWriter; means: string } {
  const net = new NetworkWriter();
  for (const [name, { dims, data }] of Object.entries(weights)) net.weights.set(name, { dtype: 'float32', dims, data });
  const last = layers.reduce((x, layer, i) => convolution(net, x, layer, i), 'patch');
  return { net, means: net.node('Flatten', [net.node('GlobalAveragePool', [last], 'pooled')], 'means', { axis: int(1) }) };
}

const linear = (net: NetworkWriter, x: string, [weight, bias]: readonly [string, string], output: string): string => net.node('Gemm', [x, weight, bias], output, { transB: int(1) });

/** What is shipped: a patch [1, 1, rows, bands] to probabilities [1, classes], which are independent of each other. */
export function studentModel(weights: Weights, { classes }: Pick<StudentShape, 'classes'>): Uint8Array {
  const { net, means } = netOf(shippedOf(weights));
  net.node('Sigmoid', [linear(net, means, ['classes', 'classBias'], 'logits')], 'scores');
  return serializeModel(net.model({ patch: [1, 1, patch.rows, patch.bands] }, { scores: [1, classes] }));
}

/**
 * One step of learning. Inputs: `patch`, `target` [batch, classes], `keep` [batch, 192] (the mask of dropout), with a teacher `embedding`
 * [batch, teacher], and the weights. The loss is the binary cross-entropy of the classes, plus `distill` times the mean square error of the predicted
 * embedding.
 */
export function learningModel(weights: Weights, { classes, teacher }: StudentShape, { batch, distill }: { batch: number; distill: number }): TrainingModel {
  const { net, means } = netOf(weights);
  const taught = teacher > 0;
  const kept = net.node('Mul', [means, 'keep'], 'kept');
  linear(net, kept, ['classes', 'classBias'], 'logits');
  if (taught) linear(net, kept, ['teacher', 'teacherBias'], 'predicted');
  const model = net.model({ patch: [batch, 1, patch.rows, patch.bands], keep: [batch, embedded] }, { logits: [batch, classes], ...(taught ? { predicted: [batch, teacher] } : {}) });
  return trainingModel(inferShapes(graphFromOnnx(model)), {
    inputs: { target: { dtype: 'float32', shape: [batch, classes] }, ...(taught ? { embedding: { dtype: 'float32', shape: [batch, teacher] } as const } : {}) },
    weights: Object.keys(weights),
    loss: (m) => (taught ? m.add(crossEntropy(m, batch), m.scale(m.reduce('ReduceMean', m.square(m.sub('predicted', 'embedding')), [0, 1], false), distill)) : crossEntropy(m, batch)),
  });
}

/** Sum over the classes of softplus(z) - z * target, mean over the batch. */
function crossEntropy(m: Calculus, batch: number): string {
  const each = m.sub(m.op('Softplus', 'logits'), m.mul('logits', 'target'));
  return m.scale(m.reduce('ReduceSum', each, [0, 1], false), 1 / batch);
}
