import { int, ints, type Attribute } from '../../runtime/graph/attributes.js';
import { elementCount, type TensorValue } from '../../runtime/graph/tensor-value.js';
import { serializeModel } from '../../runtime/onnx/serialize.js';
import type { OnnxNode } from '../../runtime/onnx/types.js';
import { runtimeVersion } from '../../runtime/version.js';
import { uniform } from '../compress/random.js';
import type { Bar } from './bars.js';
import { blockModels, linearFormats, type LinearFormat } from './blocks.js';
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

const map = [1, 64, 64, 64] as const;
const unary = ['Relu', 'Sigmoid', 'Tanh', 'Gelu', 'Erf', 'Elu', 'Selu', 'Celu', 'Mish', 'HardSwish', 'Softplus', 'Round', 'Floor', 'Exp', 'Log', 'Sin', 'Cos'] as const;
const convolution: Step = { op: 'Conv', weights: [[64, 64, 1, 1], [64]], attributes: { kernel_shape: ints([1, 1]) } };

const networkName = (name: string, format: LinearFormat): string => `Network(${name}${format === 'float32' ? '' : `, ${format}`})`;

/** Models of one operator on 262,144 floats (softmax: 1330 rows of 197), a convolution with an activation, and networks of attention and linear layers. */
export const operatorModels: Readonly<Record<string, () => Uint8Array>> = {
  ...Object.fromEntries(unary.map((op) => [op, () => chain(map, [{ op }])])),
  LayerNormalization: () => chain([1, 1024, 256], [{ op: 'LayerNormalization', attributes: { axis: int(-1) }, weights: [[256], [256]] }]),
  'Softmax(197)': () => chain([1, 1330, 197], [{ op: 'Softmax', attributes: { axis: int(-1) } }]),
  'Conv+Gelu': () => chain(map, [convolution, { op: 'Gelu' }]),
  ...Object.fromEntries(linearFormats.flatMap((format) => Object.entries(blockModels).map(([name, make]) => [networkName(name, format), () => make(format)]))),
};

/** What networks have to reach over onnxruntime: all of a format together (geometric mean), and the slowest. */
const networkBars: Readonly<Record<LinearFormat, { mean: number; worst: number }>> = { float32: { mean: 1.1, worst: 0.95 }, 'dynamic int8': { mean: 1.3, worst: 1.3 } };

/** The networks of a format that were timed. */
function barsOfNetworks(operators: readonly OperatorTimes[], format: LinearFormat): Bar[] {
  const timed = operators.filter(({ name }) => Object.keys(blockModels).some((network) => networkName(network, format) === name)).map(({ speedup_min }) => speedup_min);
  if (timed.length === 0) return [];
  const { mean, worst } = networkBars[format];
  const reached = Math.exp(timed.reduce((sum, speedup) => sum + Math.log(speedup), 0) / timed.length);
  const slowest = Math.min(...timed);
  const what = `${timed.length} networks, ${format}: onnxruntime's time divided by ours`;
  return [
    { id: `networks.${format}.mean`, what: `${what}, geometric mean`, value: reached, unit: 'x', bar: mean, met: reached >= mean },
    { id: `networks.${format}.worst`, what: `${what}, the slowest`, value: slowest, unit: 'x', bar: worst, met: slowest >= worst },
  ];
}

/** The bars, by the minima: no operator slower than on onnxruntime, and networks faster. */
export const operatorBars = (operators: readonly OperatorTimes[]): Bar[] => [
  ...operators.filter(({ name }) => !name.startsWith('Network(')).map(({ name, speedup_min }): Bar => (
    { id: `operator.${name}`, what: `${name}: onnxruntime's time divided by ours`, value: speedup_min, unit: 'x', bar: 1, met: speedup_min >= 1 }
  )),
  ...linearFormats.flatMap((format) => barsOfNetworks(operators, format)),
];

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
