import { producersOf, removeDead, typeOf, type Graph } from '../../../runtime/graph/graph.js';
import { elementCount, fromNumbers, type ValueType } from '../../../runtime/graph/tensor-value.js';
import { openPart, type Feeds } from '../../../runtime/quantize/observe/calibrate.js';
import type { Session } from '../../../runtime/session-types.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { inRounds, randomOf } from '../examples.js';
import { adamw } from '../optimizers.js';
import { rebatched } from '../rebatch.js';
import { Trainer } from '../trainer.js';
import { recurrentWeights, trainingModel } from '../training-model.js';
import { findDependencies } from './dependencies.js';

export interface TuneSettings {
  readonly steps: number;
  /** Peak of the learning rate. */
  readonly rate: number;
  readonly batch: number;
  readonly seed: number;
  readonly threads: number;
  onStep?(step: number, steps: number, loss: number): void;
}

/** Functions that hide how far apart two large values are. */
const squashing: ReadonlySet<string> = new Set(['Softmax', 'LogSoftmax', 'Sigmoid', 'Tanh', 'HardSigmoid']);
const movers: ReadonlySet<string> = new Set(['Identity', 'Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Transpose']);

/** What the student is to copy: the outputs, and the values in front of a last softmax or sigmoid. */
export function targetsOf(graph: Graph): string[] {
  const makers = producersOf(graph.nodes);
  const targets = graph.outputs.filter((name) => typeOf(graph, name).dtype === 'float32');
  return [...new Set(targets.flatMap((output) => {
    let maker = makers.get(output);
    while (maker !== undefined && movers.has(maker.op)) maker = makers.get(maker.inputs[0] ?? '');
    const before = maker !== undefined && squashing.has(maker.op) ? (maker.inputs[0] ?? '') : '';
    return makers.has(before) ? [output, before] : [output];
  }))];
}

/** How much each target varies between samples: root mean square of what is left of it without its mean over the samples. */
async function spreads(session: Session, targets: readonly string[], samples: readonly Feeds[]): Promise<Map<string, number>> {
  const sums = new Map<string, { sum: Float64Array; energy: number }>();
  for (const feeds of samples) {
    const results = await session.run(feeds);
    for (const name of targets) {
      const data = results[name]?.data ?? [];
      const entry = sums.get(name) ?? { sum: new Float64Array(data.length), energy: 0 };
      for (let i = 0; i < data.length; i++) {
        entry.sum[i] = (entry.sum[i] ?? 0) + Number(data[i]);
        entry.energy += Number(data[i]) ** 2;
      }
      sums.set(name, entry);
    }
  }
  return new Map([...sums].map(([name, { sum, energy }]) => {
    const common = sum.reduce((total, value) => total + value * value, 0) / samples.length;
    return [name, Math.sqrt(Math.max(0, energy - common) / Math.max(1, sum.length * samples.length)) || 1];
  }));
}

/** Several samples as one batch; half of them are mixed with another sample (mixup, arXiv 1710.09412): the teacher answers whatever it is fed. */
function batched(items: readonly Feeds[], partners: readonly Feeds[], next: () => number): Record<string, Tensor> {
  const result: Record<string, Tensor> = {};
  const shares = items.map(() => (next() < 0.5 ? 0 : 0.5 * next()));
  for (const [name, { dims, type }] of Object.entries(items[0] ?? {})) {
    const size = elementCount(dims);
    if (type !== 'float32') return { ...items[0] };
    const data = new Float32Array(size * items.length);
    items.forEach((feeds, slot) => {
      const [own, other, share] = [feeds[name]?.data, partners[slot]?.[name]?.data, shares[slot] ?? 0];
      for (let i = 0; i < size; i++) data[slot * size + i] = (1 - share) * Number(own?.[i] ?? 0) + share * Number(other?.[i] ?? 0);
    });
    result[name] = { type, dims: [items.length * (dims[0] ?? 1), ...dims.slice(1)], data };
  }
  return result;
}

