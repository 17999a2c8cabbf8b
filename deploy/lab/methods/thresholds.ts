import { restateBiases } from '../../../runtime/adapt/apply.js';
import { openOnnxRuntime } from '../../../runtime/engines/onnxruntime.js';
import { graphToOnnx } from '../../../runtime/graph/export.js';
import { producersOf, type Graph, type Node } from '../../../runtime/graph/graph.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { elementCount, fromNumbers, toNumbers, type TensorValue, type ValueType } from '../../../runtime/graph/tensor-value.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import type { Session } from '../../../runtime/session-types.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { DeployError } from '../../errors.js';
import { divided } from '../divided.js';
import { rootDistance } from '../losses.js';
import { adamw } from '../optimizers.js';
import { rootMeanSquares } from '../root-mean-squares.js';
import { Trainer } from '../trainer.js';
import { trainingModel } from '../training-model.js';

type Feeds = Readonly<Record<string, Tensor>>;

/** How far a threshold may move from what calibration found, as a factor (FAT, arXiv 1812.07872, section 3). */
const bounds = [0.5, 1.3] as const;

/** Of the factors, for Adam. */
const rate = 1e-3;

export interface ThresholdReport {
  steps: number;
  /** Samples that thresholds were tuned on, and others on which the two models were compared with the float model. */
  tuned_samples: number;
  judged_samples: number;
  /** Energy of the outputs' error over that of the outputs, on the samples judged. */
  error_before: number;
  error_after: number;
  /** Whether the tuned model was better, and is the result. */
  kept: boolean;
}

/** Constant scales that move together: those of one tensor, and those that calibration made equal so that no operator has to rescale. */
interface Group {
  readonly factor: string;
  readonly scales: readonly string[];
}

const scaleOf = (node: Node): string => node.inputs[1] ?? '';
const isQuantization = ({ op }: Node): boolean => op === 'QuantizeLinear' || op === 'DequantizeLinear';

/** Biases follow from the scales of input and weights, and narrow codes from bounds beside the scale: neither is tuned by itself. */
function tunable(graph: Graph): Set<string> {
  const makers = producersOf(graph.nodes);
  const excluded = new Set<string>();
  for (const node of graph.nodes.filter(isQuantization)) {
    const bias = node.op === 'DequantizeLinear' && graph.constants.get(node.inputs[0] ?? '')?.dtype === 'int32';
    const clipped = node.op === 'QuantizeLinear' && makers.get(node.inputs[0] ?? '')?.op === 'Clip';
    if (bias || clipped) excluded.add(scaleOf(node));
  }
  const scales = graph.nodes.filter(isQuantization).map(scaleOf).filter((name) => graph.constants.has(name));
  return new Set(scales.filter((name) => !excluded.has(name)));
}

function groupsOf(graph: Graph): Group[] {
  const byValue = new Map<string, string[]>();
  for (const name of tunable(graph)) {
    const value = graph.constants.get(name);
    if (value === undefined) continue;
    // Equal scales of several channels are no accident either: the same weights may be read twice.
    const key = [...toNumbers(value)].join();
    byValue.set(key, [...(byValue.get(key) ?? []), name]);
  }
  return [...byValue.values()].map((scales, i) => ({ factor: `lab.factor${i}`, scales }));
}

/** The graph with every tunable scale multiplied by a factor within its bounds. Factors are constants of ones. */
function withFactors(graph: Graph, groups: readonly Group[]): Graph {
  const constants = new Map(graph.constants);
  const types = new Map(graph.types);
  const nodes: Node[] = [];
  const renamed = new Map<string, string>();
  for (const [name, value] of [['lab.least', bounds[0]], ['lab.most', bounds[1]]] as const) constants.set(name, fromNumbers('float32', [], [value]));
  for (const { factor, scales } of groups) {
    const dims = constants.get(scales[0] ?? '')?.dims ?? [];
    const type: ValueType = { dtype: 'float32', shape: dims };
    constants.set(factor, fromNumbers('float32', dims, new Float64Array(elementCount(dims)).fill(1)));
    const add = (op: string, inputs: readonly string[], output: string): void => {
      nodes.push({ name: output, op, inputs, outputs: [output], attributes: new Map() });
      types.set(output, type);
    };
    add('Clip', [factor, 'lab.least', 'lab.most'], `${factor}.bounded`);
    for (const scale of scales) {
      renamed.set(scale, `${scale}.tuned`);
      add('Mul', [scale, `${factor}.bounded`], `${scale}.tuned`);
    }
  }
  const moved = graph.nodes.map((node) => (isQuantization(node) ? { ...node, inputs: node.inputs.map((input, i) => (i === 1 ? (renamed.get(input) ?? input) : input)) } : node));
  return { ...graph, nodes: [...nodes, ...moved], constants, types };
}

/** Sizes of scales as they are used: bounded, and in single precision. */
function tunedScales(graph: Graph, groups: readonly Group[], factors: ReadonlyMap<string, Float32Array>): Map<string, TensorValue> {
  return new Map(groups.flatMap(({ factor, scales }) => scales.map((name) => {
    const value = graph.constants.get(name);
    const numbers = value === undefined ? [] : [...toNumbers(value)];
    const own = factors.get(factor);
    return [name, fromNumbers('float32', value?.dims ?? [], numbers.map((scale, i) => scale * Math.min(Math.max(own?.[i] ?? 1, bounds[0]), bounds[1])))] as const;
  })));
}

