/** Four ways to train a small embedder of faces, in equal steps, judged on people that nothing was learned from. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { quantizeModel } from '../../../runtime/quantize/quantize.js';
import { labConfig, type FacesConfig } from '../../lab/config.js';
import { batchTensor, embedderPorts, embeddingsOf } from '../../lab/embedder/embedder-model.js';
import { readPeople } from '../../lab/embedder/people.js';
import { runFaces, type FacesReport } from '../../lab/embedder/run.js';
import { pairsOf, verify } from '../../lab/embedder/verification.js';
import { findDependencies } from '../../lab/prune/dependencies.js';
import { totalMacs } from '../../lab/prune/plan.js';
import { absentOf, type Absent, type Bar } from '../bars.js';
import type { LabBenchOptions } from './options.js';

/** Each person is judged on once. */
const splits = 3;
const batch = 24;
/** Every so manieth picture that was learned from sets the ranges of the int8 student. */
const calibrated = 4;

const settings = (model: string) => ({
  softmax: { loss: { kind: 'cross-entropy', smoothing: 0 } },
  arcface: { loss: { kind: 'arcface' } },
  regression: { teacher: { method: 'regression', model } },
  'margin-distillation': { teacher: { method: 'margin-distillation', model } },
}) as const;
type Method = keyof ReturnType<typeof settings>;
const methods: readonly Method[] = ['softmax', 'arcface', 'regression', 'margin-distillation'];

/** Multiply-adds of a model on one picture. */
export function macsOf(bytes: Uint8Array): number {
  return totalMacs(findDependencies(inferShapes(graphFromOnnx(parseModel(bytes)))));
}

interface Outcome {
  readonly report: FacesReport;
  /** Verification of the student in int8, in percent at 1 % false accepts. */
  readonly int8: number;
  readonly macs: number;
}

/** The student with weights and activations of 8 bits, on people that neither training nor calibration saw. */
async function int8Verification(config: FacesConfig, path: string): Promise<number> {
  const model = await readFile(path);
  const ports = embedderPorts(model, 'The student', config.data);
  const size = { width: ports.layout.width, height: ports.layout.height };
  const { train, test } = await readPeople(config.data, size);
  const feeds = train.filter((_, i) => i % calibrated === 0).map(({ pixels }) => ({ [ports.input]: batchTensor([pixels], ports) }));
  const { model: quantized } = await quantizeModel(model, feeds, { format: 'int8', maxDrop: 1 });
  return 100 * (verify(pairsOf(await embeddingsOf(quantized, embedderPorts(quantized, 'The int8 student', config.data), test.map(({ pixels }) => pixels), size), test.map(({ person }) => person)))?.accepted ?? 0);
}

export async function outcomeOf(config: FacesConfig, signal: AbortSignal): Promise<Outcome> {
  const output = await mkdtemp(join(tmpdir(), 'sterna-bench-lab-'));
  try {
    const report = await runFaces(config, output, { onStep: () => signal.throwIfAborted() });
    return { report, int8: await int8Verification(config, report.model), macs: macsOf(await readFile(report.model)) };
  } finally {
    await rm(output, { recursive: true, force: true });
  }
}

/** A run of a method that leaves every third person to judge on: equal data, steps and seeds for all methods. */
export function configOf(method: Method, split: number, { teacher, folder, people, dimensions, steps }: { teacher: string; folder: string; people: readonly string[]; dimensions: number; steps: number }): FacesConfig {
  const test = people.filter((_, i) => i % splits === split);
  return labConfig.parse({ model: { student: { kind: 'embedder', dimensions } }, data: { kind: 'faces', folder, test_people: test }, steps, batch, seed: 1 + split, ...settings(teacher)[method] }) as FacesConfig;
}

const meanOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
const spread = (values: readonly number[]): string => `${meanOf(values).toFixed(1)} (${values.map((value) => value.toFixed(1)).join(', ')})`;
const accepted = (outcomes: readonly Outcome[], of: 'verification' | 'teacher_verification' | 'gallery_verification'): number[] => outcomes.map(({ report }) => 100 * (report[of]?.accepted ?? 0));

/** Of one method: `value` is its mean over the splits, and what it must reach is said beside it. */
function barOf(method: Method, outcomes: readonly Outcome[], { others, steps, minutes }: { others: number; steps: number; minutes: number }): Bar {
  const own = accepted(outcomes, 'verification');
  const value = meanOf(own);
  const isBest = method === 'margin-distillation';
  const area = outcomes.map(({ report }) => 100 * (report.verification?.area ?? 0));
  const taught = outcomes.some(({ report }) => report.teacher_verification !== null);
  const beside = taught ? `, against a gallery of its teacher ${spread(accepted(outcomes, 'gallery_verification'))}, teacher ${spread(accepted(outcomes, 'teacher_verification'))}` : '';
  return {
    id: `lab.margin_${method.replace('-distillation', '')}`, value, unit: '%', bar: isBest ? `>= ${others.toFixed(1)}, the best of the others` : 'to compare', met: !isBest || value >= others,
    what: `pairs of one unseen person accepted at 1 % false accepts, ${method}, ${splits} splits: ${spread(own)}, area under the curve ${spread(area)}, int8 ${spread(outcomes.map(({ int8 }) => int8))}${beside} (${steps} steps, ${minutes.toFixed(1)} min)`,
  };
}

export async function marginBars({ models, samples, steps, signal }: LabBenchOptions & { models: string; samples: string }): Promise<Bar[] | Absent> {
  const [teacher, folder] = [join(models, 'fr_feature.onnx'), join(samples, 'orl')];
  const absent = absentOf([teacher, folder]);
  if (absent !== undefined) return absent;
  const people = (await readdir(folder)).sort();
  const { dimensions } = embedderPorts(await readFile(teacher), 'The teacher', { mean: 127.5, std: 128 });
  const found: { method: Method; outcomes: Outcome[]; minutes: number }[] = [];
  for (const method of methods) {
    const started = performance.now();
    const outcomes: Outcome[] = [];
    for (let split = 0; split < splits; split++) {
      outcomes.push(await outcomeOf(configOf(method, split, { teacher, folder, people, dimensions, steps }), signal));
    }
    found.push({ method, outcomes, minutes: (performance.now() - started) / 60_000 });
  }
  const others = Math.max(...found.filter(({ method }) => method !== 'margin-distillation').map(({ outcomes }) => meanOf(accepted(outcomes, 'verification'))));
  const share = (found[0]?.outcomes[0]?.macs ?? Infinity) / macsOf(await readFile(teacher));
  return [
    ...found.map(({ method, outcomes, minutes }) => barOf(method, outcomes, { others, steps, minutes })),
    { id: 'lab.margin_macs', what: 'multiply-adds of the students, share of the teacher\'s', value: share, unit: 'x', bar: '<= 0.125', met: share <= 0.125 },
  ];
}
