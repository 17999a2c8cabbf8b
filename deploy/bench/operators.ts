import { int, ints, type Attribute } from '../../runtime/graph/attributes.js';
import { elementCount, type TensorValue } from '../../runtime/graph/tensor-value.js';
import { serializeModel } from '../../runtime/onnx/serialize.js';
import type { OnnxNode } from '../../runtime/onnx/types.js';
import { runtimeVersion } from '../../runtime/version.js';
import { uniform } from '../compress/random.js';
import type { Bar } from './bars.js';
import { openEntry, summarize, takeTurns, type Contender, type Entry, type Rounds } from './measure.js';

/** Times of one operator, milliseconds, by the label of the contender. */
export interface OperatorTimes {
  name: string;
  p50_ms: Record<string, number>;
  min_ms: Record<string, number>;
  /** onnxruntime's time, divided by native's; above 1 native is faster. The quotient of the minima holds on a busy machine too. */
  speedup_p50: number;
  speedup_min: number;
}

interface Step {
  op: string;
  attributes?: Readonly<Record<string, Attribute>>;
  weights?: readonly (readonly number[])[];
}

/** A chain of operators over one float input of `dims`. */
function chain(dims: readonly number[], steps: readonly Step[]): Uint8Array {
  const next = uniform(1);
  const initializers = new Map<string, TensorValue>();
  const nodes = steps.map(({ op, attributes = {}, weights = [] }, at): OnnxNode => {
    const operands = weights.map((shape, index) => {
      const name = `weights_${at}_${index}`;
      initializers.set(name, { dtype: 'float32', dims: shape, data: Float32Array.from({ length: elementCount(shape) }, () => (next() - 0.5) / 4) });
      return name;
    });
    return { name: `${op}_${at}`, op, domain: '', inputs: [`t${at}`, ...operands], outputs: [`t${at + 1}`], attributes: new Map(Object.entries(attributes)) };
  });
  const port = (name: string) => ({ name, dtype: 'float32' as const, dims });
  return serializeModel({
    irVersion: 9, producerName: 'sterna-bench', producerVersion: runtimeVersion, opsets: new Map([['', 20]]), metadata: new Map(),
    graph: { name: 'operator', nodes, initializers, inputs: [port('t0')], outputs: [port(`t${steps.length}`)], valueInfo: [] },
  });
}

/** One layer of a transformer's encoder with random weights, as exporters write it: attention of `heads` heads, then two linear layers with Gelu between. */
function encoder(length: number, width: number, heads: number): Uint8Array {
  const next = uniform(1);
  const initializers = new Map<string, TensorValue>();
  const nodes: OnnxNode[] = [];
  const add = (op: string, inputs: readonly string[], attributes: Readonly<Record<string, Attribute>> = {}): string => {
    const output = `${op}_${nodes.length}`;
    nodes.push({ name: output, op, domain: '', inputs, outputs: [output], attributes: new Map(Object.entries(attributes)) });
    return output;
  };
  const constant = (value: TensorValue): string => {
    const name = `constant_${initializers.size}`;
    initializers.set(name, value);
    return name;
  };
  const weights = (dims: readonly number[]): string => constant({ dtype: 'float32', dims, data: Float32Array.from({ length: elementCount(dims) }, () => (next() - 0.5) / 8) });
  const shape = (...dims: number[]): string => constant({ dtype: 'int64', dims: [dims.length], data: BigInt64Array.from(dims, BigInt) });
  const normalize = (x: string): string => add('LayerNormalization', [x, weights([width]), weights([width])], { axis: int(-1) });
  const linear = (x: string, from: number, to: number): string => add('Add', [add('MatMul', [x, weights([from, to])]), weights([to])]);
  const head = (x: string, perm: readonly number[]): string => add('Transpose', [add('Reshape', [linear(x, width, width), shape(1, length, heads, width / heads)])], { perm: ints(perm) });
  const normal = normalize('x');
  const [q, k, v] = [head(normal, [0, 2, 1, 3]), head(normal, [0, 2, 3, 1]), head(normal, [0, 2, 1, 3])];
  const scale = constant({ dtype: 'float32', dims: [], data: Float32Array.of(Math.sqrt(heads / width)) });
  const shares = add('Softmax', [add('Mul', [add('MatMul', [q, k]), scale])], { axis: int(-1) });
  const joined = add('Reshape', [add('Transpose', [add('MatMul', [shares, v])], { perm: ints([0, 2, 1, 3]) }), shape(1, length, width)]);
  const attended = add('Add', ['x', linear(joined, width, width)]);
  const y = add('Add', [attended, linear(add('Gelu', [linear(normalize(attended), width, 4 * width)]), 4 * width, width)]);
  const port = (name: string) => ({ name, dtype: 'float32' as const, dims: [1, length, width] });
  return serializeModel({
    irVersion: 9, producerName: 'sterna-bench', producerVersion: runtimeVersion, opsets: new Map([['', 20]]), metadata: new Map(),
    graph: { name: 'encoder', nodes, initializers, inputs: [port('x')], outputs: [port(y)], valueInfo: [] },
  });
}