/** Weights of layers, normalizations and slopes: what channels follow, but no running statistics; and those of recurrent layers. */
function tunedWeights(graph: Graph): string[] {
  const live = removeDead(graph);
  const found = findDependencies(live).cuts.filter(({ node, operand, constant }) => !(node.op === 'BatchNormalization' && operand > 2) && live.constants.get(constant)?.dtype === 'float32');
  return [...new Set([...found.map(({ constant }) => constant), ...recurrentWeights(live)])];
}

const only = (graph: Graph, targets: readonly string[]): Graph => removeDead({ ...graph, outputs: targets });

/**
 * Distils a model into one that is like it but smaller, on samples without labels: each target's squared difference, relative to how much it varies.
 * Batch normalizations keep their statistics.
 * @returns the student with tuned weights
 * @throws RuntimeError E_GRADIENT: an operator without a gradient; E_ENGINE_MISSING; DeployError E_LAB: a loss that is no number
 */
export async function tune(student: Graph, teacher: Graph, samples: readonly Feeds[], { steps, rate, batch: wanted, seed, threads, onStep }: TuneSettings): Promise<Graph> {
  const targets = targetsOf(teacher);
  const single = samples.some((feeds) => Object.values(feeds).some(({ type }) => type !== 'float32'));
  const pair = single ? undefined : [rebatched(only(student, targets), wanted), rebatched(only(teacher, targets), wanted)];
  const [learner, master] = [pair?.[0] ?? only(student, targets), pair?.[1] ?? only(teacher, targets)];
  const whole = pair?.[0] !== undefined && pair[1] !== undefined;
  const batch = whole ? wanted : 1;
  const [follower, leader] = whole ? [learner, master] : [only(student, targets), only(teacher, targets)];
  const one = await openPart(only(teacher, targets), targets, 'onnxruntime');
  const sizes = await spreads(one, targets, samples).finally(() => one.close());
  const answering = await openPart(leader, targets, 'onnxruntime');
  const inputs = Object.fromEntries(targets.map((name, i): [string, ValueType] => [`lab.wanted${i}`, typeOf(follower, name)]));
  const training = trainingModel(follower, {
    inputs, weights: tunedWeights(follower), keepStatistics: true,
    loss: (m) => targets.map((name, i) => {
      const shape = m.shape(name);
      const difference = m.reshape(m.scale(m.sub(name, `lab.wanted${i}`), 1 / (sizes.get(name) ?? 1)), [elementCount(shape)]);
      return m.scale(m.reduce('ReduceSum', m.square(difference), [0], false), 1 / (elementCount(shape) * targets.length));
    }).reduce(m.add),
  });
  const sampleAt = inRounds(samples, seed);
  const trainer = await Trainer.open(training, { steps, optimizer: { ...adamw, decay: 0 }, schedule: { kind: 'cosine' }, rate, warmup: 0.05, clip: 5, average: 0.95, threads }, async (step) => {
    const next = randomOf(seed, step);
    const items = Array.from({ length: batch }, (_, i) => sampleAt(step * batch + i) ?? {});
    const feeds = batched(items, items.map(() => samples[Math.floor(next() * samples.length)] ?? {}), next);
    const answers = await answering.run(feeds);
    return { ...feeds, ...Object.fromEntries(targets.flatMap((name, i) => (answers[name] === undefined ? [] : [[`lab.wanted${i}`, answers[name]]]))) };
  });
  try {
    while (trainer.step < steps) {
      const loss = await trainer.advance();
      onStep?.(trainer.step, steps, loss);
    }
    const tuned = [...trainer.result].map(([name, data]) => [name, fromNumbers('float32', student.constants.get(name)?.dims ?? [data.length], data)] as const);
    return { ...student, constants: new Map([...student.constants, ...tuned]) };
  } finally {
    await trainer.close();
    await answering.close();
  }
}
