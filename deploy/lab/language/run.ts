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
import { checkTeacher, type TextConfig } from '../config.js';
import { lossSvg } from '../curve.js';
import { randomOf } from '../examples.js';
import { trained } from '../student.js';
import { meanOf, openTrained, type LabEvents, type TrainingReport } from '../training-run.js';
import type { Trainer } from '../trainer.js';
import { trainingModel } from '../training-model.js';
import { objectiveOf } from './objective.js';
import { drawSamples, qualityOf, type SampleQuality, type Samples } from './sampling.js';
import { languageModel, openTeacher, type LanguageModel } from './teacher.js';
import { perplexityOf, readCorpus, type Corpus } from './text.js';
import { buildTransformer } from './transformer.js';

/** What came of training on a text. */
export interface TextReport extends TrainingReport {
  characters: number;
  /** Of the part of the text that is only judged on. */
  perplexity: number;
  /** What the student writes after prompts of that part, judged by the teacher. */
  samples?: SampleQuality;
}

/** The model to train: that of a file, or a transformer that is built. @throws DeployError E_USAGE */
async function modelOf({ model, data, seed }: TextConfig, vocabulary: number): Promise<Uint8Array> {
  if (typeof model === 'string') return readInputFile(model);
  const { student } = model;
  if (!('kind' in student) || student.kind !== 'transformer') throw new DeployError('E_USAGE', 'model.student: expected kind: transformer for data of kind text');
  if (student.width % student.heads !== 0) throw new DeployError('E_USAGE', `model.student.width: expected a multiple of the ${student.heads} heads but received ${student.width}`);
  return buildTransformer({ vocabulary, width: student.width, layers: student.layers, heads: student.heads, context: data.context, seed });
}

/** The model with its graph for so many rows of tokens. @throws DeployError E_LAB: a model that predicts no characters */
function languageOf(bytes: Uint8Array, batch: number, context: number, { characters }: Corpus) {
  const model = parseModel(bytes);
  const output = model.graph.outputs[0]?.name ?? '';
  const graph = inferShapes(graphFromOnnx(model, { shapes: { tokens: [batch, context] } }));
  const made = graph.types.get(output)?.shape ?? [];
  if (graph.inputs.join() !== 'tokens' || made.join() !== [batch, context, characters.length].join()) {
    throw new DeployError('E_LAB', `Expected a model that makes logits of [${batch}, ${context}, ${characters.length}] (batch, context, characters) of an input 'tokens' but it makes [${made.join(', ')}] of ${graph.inputs.join(', ')}`);
  }
  return { model, graph, output };
}

/** Characters of the prompts that a student of a teacher is judged after, as a share of the context. */
const promptShare = 0.25;
/** Rows of samples that are judged at once, and how many times so many. */
const [judgedRows, judgedTimes] = [32, 8];

/**
 * What a student writes after prompts of a text, judged by its teacher: KL(student || teacher), and how likely the teacher finds it.
 * @param tokens a text that neither has learned from; prompts are at equal distances in it
 * @param seed of what is drawn
 */
export async function judgeSamples(student: LanguageModel, teacher: LanguageModel, tokens: Int32Array, { context, characters, seed }: { context: number; characters: number; seed: number }): Promise<SampleQuality> {
  const prompt = Math.max(1, Math.floor(promptShare * context));
  const size = { rows: judgedRows, context, prompt, characters };
  const all: Samples[] = [];
  for (let time = 0; time < judgedTimes; time++) {
    const prompts = Array.from({ length: judgedRows }, (_, row) => {
      const start = Math.floor(((time * judgedRows + row) * Math.max(0, tokens.length - prompt)) / (judgedRows * judgedTimes));
      return tokens.subarray(start, start + prompt);
    });
    all.push(await drawSamples({ student: student.predict, teacher: teacher.predict, teacherShare: 0 }, size, prompts, randomOf(seed, time)));
  }
  return qualityOf(all);
}

/** The report of a model that has been trained. */
async function reported(made: Uint8Array, trainer: Trainer, { config, corpus, teacher, dataHash, path }: { config: TextConfig; corpus: Corpus; teacher: LanguageModel | undefined; dataHash: string; path: string }): Promise<TextReport> {
  const { data: { context }, seed, threads } = config;
  const student = languageModel(made, threads);
  try {
    return {
      model: path, parameters: [...trainer.weights.values()].reduce((sum, { length }) => sum + length, 0), steps: trainer.step,
      loss: meanOf(trainer.losses.slice(-Math.ceil(trainer.losses.length / 10))), characters: corpus.characters.length,
      perplexity: await perplexityOf(made, corpus.judged, context), seed, data_sha256: dataHash,
      ...(teacher === undefined ? {} : { samples: await judgeSamples(student, teacher, corpus.judged, { context, characters: corpus.characters.length, seed }) }),
    };
  } finally {
    await student.close();
  }
}

async function trainedOn(config: TextConfig, folder: string, { corpus, teacher }: { corpus: Corpus; teacher: LanguageModel | undefined }, events: LabEvents): Promise<TextReport> {
  const { data: { context } } = config;
  const bytes = await modelOf(config, corpus.characters.length);
  const objective = objectiveOf(config, corpus, teacher);
  const language = languageOf(bytes, objective.rows, context, corpus);
  const training = trainingModel(language.graph, { inputs: objective.inputs, loss: (m) => objective.loss(m, language.output) });
  const dataHash = createHash('sha256').update(corpus.train).update(corpus.judged).digest('hex');
  const { batches, close } = await objective.batches(training, (rows) => languageOf(bytes, rows, context, corpus).graph);
  let trainer: Trainer | undefined;
  try {
    trainer = await openTrained(training, config, { folder, bytes, dataHash, teacher: teacher?.bytes, batches }, events);
    const record = { version: runtimeVersion, config, characters: corpus.characters.join(''), data_sha256: dataHash };
    const made = trained(language, trainer, record);
    const report = await reported(made, trainer, { config, corpus, teacher, dataHash, path: join(folder, 'model.onnx') });
    await writeFileAtomic(report.model, made, 0o644);
    await writeFileAtomic(join(folder, 'loss.svg'), lossSvg(trainer.losses, `loss of ${trainer.step} steps (${config.teacher?.method ?? config.loss.kind})`), 0o644);
    await writeFileAtomic(join(folder, 'run.json'), `${JSON.stringify({ ...record, ...report }, null, 2)}\n`, 0o644);
    return report;
  } finally {
    await trainer?.close();
    await close();
  }
}

/**
 * Trains a model that predicts the next character of a text, alone or with a teacher, and writes `model.onnx`, `loss.svg` and `run.json` into the folder;
 * an interrupted run goes on from `checkpoint.bin` there, with the same bits.
 * @throws DeployError E_LAB, E_FILE, E_USAGE; RuntimeError E_GRADIENT, E_ENGINE_MISSING and others
 */
export async function runText(config: TextConfig, folder: string, events: LabEvents = {}): Promise<TextReport> {
  checkTeacher(config);
  await mkdir(folder, { recursive: true });
  const { data, threads } = config;
  const corpus = await readCorpus(data.file, data.held_out, data.context);
  const teacher = config.teacher === undefined ? undefined : await openTeacher(config.teacher.model, corpus, data.context, threads);
  try {
    return await trainedOn(config, folder, { corpus, teacher }, events);
  } finally {
    await teacher?.close();
  }
}
