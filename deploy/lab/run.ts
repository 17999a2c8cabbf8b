import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../../runtime/atomic-file.js';
import { openOnnxRuntime } from '../../runtime/engines/onnxruntime.js';
import { parseModel } from '../../runtime/onnx/parse.js';
import { featuresOf } from '../../runtime/sound/definition.js';
import type { Tensor } from '../../runtime/tensor.js';
import { runtimeVersion } from '../../runtime/version.js';
import { readInputFile } from '../cli/files.js';
import { DeployError } from '../errors.js';
import { accuracyOf } from './accuracy.js';
import { defaultFeatures, readClips, scalingOf } from './clips.js';
import { checkTeacher, type ClipsConfig, type LabConfig } from './config.js';
import { lossSvg } from './curve.js';
import { batchesOf, hashOf, splitClips, type Geometry } from './examples.js';
import { studentOf, trained, trainingOf, type Student } from './student.js';
import { buildStudent } from './students.js';
import type { Batches, Trainer } from './trainer.js';
import { meanOf, openTrained, type LabEvents, type TrainingReport } from './training-run.js';

/** What came of training on recordings. */
export interface LabReport extends TrainingReport {
  train_clips: number;
  test_clips: number;
  /** Share of the recordings of the test folds that are recognized; null without test folds. */
  accuracy: number | null;
}

/** The teacher's session and the batches with its answers. */
async function taught(config: ClipsConfig, student: Student, classes: number, raw: ReturnType<typeof batchesOf>): Promise<{ batches: Batches; bytes?: Uint8Array; close(): Promise<void> }> {
  const plain = (step: number): Record<string, Tensor> => {
    const { input, target } = raw(step);
    return { [student.input]: input, 'lab.target': target };
  };
  if (config.teacher === undefined) return { batches: plain, close: () => Promise.resolve() };
  const { dims } = raw(0).input;
  const bytes = await readInputFile(config.teacher.model);
  const name = parseModel(bytes).graph.inputs[0]?.name ?? '';
  const teacher = await openOnnxRuntime(bytes, { shapes: { [name]: dims }, threads: config.threads });
  const output = teacher.outputs[0];
  const batches = async (step: number): Promise<Record<string, Tensor>> => {
    const feeds = plain(step);
    const answer = (await teacher.run({ [name]: feeds[student.input] ?? raw(step).input }))[output?.name ?? ''];
    if (answer === undefined || answer.dims.length !== 2 || answer.dims[1] !== classes) throw new DeployError('E_LAB', `The teacher gives [${answer?.dims.join(', ') ?? ''}]; expected logits of [${config.batch}, ${classes}], as the student's`);
    return { ...feeds, 'lab.teacher': answer };
  };
  return { batches, bytes, close: () => teacher.close() };
}

const isClips = (config: LabConfig): config is ClipsConfig => config.data.kind === 'clips';

/** The model to train: that of a file, or a student that is built. @throws DeployError E_USAGE */
async function modelOf({ model, seed }: ClipsConfig, { rows, bands }: Geometry, classes: number): Promise<Uint8Array> {
  if (typeof model === 'string') return readInputFile(model);
  if ('kind' in model.student) throw new DeployError('E_USAGE', `model.student.kind: expected none for data of kind clips but received ${model.student.kind}`);
  return buildStudent({ rows, columns: bands, classes, width: model.student.width, seed });
}

/** Batches over which statistics of normalizations are estimated after training. */
const statisticsBatches = 20;

/**
 * Carries out a run: reads the data, trains, and writes `model.onnx`, `loss.svg` and `run.json` into the folder. A run that was
 * interrupted goes on from `checkpoint.bin` there, with the same bits.
 * @throws DeployError E_LAB, E_FILE; RuntimeError E_GRADIENT, E_MEDIA, E_ENGINE_MISSING and others
 */
export async function runLab(config: LabConfig, folder: string, events: LabEvents = {}): Promise<LabReport> {
  if (!isClips(config)) throw new DeployError('E_USAGE', `data.kind: expected clips but received ${config.data.kind}`);
  checkTeacher(config);
  await mkdir(folder, { recursive: true });
  const read = await readClips(config.data.folder, defaultFeatures, events.onClips);
  const { train, test } = splitClips(read, config);
  const geometry: Geometry = { rows: config.data.rows, bands: featuresOf(read.definition), scaling: scalingOf(train) };
  const classes = read.classes.length;
  const bytes = await modelOf(config, geometry, classes);
  const student = studentOf(bytes, config.batch, geometry, classes);
  const training = trainingOf(student, classes, config);
  const dataHash = hashOf([...train, ...test]);
  const { batches, bytes: teacher, close } = await taught(config, student, classes, batchesOf(train, classes, geometry, config));
  let trainer: Trainer | undefined;
  try {
    trainer = await openTrained(training, config, { folder, bytes, dataHash, teacher, batches }, events);
    await trainer.reestimate(statisticsBatches);
    const record = { version: runtimeVersion, config, classes: read.classes, features: { ...read.definition, normalize: { mean: [geometry.scaling.mean], std: [geometry.scaling.std] } }, data_sha256: dataHash };
    const made = trained(student, trainer, record);
    const report: LabReport = {
      model: join(folder, 'model.onnx'), parameters: [...trainer.weights.values()].reduce((sum, { length }) => sum + length, 0), steps: trainer.step,
      loss: meanOf(trainer.losses.slice(-Math.ceil(trainer.losses.length / 10))), train_clips: train.length, test_clips: test.length,
      accuracy: test.length === 0 ? null : await accuracyOf(made, student, test, geometry, config.batch), seed: config.seed, data_sha256: dataHash,
    };
    await writeFileAtomic(report.model, made, 0o644);
    await writeFileAtomic(join(folder, 'loss.svg'), lossSvg(trainer.losses, `loss of ${trainer.step} steps (${config.loss.kind})`), 0o644);
    await writeFileAtomic(join(folder, 'run.json'), `${JSON.stringify({ ...record, ...report }, null, 2)}\n`, 0o644);
    return report;
  } finally {
    await trainer?.close();
    await close();
  }
}