/** Energy of the difference from the float outputs over that of the float outputs. */
async function errorOf(session: Session, samples: readonly Feeds[], wanted: readonly Feeds[]): Promise<number> {
  let [error, energy] = [0, 0];
  for (const [i, feeds] of samples.entries()) {
    const outputs = await session.run(feeds);
    for (const [name, { data }] of Object.entries(wanted[i] ?? {})) {
      const got = outputs[name]?.data ?? [];
      for (let j = 0; j < data.length; j++) {
        error += (Number(got[j]) - Number(data[j])) ** 2;
        energy += Number(data[j]) ** 2;
      }
    }
  }
  return error / Math.max(energy, 1e-30);
}

async function withSession<T>(bytes: Uint8Array, use: (session: Session) => Promise<T>): Promise<T> {
  const session = await openOnnxRuntime(bytes);
  try {
    return await use(session);
  } finally {
    await session.close();
  }
}

/** The training step: the model with factors, and the distance of its float outputs from those of the float model. */
function stepOf(graph: Graph, groups: readonly Group[], sizes: ReadonlyMap<string, number>): ReturnType<typeof trainingModel> {
  const outputs = graph.outputs.filter((name) => graph.types.get(name)?.dtype === 'float32');
  const inputs = Object.fromEntries(outputs.map((name, i) => [`lab.wanted${i}`, graph.types.get(name) ?? { dtype: 'float32', shape: [] } satisfies ValueType]));
  return trainingModel(withFactors(graph, groups), {
    inputs, weights: groups.map(({ factor }) => factor), keepStatistics: true,
    loss: (m) => outputs.map((name, i) => {
      const unit = 1 / (sizes.get(name) ?? 1);
      return rootDistance(m, m.scale(name, unit), m.scale(`lab.wanted${i}`, unit));
    }).reduce(m.add),
  });
}

/**
 * FAT, fast adjustable thresholds (Goncharenko et al., arXiv 1812.07872): tunes the scales of a quantized model so that its outputs come
 * closer to those of the float model, without labels. Codes of weights stay as they are, zero-points too. The result is kept only if it
 * is better on samples that were not tuned on.
 * @param float the float32 model
 * @param quantized QDQ ONNX that was made from it, with the same inputs and outputs
 * @param samples feeds of both
 * @throws DeployError E_LAB: fewer than ten samples; RuntimeError E_GRADIENT: an operator without a gradient; E_ENGINE_MISSING
 */
export async function tuneThresholds(float: Uint8Array, quantized: Uint8Array, samples: readonly Feeds[], { steps, onStep }: { steps: number; onStep?: (step: number, steps: number, loss: number) => void }): Promise<{ model: Uint8Array; report: ThresholdReport }> {
  if (samples.length < 10) throw new DeployError('E_LAB', `Expected at least 10 samples to tune thresholds on but received ${samples.length}: every fifth one judges the result`);
  const model = parseModel(quantized);
  const graph = inferShapes(graphFromOnnx(model));
  const groups = groupsOf(graph);
  const { tuned, judged } = divided(samples);
  const answers = await withSession(float, async (session) => {
    const all: Feeds[] = [];
    for (const feeds of samples) all.push(Object.fromEntries(Object.entries(await session.run(feeds)).filter(([name, { type }]) => type === 'float32' && graph.outputs.includes(name))));
    return divided(all);
  });
  const names = graph.outputs.filter((name) => graph.types.get(name)?.dtype === 'float32');
  const trainer = await Trainer.open(stepOf(graph, groups, rootMeanSquares(answers.tuned)), {
    steps, optimizer: { ...adamw, decay: 0 }, schedule: { kind: 'cosine' }, rate, warmup: 0.02, clip: Infinity, average: 0.9, threads: 1,
  }, (step) => {
    const at = step % tuned.length;
    const wanted = names.map((name, i) => [`lab.wanted${i}`, answers.tuned[at]?.[name]] as const).flatMap(([name, tensor]) => (tensor === undefined ? [] : [[name, tensor] as const]));
    return { ...tuned[at], ...Object.fromEntries(wanted) };
  });
  try {
    while (trainer.step < steps) {
      const loss = await trainer.advance();
      onStep?.(trainer.step, steps, loss);
    }
    const constants = new Map([...graph.constants, ...tunedScales(graph, groups, trainer.result)]);
    restateBiases(graph, constants);
    const bytes = serializeModel({ ...graphToOnnx({ ...graph, constants }), metadata: model.metadata });
    const [before, after] = [await withSession(quantized, (session) => errorOf(session, judged, answers.judged)), await withSession(bytes, (session) => errorOf(session, judged, answers.judged))];
    const kept = after < before;
    return { model: kept ? bytes : quantized, report: { steps, tuned_samples: tuned.length, judged_samples: judged.length, error_before: before, error_after: after, kept } };
  } finally {
    await trainer.close();
  }
}
