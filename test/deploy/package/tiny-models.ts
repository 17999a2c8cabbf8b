import { serializeModel } from '../../../runtime/onnx/serialize.js';
import type { OnnxGraph, OnnxNode } from '../../../runtime/onnx/types.js';
import type { TensorValue } from '../../../runtime/graph/tensor-value.js';

/** A head of `meanModel`: global mean of each channel, times `weights` [out][in], plus `bias` [out], reshaped to `dims`. */
export interface Head {
  name: string;
  weights: number[][];
  bias: number[];
  dims: number[];
}

const node = (op: string, inputs: string[], output: string): OnnxNode =>
  ({ name: `${op}_${output}`, op, domain: '', inputs, outputs: [output], attributes: new Map() });

const floats = (dims: number[], data: number[]): TensorValue => ({ dtype: 'float32', dims, data: Float32Array.from(data) });

/** A model of the mean of each channel. */
export function meanModel(input: number[], heads: readonly Head[]): Uint8Array {
  const nodes = [node('GlobalAveragePool', ['input'], 'mean')];
  const initializers = new Map<string, TensorValue>();
  for (const { name, weights, bias, dims } of heads) {
    initializers.set(`${name}_w`, floats([bias.length, weights[0]?.length ?? 0, 1, 1], weights.flat()));
    initializers.set(`${name}_b`, floats([bias.length], bias));
    initializers.set(`${name}_dims`, { dtype: 'int64', dims: [dims.length], data: BigInt64Array.from(dims, BigInt) });
    nodes.push(node('Conv', ['mean', `${name}_w`, `${name}_b`], `${name}_flat`), node('Reshape', [`${name}_flat`, `${name}_dims`], name));
  }
  const graph: OnnxGraph = {
    name: 'tiny', nodes, initializers, valueInfo: [],
    inputs: [{ name: 'input', dtype: 'float32', dims: input }],
    outputs: heads.map(({ name, dims }) => ({ name, dtype: 'float32', dims })),
  };
  return serializeModel({ irVersion: 8, producerName: 'sterna-test', producerVersion: '', opsets: new Map([['', 13]]), metadata: new Map(), graph });
}

const zeros = (rows: number, columns: number): number[][] => Array.from({ length: rows }, () => new Array<number>(columns).fill(0));

/** 68 points of a frontal face as shares of the crop; only those that alignment uses matter. */
function frontal(): number[] {
  const points = new Array<number>(136).fill(0.5);
  const put = (index: number, x: number, y: number): void => void points.splice(index * 2, 2, x, y);
  for (let i = 36; i < 42; i++) put(i, 0.34, 0.46);
  for (let i = 42; i < 48; i++) put(i, 0.66, 0.46);
  put(30, 0.5, 0.64);
  put(48, 0.37, 0.82);
  put(54, 0.63, 0.82);
  return points;
}

/** An embedder with an inner layer of 16 products an output, which may have fewer than eight bits. */
export function deepEmbedder(): Uint8Array {
  const widths = [3, 16, 16, 4];
  const nodes = [node('GlobalAveragePool', ['input'], 'relu0')];
  const initializers = new Map<string, TensorValue>();
  for (let i = 1; i < widths.length; i++) {
    const [depth = 0, outputs = 0] = widths.slice(i - 1);
    initializers.set(`w${i}`, floats([outputs, depth, 1, 1], Array.from({ length: outputs * depth }, (_, k) => Math.sin(7 * k + i) / Math.sqrt(depth))));
    initializers.set(`b${i}`, floats([outputs], new Array<number>(outputs).fill(0.1)));
    nodes.push(node('Conv', [`relu${i - 1}`, `w${i}`, `b${i}`], `conv${i}`), node('Relu', [`conv${i}`], `relu${i}`));
  }
  nodes.splice(-1, 1, node('Flatten', ['conv3'], 'output'));
  const graph: OnnxGraph = {
    name: 'deep', nodes, initializers, valueInfo: [],
    inputs: [{ name: 'input', dtype: 'float32', dims: [1, 3, 112, 112] }],
    outputs: [{ name: 'output', dtype: 'float32', dims: [1, 4] }],
  };
  return serializeModel({ irVersion: 8, producerName: 'sterna-test', producerVersion: '', opsets: new Map([['', 13]]), metadata: new Map(), graph });
}

/** Whatever it sees, this detector finds one face in the middle; the embedder tells colours apart. */
export function tinyModels(): Record<'detector' | 'landmarks' | 'embedder', Uint8Array> {
  return {
    detector: meanModel([1, 3, 24, 32], [
      { name: 'scores', weights: zeros(2, 3), bias: [0.1, 0.9], dims: [1, 1, 2] },
      { name: 'boxes', weights: zeros(4, 3), bias: [0.25, 0.25, 0.75, 0.75], dims: [1, 1, 4] },
    ]),
    landmarks: meanModel([1, 1, 16, 16], [{ name: 'output', weights: zeros(136, 1), bias: frontal(), dims: [1, 136] }]),
    embedder: meanModel([1, 3, 112, 112], [{ name: 'output', weights: [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, -0.5, 0.25]], bias: [0, 0, 0, 0.5], dims: [1, 4] }]),
  };
}
