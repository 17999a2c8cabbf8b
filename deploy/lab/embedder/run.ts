import { createHash } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../../../runtime/atomic-file.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { runtimeVersion } from '../../../runtime/version.js';
import { readInputFile } from '../../cli/files.js';
import { DeployError } from '../../errors.js';
import { checkTeacher, type FacesConfig } from '../config.js';
import { lossSvg } from '../curve.js';
import { inRounds, randomOf } from '../examples.js';
import type { EmbeddingMethod, LabelledPicture } from '../methods/embedding-method.js';
import { trained } from '../student.js';
import { meanOf, openTrained, type LabEvents, type TrainingReport } from '../training-run.js';
import type { Batches, Trainer } from '../trainer.js';
import { trainingModel } from '../training-model.js';
import { buildEmbedder, sideFits } from './architecture.js';
import { varied } from './augment.js';
import { batchTensor, embedderPorts, embeddingsOf, type EmbedderPorts } from './embedder-model.js';
import { methodName, methodOf } from './methods.js';
import { hashOfPeople, readPeople, type People, type PersonPicture, type PictureSize } from './people.js';
import { taughtEmbeddings } from './teacher.js';
import { crossPairsOf, pairsOf, verify, type Verification } from './verification.js';

/** What came of training an embedder. Each verification is over all pairs of pictures of `data.test_people`; null without them. */
export interface FacesReport extends TrainingReport {
  people: number;
  pictures: number;
  test_people: number;
  test_pictures: number;
  verification: Verification | null;
  /** The teacher's own; null without a teacher too. */
  teacher_verification: Verification | null;
  /** Pictures that the student embeds against pictures that the teacher does: what a device sees whose gallery the teacher filled. */
  gallery_verification: Verification | null;
}

/** Batches over which statistics of normalizations are estimated after training. */
const statisticsBatches = 20;

interface TrainedPicture extends LabelledPicture {
  readonly picture: PersonPicture;
}

/** People in rounds, each as often as any other, however many pictures there are of them; a picture of each at random, varied. */
function batchesOf(pictures: readonly TrainedPicture[], { people, ports, size, method, config }: { people: number; ports: EmbedderPorts; size: PictureSize; method: EmbeddingMethod; config: FacesConfig }): Batches {
  const { batch, seed, data: { augment } } = config;
  const byPerson = Array.from({ length: people }, (_, label) => pictures.filter((picture) => picture.label === label));
  const personAt = inRounds(byPerson, seed);
  return (step) => {
    const next = randomOf(seed, step);
    const chosen: TrainedPicture[] = [];
    const pixels: Uint8Array[] = [];
    for (let slot = 0; slot < batch; slot++) {
      const own = personAt(step * batch + slot) ?? [];
      const item = own[Math.floor(next() * own.length)];
      if (item === undefined) continue;
      chosen.push(item);
      pixels.push(varied(item.picture.pixels, size, augment, next));
    }
    return { [ports.input]: batchTensor(pixels, ports), ...method.feeds(chosen) };
  };
}

/** The untrained student. @throws DeployError E_USAGE, E_FILE */
async function modelOf({ model, seed }: FacesConfig): Promise<Uint8Array> {
  if (typeof model === 'string') return readInputFile(model);
  const { student } = model;
  if (!('kind' in student) || student.kind !== 'embedder') throw new DeployError('E_USAGE', `model.student.kind: expected embedder for data of kind faces but received ${'kind' in student ? student.kind : 'none'}`);
  if (!sideFits(student.size)) throw new DeployError('E_USAGE', `model.student.size: expected a multiple of 16 but received ${student.size}`);
  return buildEmbedder({ size: student.size, dimensions: student.dimensions, width: student.width, seed });
}

/** The student for a batch. @throws DeployError E_LAB: its batch is not open */
function batchedStudent(bytes: Uint8Array, { input, output, dims, dimensions }: EmbedderPorts, batch: number) {
  const model = parseModel(bytes);
  const graph = inferShapes(graphFromOnnx(model, { shapes: { [input]: [batch, ...dims.slice(1)] } }));
  const made = graph.types.get(output)?.shape ?? [];
  if (made[0] !== batch) throw new DeployError('E_LAB', `Expected output '${output}' of [${batch}, ${dimensions}] for a batch of ${batch} but the model gives [${made.join(', ')}]; export the student with an open batch dimension`);
  return { model, graph };
}

