/** The lab on recurrent networks: they learn what only their state can tell, take a teacher, and are distilled in chains. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseLabConfig } from '../../../deploy/lab/config.js';
import { labelLoss } from '../../../deploy/lab/losses.js';
import { DrawnNetwork } from '../../../deploy/lab/network-writer.js';
import { adamw } from '../../../deploy/lab/optimizers.js';
import { tune } from '../../../deploy/lab/prune/tune.js';
import { answersOf, readGraph } from '../../../deploy/lab/prune/prune.js';
import { runLab } from '../../../deploy/lab/run.js';
import { Trainer } from '../../../deploy/lab/trainer.js';
import { trainingModel } from '../../../deploy/lab/training-model.js';
import { int, ints, string } from '../../../runtime/graph/attributes.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { fromNumbers, int64s, toNumbers } from '../../../runtime/graph/tensor-value.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import { centredCosine } from '../../../runtime/quantize/report/fidelity.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { oracleMissing } from '../../runtime/support/oracle.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { random } from '../../runtime/support/random.js';
import { temporaryFolder } from '../../support/folder.js';
import { writeTones } from './tones.js';

const gates = { GRU: 3, LSTM: 4 } as const;

interface Spotter {
  readonly steps: number;
  readonly features: number;
  readonly units: number;
  readonly seed: number;
}

/** A spotter as frameworks export it: input [batch, 1, steps, features], the last hidden state, logits of two classes. */
function spotter(op: keyof typeof gates, { steps, features, units, seed }: Spotter): Uint8Array {
  const w = new DrawnNetwork(seed);
  const rows = gates[op] * units;
  w.weights.set('steps', int64s([-1, steps, features])).set('states', int64s([-1, units]));
  const sequence = w.node('Transpose', [w.node('Reshape', ['input', 'steps'], 'rows')], 'sequence', { perm: ints([1, 0, 2]) });
  w.filled('layer.b', 2 * rows, 0);
  w.weights.set('layer.bias', fromNumbers('float32', [1, 2 * rows], new Float64Array(2 * rows)));
  w.weights.delete('layer.b');
  w.nodes.push({
    name: 'layer', op, domain: '', inputs: [sequence, w.weight('layer.w', [1, rows, features], features, 1), w.weight('layer.r', [1, rows, units], units, 1), 'layer.bias'], outputs: ['', 'last'],
    attributes: new Map([['hidden_size', int(units)], ['direction', string('forward')], ...(op === 'GRU' ? [['linear_before_reset', int(1)] as const] : [])]),
  });
  w.node('Gemm', [w.node('Reshape', ['last', 'states'], 'features'), w.weight('head.w', [units, 2], units, 1), w.filled('head.b', 2, 0)], 'logits');
  return serializeModel(w.model({ input: ['batch', 1, steps, features] }, { logits: ['batch', 2] }));
}

const missing = oracleMissing ?? nativeMissing;
const batch = 16;

/** Sequences whose class is the sign of their first element: the last state has to remember it. */
function remembered(steps: number, seed: number): { input: Tensor; target: Tensor } {
  const next = random(seed);
  const data = Float32Array.from({ length: batch * steps }, () => next() - 0.5);
  const target = new Float32Array(batch * 2);
  for (let i = 0; i < batch; i++) {
    const positive = next() < 0.5;
    data[i * steps] = positive ? 1 : -1;
    target[2 * i + (positive ? 1 : 0)] = 1;
  }
  return { input: { type: 'float32', dims: [batch, 1, steps, 1], data }, target: { type: 'float32', dims: [batch, 2], data: target } };
}

describe.skipIf(missing !== undefined)(`recurrent networks in the lab${missing === undefined ? '' : ` (${missing})`}`, () => {
  it.each(['GRU', 'LSTM'] as const)('learn what only their state can tell: %s', async (op) => {
    const steps = 12;
    const graph = inferShapes(graphFromOnnx(parseModel(spotter(op, { steps, features: 1, units: 8, seed: 4 })), { shapes: { input: [batch, 1, steps, 1] } }));
    const training = trainingModel(graph, { inputs: { target: { dtype: 'float32', shape: [batch, 2] } }, loss: (m) => labelLoss(m, { kind: 'cross-entropy' }, 'logits', 'target') });
    expect([...training.weights.keys()].sort()).toEqual(['head.b', 'head.w', 'layer.bias', 'layer.r', 'layer.w']);
    const trainer = await Trainer.open(training, { steps: 150, optimizer: { ...adamw, decay: 0 }, schedule: { kind: 'cosine' }, rate: 0.03, warmup: 0.05, clip: 5, average: 0, threads: 1 }, (step) => remembered(steps, step + 1));
    const losses: number[] = [];
    while (trainer.step < 150) losses.push(await trainer.advance());
    await trainer.close();
    const mean = (part: readonly number[]): number => part.reduce((sum, loss) => sum + loss, 0) / part.length;
    expect(mean(losses.slice(0, 5))).toBeGreaterThan(0.5);
    expect(mean(losses.slice(-10))).toBeLessThan(0.1);
  });

  it('are fine-tuned from a file, with a record and with their weights written back', async () => {
    const [folder, out] = [await writeTones(temporaryFolder()), temporaryFolder()];
    const path = join(out, 'gru.onnx');
    await mkdir(out, { recursive: true });
    await writeFile(path, spotter('GRU', { steps: 24, features: 64, units: 12, seed: 1 }));
    const report = await runLab(parseLabConfig(JSON.stringify({ model: path, data: { kind: 'clips', folder, rows: 24, test_folds: [2] }, steps: 40, batch: 8, rate: 0.02, average: 0.5, seed: 3 }), 'lab.yaml'), out);
    expect(report).toMatchObject({ steps: 40, accuracy: 1 });
    const [before, after] = [parseModel(await readFile(path)), parseModel(await readFile(report.model))];
    for (const name of ['layer.w', 'layer.r', 'layer.bias', 'head.w']) expect(after.graph.initializers.get(name)?.data, name).not.toEqual(before.graph.initializers.get(name)?.data);
  });

  it('are distilled without labels, as a step of a chain does', async () => {
    const settings = { steps: 12, features: 6, units: 8 };
    const read = (bytes: Uint8Array) => readGraph(bytes, { shapes: { input: [1, 1, 12, 6] } });
    const teacher = read(spotter('LSTM', { ...settings, seed: 1 }));
    // The teacher with its recurrent weights rounded to a quarter: what tuning has to win back.
    const rounded = new Map([...teacher.constants].map(([name, value]) => [name, name === 'layer.r' || name === 'layer.w' ? fromNumbers('float32', value.dims, Float64Array.from(toNumbers(value), (x) => Math.round(4 * x) / 4)) : value]));
    const student = { ...teacher, constants: rounded };
    const samples = Array.from({ length: 40 }, (_, i) => {
      const next = random(i + 1);
      return { input: { type: 'float32' as const, dims: [1, 1, 12, 6], data: Float32Array.from({ length: 72 }, () => 2 * next() - 1) } };
    });
    const [tuned, judged] = [samples.slice(0, 30), samples.slice(30)];
    const wanted = await answersOf(teacher, judged);
    const loss = async (graph: typeof teacher): Promise<number> => 1 - centredCosine(wanted, await answersOf(graph, judged));
    const learned = await tune(student, teacher, tuned, { steps: 80, rate: 0.01, batch: 8, seed: 1, threads: 1 });
    expect(await loss(learned)).toBeLessThan(0.5 * await loss(student));
    expect(learned.constants.get('layer.r')?.data).not.toEqual(student.constants.get('layer.r')?.data);
  });
});
