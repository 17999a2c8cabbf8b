/** The student that begins with blocks of YAMNet: what it recognizes, and what a decision costs. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openPackage } from '../../../runtime/package/package.js';
import { createPipeline } from '../../../runtime/pipeline/index.js';
import { uniform } from '../../compress/random.js';
import { defaultFeatures } from '../../lab/clips.js';
import { featuresOf, patchSamples, readClips } from '../../sound/clips.js';
import { toInt8 } from '../../sound/int8.js';
import { crossValidate, foldsOf, gather, recipeDefaults, startOf, type Accuracy, type RecipeOptions } from '../../sound/recipe.js';
import { buildSirenPackage, sirenOutputs } from '../../sound/siren/package.js';
import { ownNet, parametersIn, patch, studentModel } from '../../sound/student.js';
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

/** Orders of what is learned; one recording more or less says nothing of int8. */
const seeds = [1, 2] as const;

/** Recordings of folds that were left out. */
export async function studentBars(bench: StudentBench): Promise<Bar[] | Absent> {
  const absent = absentOf([yamnetOf(bench.models), bench.sounds]);
  if (absent !== undefined) return absent;
  const options = optionsOf(bench.signal);
  const material = await materialOf(bench, options);
  const folds = await foldsOf(material, options);
  const found: Accuracy[] = [];
  for (const seed of seeds) found.push(await crossValidate(material, { ...options, seed }, folds));
  const mean = (of: (accuracy: Accuracy) => number): number => found.reduce((sum, accuracy) => sum + of(accuracy), 0) / found.length;
  const each = (of: (accuracy: Accuracy) => number): string => found.map((accuracy) => (100 * of(accuracy)).toFixed(1)).join(', ');
  const [student, teacher] = [mean((accuracy) => accuracy.student), mean((accuracy) => accuracy.teacher)];
  const parameters = parametersIn(material.start.shape);
  const lost = 100 * (student - mean((accuracy) => accuracy.int8));
  const kept = `${(100 * mean(({ agreement }) => agreement.classes)).toFixed(1)} % of the patches get the same class, mean cosine of the logits ${mean(({ agreement }) => agreement.cosine).toFixed(4)}`;
  return [
    { id: 'sound.student', what: `recordings recognized of ${found[0]?.clips ?? 0}, each in a fold that was left out, by a student of ${parameters} parameters (seeds ${seeds.join(', ')}: ${each((accuracy) => accuracy.student)} %)`, value: 100 * student, unit: '%', bar: '>= 93', met: student >= 0.93 },
    { id: 'sound.student_int8', what: `the same less those in int8 (${each((accuracy) => accuracy.int8)} %; ${kept})`, value: lost, unit: 'points', bar: '<= 0.5', met: lost <= 0.5 },
    { id: 'sound.student_parameters', what: 'its parameters', value: parameters, unit: '', bar: '<= 200000', met: parameters <= 200_000 },
    { id: 'sound.teacher', what: "the same by a linear classifier of the teacher's embedding", value: 100 * teacher, unit: '%', bar: '>= 96.5', met: teacher >= 0.965 },
  ];
}

/** One decision ten times a second, features included, and the size of the model. Neither depends on what the head has learned. */
export async function studentCostBars({ models }: Pick<StudentBench, 'models'>): Promise<Bar[] | Absent> {
  const absent = absentOf([yamnetOf(models)]);
  if (absent !== undefined) return absent;
  const { shape, from = {} } = startOf(await readFile(yamnetOf(models)), sirenOutputs.length, recipeDefaults);
  const random = uniform(1);
  for (const name of ['classes', 'classes-max']) from[name]?.data.forEach((_, i, weights) => { weights[i] = 0.1 * (random() - 0.5); });
  const calibration = Array.from({ length: 32 }, () => ({ patch: { type: 'float32' as const, dims: [1, 1, patch.rows, patch.bands], data: featuresOf(traffic(2, random).subarray(0, patchSamples)) } }));
  const { model } = await toInt8(studentModel(from, shape), calibration, shape.net ?? ownNet);
  const input = { definition: { ...defaultFeatures, normalize: { mean: [0], std: [1] } } };
  const { bytes } = await buildSirenPackage({ stages: { classifier: { input } }, settings: { gate: { enabled: false } } }, { model });
  const value = await decisionMs(await createPipeline(await openPackage(bytes), { threads: 1 }), chunksOf(siren('wail', 2, uniform(1))), 'full');
  return [
    { id: 'sound.student_decision', what: `one decision of the int8 student with blocks of the teacher (${parametersIn(shape)} parameters), features and all, CPU time`, value, unit: 'ms', bar: '<= 1', met: value <= 1 },
    { id: 'sound.student_bytes', what: 'its model in int8', value: model.length / 1000, unit: 'kB', bar: '<= 250', met: model.length <= 250_000 },
  ];
}
