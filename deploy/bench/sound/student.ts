/** The student that begins with blocks of YAMNet: what it recognizes, where labels are wrong too, and what a decision costs. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openPackage } from '../../../runtime/package/package.js';
import { createPipeline } from '../../../runtime/pipeline/index.js';
import { quantizeModel } from '../../../runtime/quantize/quantize.js';
import { uniform } from '../../compress/random.js';
import { defaultFeatures } from '../../lab/clips.js';
import { featuresOf, patchSamples, readClips } from '../../sound/clips.js';
import { crossValidate, foldsOf, gather, recipeDefaults, startOf, type RecipeOptions } from '../../sound/recipe.js';
import { buildSirenPackage, sirenOutputs } from '../../sound/siren/package.js';
import { parametersIn, patch, studentModel, type ClassLoss } from '../../sound/student.js';
import { siren, traffic } from '../../sound/synthesize.js';
import { openTeacher } from '../../sound/teacher.js';
import { absentOf, type Absent, type Bar } from '../bars.js';
import { chunksOf, decisionMs } from './listening.js';

interface StudentBench {
  models: string;
  sounds: string;
  signal: AbortSignal;
}

const yamnetOf = (models: string): string => join(models, 'yamnet_w8.onnx');

const optionsOf = (signal: AbortSignal, options: Partial<RecipeOptions> = {}): RecipeOptions => ({ ...recipeDefaults, ...options, log: () => signal.throwIfAborted() });

async function materialOf({ models, sounds }: StudentBench, options: RecipeOptions): ReturnType<typeof gather> {
  const teacher = await openTeacher(await readFile(yamnetOf(models)));
  try {
    return await gather(await readClips(sounds), teacher, options);
  } finally {
    await teacher.close();
  }
}

/** Recordings of folds that were left out. */
export async function studentBars(bench: StudentBench): Promise<Bar[] | Absent> {
  const absent = absentOf([yamnetOf(bench.models), bench.sounds]);
  if (absent !== undefined) return absent;
  const options = optionsOf(bench.signal);
  const material = await materialOf(bench, options);
  const { teacher, student, int8, clips } = await crossValidate(material, options);
  const parameters = parametersIn(material.start.shape);
  const lost = 100 * (student - int8);
  return [
    { id: 'sound.student', what: `recordings recognized of ${clips}, each in a fold that was left out, by a student of ${parameters} parameters`, value: 100 * student, unit: '%', bar: '>= 93', met: student >= 0.93 },
    { id: 'sound.student_int8', what: `the same less those in int8 (${(100 * int8).toFixed(1)} %)`, value: lost, unit: 'points', bar: '<= 0.5', met: lost <= 0.5 },
    { id: 'sound.student_parameters', what: 'its parameters', value: parameters, unit: '', bar: '<= 200000', met: parameters <= 200_000 },
    { id: 'sound.teacher', what: "the same by a linear classifier of the teacher's embedding", value: 100 * teacher, unit: '%', bar: '>= 96.5', met: teacher >= 0.965 },
  ];
}

const wrongLabels = 0.4;
const robust: readonly ClassLoss[] = [{ kind: 'gce', q: 0.7 }, { kind: 'sce', alpha: 0.1, beta: 1 }];

/** Losses of the labels alone, without the answers of a teacher, so that they can be told apart. */
export async function labelBars(bench: StudentBench): Promise<Bar[] | Absent> {
  const absent = absentOf([yamnetOf(bench.models), bench.sounds]);
  if (absent !== undefined) return absent;
  const options = optionsOf(bench.signal, { wrongLabels, mixtures: 0, trust: 0, distill: 0, headEpochs: 20, headRate: 1e-3 });
  const material = await materialOf(bench, options);
  const folds = await foldsOf(material, options);
  const accuracyWith = async (loss: ClassLoss): Promise<number> => 100 * (await crossValidate(material, { ...options, loss }, folds)).student;
  const plain = await accuracyWith({ kind: 'cross-entropy' });
  const bars: Bar[] = [];
  for (const loss of robust) {
    const accuracy = await accuracyWith(loss);
    const value = accuracy - plain;
    bars.push({ id: `sound.labels_${loss.kind}`, what: `recordings recognized by a student that learned from ${100 * wrongLabels} % wrong labels, ${loss.kind} ${accuracy.toFixed(1)} % less cross-entropy ${plain.toFixed(1)} %`, value, unit: 'points', bar: '>= 8', met: value >= 8 });
  }
  return bars;
}

/** One decision ten times a second, features included, and the size of the model. Neither depends on what the head has learned. */
export async function studentCostBars({ models }: Pick<StudentBench, 'models'>): Promise<Bar[] | Absent> {
  const absent = absentOf([yamnetOf(models)]);
  if (absent !== undefined) return absent;
  const { shape, from = {} } = startOf(await readFile(yamnetOf(models)), sirenOutputs.length, recipeDefaults);
  const random = uniform(1);
  for (const name of ['classes', 'classes-max']) from[name]?.data.forEach((_, i, weights) => { weights[i] = 0.1 * (random() - 0.5); });
  const calibration = Array.from({ length: 32 }, () => ({ patch: { type: 'float32' as const, dims: [1, 1, patch.rows, patch.bands], data: featuresOf(traffic(2, random).subarray(0, patchSamples)) } }));
  const { model } = await quantizeModel(studentModel(from, shape), calibration);
  const input = { definition: { ...defaultFeatures, normalize: { mean: [0], std: [1] } } };
  const { bytes } = await buildSirenPackage({ stages: { classifier: { input } }, settings: { gate: { enabled: false } } }, { model });
  const value = await decisionMs(await createPipeline(await openPackage(bytes), { threads: 1 }), chunksOf(siren('wail', 2, uniform(1))), 'full');
  return [
    { id: 'sound.student_decision', what: `one decision of the int8 student with blocks of the teacher (${parametersIn(shape)} parameters), features and all, CPU time`, value, unit: 'ms', bar: '<= 1', met: value <= 1 },
    { id: 'sound.student_bytes', what: 'its model in int8', value: model.length / 1000, unit: 'kB', bar: '<= 250', met: model.length <= 250_000 },
  ];
}
