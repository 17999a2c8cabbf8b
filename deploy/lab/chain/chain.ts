import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../../../runtime/atomic-file.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import { centredCosine, meanAgreement, outputsOf, type Agreement } from '../../../runtime/quantize/report/fidelity.js';
import { createSession } from '../../../runtime/session.js';
import { runtimeVersion } from '../../../runtime/version.js';
import { DeployError } from '../../errors.js';
import { divided } from '../divided.js';
import { statesOf, type ChainConfig, type ChainStep, type ModelState } from './config.js';
import { carryOut, type Feeds, type Figures, type StepContext } from './steps.js';

/** What is kept of a step. */
export interface StepRecord {
  readonly step: ChainStep;
  readonly state: ModelState;
  readonly figures: Figures;
  readonly bytes: number;
  /** Agreement with the original on samples that no step saw: the cosine of the outputs without their mean over the samples. */
  readonly agreement: number;
  /** Of a detector, the share of the original's boxes that are kept; null of other models. */
  readonly boxes: number | null;
  readonly sha256: string;
}

export interface ChainReport {
  model: string;
  input_bytes: number;
  output_bytes: number;
  steps: StepRecord[];
  /** Steps that an earlier, interrupted run had made. */
  resumed: number;
  used_samples: number;
  judged_samples: number;
  data_sha256: string;
  seed: number;
}

export interface ChainInput {
  readonly bytes: Uint8Array;
  readonly samples: readonly Feeds[];
  readonly shapes: Readonly<Record<string, readonly number[]>>;
  /** How answers of a detector are compared. */
  readonly agreement?: Agreement | undefined;
}

export interface ChainEvents {
  onStage?(stage: string, done: number, total: number, detail?: string): void;
  /** A step is complete. @param index of the step, from 0 */
  onStep?(index: number): void;
}

/** Ten samples for what needs the most, and every fifth judges. */
export const fewestChainSamples = 13;

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** @returns a hash of what samples hold */
export function hashOfSamples(samples: readonly Feeds[]): string {
  const hash = createHash('sha256');
  for (const feeds of samples) {
    for (const [name, { type, dims, data }] of Object.entries(feeds)) hash.update(`${name}:${type}:${dims.join()}:`).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest('hex');
}

/** The answers of a model to samples, on the engine that runs it. */
export async function answersTo(bytes: Uint8Array, samples: readonly Feeds[], shapes: ChainInput['shapes']): Promise<Feeds[]> {
  const session = await createSession(bytes, { shapes, floats: 'float32' });
  return outputsOf(session, samples).finally(() => session.close());
}

/** Progress of a chain, in `chain.json`: after a kill at any moment it has the steps whose models are complete. */
interface Progress {
  run: string;
  steps: StepRecord[];
}

const stepFile = (folder: string, i: number): string => join(folder, `step-${i + 1}.onnx`);

async function readProgress(folder: string, run: string): Promise<StepRecord[]> {
  const path = join(folder, 'chain.json');
  const refuse = (problem: string, cause?: unknown): DeployError => new DeployError('E_LAB', `${path} ${problem}; delete it to begin anew`, { cause, details: { path } });
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw refuse('cannot be read', cause);
  }
  let progress: Progress;
  try {
    progress = JSON.parse(text) as Progress;
  } catch (cause) {
    throw refuse('is damaged', cause);
  }
  if (progress.run !== run || !Array.isArray(progress.steps)) throw refuse('belongs to a chain of other steps, another model or other data');
  return progress.steps;
}

/** The model after the steps that are made. @throws DeployError E_LAB: its file is missing or damaged */
async function modelAfter(folder: string, steps: readonly StepRecord[], original: Uint8Array): Promise<Uint8Array> {
  const last = steps.at(-1);
  if (last === undefined) return original;
  const path = stepFile(folder, steps.length - 1);
  const bytes = await readFile(path).catch(() => undefined);
  if (bytes === undefined || sha256(bytes) !== last.sha256) throw new DeployError('E_LAB', `${path} is missing or damaged; delete chain.json beside it to begin anew`, { details: { path } });
  return bytes;
}

/** The model with the record of its chain, and of nothing else: each step's own record is in there. */
function recorded(bytes: Uint8Array, original: Uint8Array, record: object): Uint8Array {
  const model = parseModel(bytes);
  return serializeModel({ ...model, metadata: new Map([...parseModel(original).metadata, ...model.metadata, ['sterna.lab.chain', JSON.stringify(record)]]) });
}

interface Judge {
  judge(bytes: Uint8Array): Promise<Pick<StepRecord, 'agreement' | 'boxes'>>;
}