const map = [1, 64, 64, 64] as const;
const unary = ['Relu', 'Sigmoid', 'Tanh', 'Gelu', 'Erf', 'Elu', 'Selu', 'Celu', 'Mish', 'HardSwish', 'Softplus', 'Round', 'Floor', 'Exp', 'Log', 'Sin', 'Cos'] as const;
const convolution: Step = { op: 'Conv', weights: [[64, 64, 1, 1], [64]], attributes: { kernel_shape: ints([1, 1]) } };

/** Models of one operator on 262,144 floats (softmax: 1330 rows of 197), a convolution with an activation, and encoder layers of known networks. */
export const operatorModels: Readonly<Record<string, () => Uint8Array>> = {
  ...Object.fromEntries(unary.map((op) => [op, () => chain(map, [{ op }])])),
  LayerNormalization: () => chain([1, 1024, 256], [{ op: 'LayerNormalization', attributes: { axis: int(-1) }, weights: [[256], [256]] }]),
  'Softmax(197)': () => chain([1, 1330, 197], [{ op: 'Softmax', attributes: { axis: int(-1) } }]),
  'Conv+Gelu': () => chain(map, [convolution, { op: 'Gelu' }]),
  'Encoder(ViT-tiny)': () => encoder(197, 192, 3),
  'Encoder(wav2vec2)': () => encoder(149, 768, 12),
  'Encoder(Whisper-tiny)': () => encoder(1500, 384, 6),
};

/** The bars: no operator slower than on onnxruntime, by the minima. */
export const operatorBars = (operators: readonly OperatorTimes[]): Bar[] => operators.map(({ name, speedup_min }) => (
  { id: `operator.${name}`, what: `${name}: onnxruntime's time divided by ours`, value: speedup_min, unit: 'x', bar: 1, met: speedup_min >= 1 }
));

/**
 * Times each operator on native and onnxruntime, one thread each; contenders take turns.
 * @throws RuntimeError, KernelError when one of them cannot run an operator
 */
export async function* benchOperators(names: readonly string[], contenders: readonly Contender[], rounds: Rounds): AsyncGenerator<OperatorTimes> {
  for (const name of names) {
    const model = operatorModels[name]?.();
    if (model === undefined) continue;
    const entries: (Entry & { label: string })[] = [];
    try {
      for (const contender of contenders) entries.push({ label: contender.label, ...(await openEntry(model, contender, 1)) });
      await takeTurns(entries, rounds);
      const timesOf = (key: 'p50_ms' | 'min_ms') => Object.fromEntries(entries.map((entry) => [entry.label, summarize(entry)[key]]));
      const speedup = ({ native = NaN, onnxruntime = NaN }: Record<string, number>): number => onnxruntime / native;
      const p50_ms = timesOf('p50_ms');
      const min_ms = timesOf('min_ms');
      yield { name, p50_ms, min_ms, speedup_p50: speedup(p50_ms), speedup_min: speedup(min_ms) };
    } finally {
      for (const { session } of entries) await session.close();
    }
  }
}