/** Verification of people that nothing was learned from. */
async function judged(made: Uint8Array, ports: EmbedderPorts, { test }: People, { size, taught, threads }: { size: PictureSize; taught: readonly Float32Array[] | undefined; threads: number }): Promise<Pick<FacesReport, 'verification' | 'teacher_verification' | 'gallery_verification'>> {
  const persons = test.map(({ person }) => person);
  const own = await embeddingsOf(made, ports, test.map(({ pixels }) => pixels), size, threads);
  return {
    verification: verify(pairsOf(own, persons)),
    teacher_verification: taught === undefined ? null : verify(pairsOf(taught, persons)),
    gallery_verification: taught === undefined ? null : verify(crossPairsOf(own, taught, persons)),
  };
}

/**
 * Trains an embedder on pictures of people, alone or with a teacher, and writes `model.onnx`, `loss.svg` and `run.json` into the folder;
 * an interrupted run goes on from `checkpoint.bin` there, with the same bits.
 * @throws DeployError E_LAB, E_FILE, E_USAGE; RuntimeError E_GRADIENT, E_MEDIA, E_ENGINE_MISSING and others
 */
export async function runFaces(config: FacesConfig, folder: string, events: LabEvents = {}): Promise<FacesReport> {
  checkTeacher(config);
  const { data, batch, threads, seed } = config;
  const bytes = await modelOf(config);
  const ports = embedderPorts(bytes, 'The student', data);
  const { model, graph } = batchedStudent(bytes, ports, batch);
  const size: PictureSize = { width: ports.layout.width, height: ports.layout.height };
  await mkdir(folder, { recursive: true });
  const people = await readPeople(data, size, events.onPictures);
  const teacher = config.teacher === undefined ? undefined : await readInputFile(config.teacher.model);
  const taught = teacher === undefined ? undefined : await taughtEmbeddings(teacher, [...people.train, ...people.test], { folder, size, dimensions: ports.dimensions, levels: data, threads });
  const pictures = people.train.map((picture, i): TrainedPicture => ({ picture, label: people.names.indexOf(picture.person), taught: taught?.[i] }));
  const method = methodOf(config, { batch, dimensions: ports.dimensions, people: people.names.length }, pictures, people.names);
  const training = trainingModel(graph, { inputs: method.inputs, heads: method.weights, loss: (m) => method.loss(m, ports.output) });
  const dataHash = hashOfPeople(people);
  let trainer: Trainer | undefined;
  try {
    trainer = await openTrained(training, config, { folder, bytes, dataHash, teacher, batches: batchesOf(pictures, { people: people.names.length, ports, size, method, config }) }, events);
    await trainer.reestimate(statisticsBatches);
    const record = { version: runtimeVersion, config, people: people.names.length, data_sha256: dataHash, ...(teacher === undefined ? {} : { teacher_sha256: createHash('sha256').update(teacher).digest('hex') }) };
    const heads = new Set(method.weights.keys());
    const made = trained({ model }, trainer, record, heads);
    const report: FacesReport = {
      model: join(folder, 'model.onnx'), parameters: [...trainer.weights].reduce((sum, [name, { length }]) => sum + (heads.has(name) ? 0 : length), 0), steps: trainer.step,
      loss: meanOf(trainer.losses.slice(-Math.ceil(trainer.losses.length / 10))), people: people.names.length, pictures: people.train.length,
      test_people: data.test_people.length, test_pictures: people.test.length,
      ...await judged(made, ports, people, { size, taught: taught?.slice(people.train.length), threads }), seed, data_sha256: dataHash,
    };
    await writeFileAtomic(report.model, made, 0o644);
    await writeFileAtomic(join(folder, 'loss.svg'), lossSvg(trainer.losses, `loss of ${trainer.step} steps (${methodName(config)})`), 0o644);
    await writeFileAtomic(join(folder, 'run.json'), `${JSON.stringify({ ...record, ...report }, null, 2)}\n`, 0o644);
    return report;
  } finally {
    await trainer?.close();
  }
}