/** Judges models by the original's answers to samples. */
export async function judgeOf({ bytes, shapes, agreement }: ChainInput, judged: readonly Feeds[]): Promise<Judge> {
  const wanted = await answersTo(bytes, judged, shapes);
  return {
    judge: async (made) => {
      const answers = await answersTo(made, judged, shapes);
      return { agreement: centredCosine(wanted, answers), boxes: agreement === undefined ? null : meanAgreement(wanted, answers, agreement) };
    },
  };
}

/** What a chain's folder belongs to: its steps and settings, on this model and these samples. */
const runOf = (config: ChainConfig, input: ChainInput, data: string): string =>
  createHash('sha256').update(runtimeVersion).update(sha256(input.bytes)).update(data).update(JSON.stringify({ ...config, model: '', data: '' })).digest('hex');

/**
 * Gives a chain the first steps of another one that has the same model, samples and settings: the same steps make the same bytes.
 * @param from folder of the other chain
 * @returns how many steps the chain has now; those that it had count, and none is taken twice
 * @throws DeployError E_LAB: files that are damaged, or belong to something else
 */
export async function adoptSteps(config: ChainConfig, input: ChainInput, { folder, from }: { folder: string; from: { folder: string; config: ChainConfig } }): Promise<number> {
  const data = hashOfSamples(input.samples);
  const run = runOf(config, input, data);
  const own = await readProgress(folder, run);
  const other = await readProgress(from.folder, runOf(from.config, input, data));
  const differs = config.chain.findIndex((step, i) => JSON.stringify(step) !== JSON.stringify(other[i]?.step));
  const shared = differs === -1 ? config.chain.length : differs;
  if (shared <= own.length) return own.length;
  await mkdir(folder, { recursive: true });
  for (let i = 1; i <= shared; i++) await writeFileAtomic(stepFile(folder, i - 1), await modelAfter(from.folder, other.slice(0, i), input.bytes), 0o644);
  await writeFileAtomic(join(folder, 'chain.json'), `${JSON.stringify({ run, steps: other.slice(0, shared) }, null, 2)}\n`, 0o644);
  return shared;
}

/** @throws DeployError E_LAB */
export function splitSamples(samples: readonly Feeds[]): { tuned: Feeds[]; judged: Feeds[] } {
  if (samples.length < fewestChainSamples) throw new DeployError('E_LAB', `Expected at least ${fewestChainSamples} samples for a chain but received ${samples.length}: every fifth one judges, and no step sees it`);
  return divided(samples);
}

/**
 * Carries out the steps of a chain, each on what the one before it made, and writes `model.onnx` and `run.json` into the folder. A chain that was
 * interrupted goes on at the step where it was.
 * @throws DeployError E_LAB: steps that cannot follow one another, too few samples, files of another chain; what the methods throw
 */
export async function runChain(config: ChainConfig, input: ChainInput, folder: string, { onStage, onStep }: ChainEvents = {}): Promise<ChainReport> {
  const states = statesOf(config.chain);
  const { tuned, judged } = splitSamples(input.samples);
  const data = hashOfSamples(input.samples);
  const run = runOf(config, input, data);
  await mkdir(folder, { recursive: true });
  const steps = await readProgress(folder, run);
  const resumed = steps.length;
  let bytes = await modelAfter(folder, steps, input.bytes);
  const { judge } = await judgeOf(input, judged);
  const context: StepContext = { original: input.bytes, samples: tuned, shapes: input.shapes, seed: config.seed, threads: config.threads, agreement: input.agreement };
  for (const [i, step] of config.chain.entries()) {
    if (i < resumed) continue;
    const title = `step ${i + 1} of ${config.chain.length}, ${step.method}`;
    onStage?.(title, 0, 1);
    const { model, figures } = await carryOut(step, bytes, states[i - 1] ?? 'float', { ...context, onStage: (stage, done, total, detail) => onStage?.(`${title}: ${stage}`, done, total, detail) });
    await writeFileAtomic(stepFile(folder, i), model, 0o644);
    steps.push({ step, state: states[i] ?? 'float', figures, bytes: model.length, ...await judge(model), sha256: sha256(model) });
    await writeFileAtomic(join(folder, 'chain.json'), `${JSON.stringify({ run, steps }, null, 2)}\n`, 0o644);
    bytes = model;
    onStep?.(i);
  }
  const record = { version: runtimeVersion, seed: config.seed, data_sha256: data, used_samples: tuned.length, judged_samples: judged.length, original_sha256: sha256(input.bytes), steps };
  const made = recorded(bytes, input.bytes, record);
  const report: ChainReport = {
    model: join(folder, 'model.onnx'), input_bytes: input.bytes.length, output_bytes: made.length, steps, resumed,
    used_samples: tuned.length, judged_samples: judged.length, data_sha256: data, seed: config.seed,
  };
  await writeFileAtomic(report.model, made, 0o644);
  await writeFileAtomic(join(folder, 'run.json'), `${JSON.stringify({ config, ...record, ...report }, null, 2)}\n`, 0o644);
  return report;
}
