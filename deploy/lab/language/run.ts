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
import type { TextConfig } from '../config.js';
import { lossSvg } from '../curve.js';
import { labelLoss } from '../losses.js';
import { trained } from '../student.js';
import { meanOf, openTrained, type LabEvents, type TrainingReport } from '../training-run.js';
import { trainingModel } from '../training-model.js';
import { passages, perplexityOf, readCorpus, type Corpus } from './text.js';
import { buildTransformer } from './transformer.js';

/** What came of training on a text. */
export interface TextReport extends TrainingReport {
  characters: number;
  /** Of the part of the text that is only judged on. */
  perplexity: number;
}

/** The model to train: that of a file, or a transformer that is built. @throws DeployError E_USAGE */
async function modelOf({ model, data, seed }: TextConfig, vocabulary: number): Promise<Uint8Array> {
  if (typeof model === 'string') return readInputFile(model);
  const { student } = model;
  if (!('kind' in student)) throw new DeployError('E_USAGE', 'model.student: expected kind: transformer for data of kind text');
  if (student.width % student.heads !== 0) throw new DeployError('E_USAGE', `model.student.width: expected a multiple of the ${student.heads} heads but received ${student.width}`);
  return buildTransformer({ vocabulary, width: student.width, layers: student.layers, heads: student.heads, context: data.context, seed });
}

function languageOf(bytes: Uint8Array, { batch, data: { context } }: TextConfig, { characters }: Corpus) {
  const model = parseModel(bytes);
  const output = model.graph.outputs[0]?.name ?? '';
  const graph = inferShapes(graphFromOnnx(model, { shapes: { tokens: [batch, context] } }));
  const made = graph.types.get(output)?.shape ?? [];
  if (graph.inputs.join() !== 'tokens' || made.join() !== [batch, context, characters.length].join()) {
    throw new DeployError('E_LAB', `Expected a model that makes logits of [${batch}, ${context}, ${characters.length}] (batch, context, characters) of an input 'tokens' but it makes [${made.join(', ')}] of ${graph.inputs.join(', ')}`);
  }
  return { model, graph, output };
}

/**
 * Trains a model that predicts the next character of a text, and writes `model.onnx`, `loss.svg` and `run.json` into the folder; an interrupted run goes
 * on from `checkpoint.bin` there, with the same bits.
 * @throws DeployError E_LAB, E_FILE, E_USAGE; RuntimeError E_GRADIENT, E_ENGINE_MISSING and others
 */
export async function runText(config: TextConfig, folder: string, events: LabEvents = {}): Promise<TextReport> {
  await mkdir(folder, { recursive: true });
  const { data, batch, seed } = config;
  if (config.teacher !== undefined) throw new DeployError('E_USAGE', 'teacher: models of text are trained without a teacher; leave it out');
  const corpus = await readCorpus(data.file, data.held_out, data.context);
  const bytes = await modelOf(config, corpus.characters.length);
  const language = languageOf(bytes, config, corpus);
  const rows = [batch * data.context, corpus.characters.length];
  const training = trainingModel(language.graph, {
    inputs: { 'lab.target': { dtype: 'float32', shape: rows } },
    loss: (m) => labelLoss(m, config.loss, m.reshape(language.output, rows), 'lab.target'),
  });
  const dataHash = createHash('sha256').update(corpus.train).update(corpus.judged).digest('hex');
  const batches = passages(corpus, { batch, context: data.context, seed });
  const trainer = await openTrained(training, config, { folder, bytes, dataHash, batches: (step) => {
    const { tokens, target } = batches(step);
    return { tokens, 'lab.target': target };
  } }, events);
  try {
    const record = { version: runtimeVersion, config, characters: corpus.characters.join(''), data_sha256: dataHash };
    const made = trained(language, trainer, record);
    const report: TextReport = {
      model: join(folder, 'model.onnx'), parameters: [...trainer.weights.values()].reduce((sum, { length }) => sum + length, 0), steps: trainer.step,
      loss: meanOf(trainer.losses.slice(-Math.ceil(trainer.losses.length / 10))), characters: corpus.characters.length,
      perplexity: await perplexityOf(made, corpus.judged, data.context), seed, data_sha256: dataHash,
    };
    await writeFileAtomic(report.model, made, 0o644);
    await writeFileAtomic(join(folder, 'loss.svg'), lossSvg(trainer.losses, `loss of ${trainer.step} steps (${config.loss.kind})`), 0o644);
    await writeFileAtomic(join(folder, 'run.json'), `${JSON.stringify({ ...record, ...report }, null, 2)}\n`, 0o644);
    return report;
  } finally {
    await trainer.close();
  }
}
