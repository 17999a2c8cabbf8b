import { openOnnxRuntime } from '../../../runtime/engines/onnxruntime.js';
import { constantsToInputs } from '../../../runtime/gradients/differentiate.js';
import type { Calculus } from '../../../runtime/gradients/rule.js';
import { graphToOnnx } from '../../../runtime/graph/export.js';
import type { Graph } from '../../../runtime/graph/graph.js';
import type { ValueType } from '../../../runtime/graph/tensor-value.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { DeployError } from '../../errors.js';
import { plainLossOf, softTargetsOf, type MiniLlmConfig, type TextConfig } from '../config.js';
import { randomOf } from '../examples.js';
import { distillationLoss, labelLoss } from '../losses.js';
import type { Arrays } from '../optimizers.js';
import type { Batches } from '../trainer.js';
import type { TrainingModel } from '../training-model.js';
import { policyFeeds, policyInputs, policyLoss } from './minillm.js';
import { drawSamples, type Predictor, type SampleSize } from './sampling.js';
import type { LanguageModel } from './teacher.js';
import { passages, tokensTensor, type Corpus } from './text.js';

/** Numbers of samples must not be those that choose the passages of the same step. */
const samplingSeed = 7_368_787;

/** What a run on a text minimizes, and what it feeds. */
export interface Objective {
  /** Rows of tokens of a step. */
  readonly rows: number;
  readonly inputs: Readonly<Record<string, ValueType>>;
  /** @param logits [rows, context, characters] */
  loss(m: Calculus, logits: string): string;
  /** @param studentGraph inferred for as many rows as `sampledRows` */
  batches(training: TrainingModel, studentGraph: (rows: number) => Graph): Promise<{ batches: Batches; close(): Promise<void> }>;
}

const nothing = (): Promise<void> => Promise.resolve();

/** The text itself, and what the teacher thinks of it. */
function textObjective(config: TextConfig, corpus: Corpus, teacher: LanguageModel | undefined): Objective {
  const { batch, data: { context }, seed } = config;
  const rows: ValueType = { dtype: 'float32', shape: [batch * context, corpus.characters.length] };
  const soft = softTargetsOf(config);
  const plain = passages(corpus, { batch, context, seed });
  return {
    rows: batch, inputs: { 'lab.target': rows, ...(soft === undefined ? {} : { 'lab.teacher': rows }) },
    loss(m, logits) {
      const flat = m.reshape(logits, rows.shape);
      const labels = labelLoss(m, plainLossOf(config), flat, 'lab.target');
      return soft === undefined ? labels : m.add(m.scale(labels, 1 - soft.weight), m.scale(distillationLoss(m, soft, flat, 'lab.teacher'), soft.weight));
    },
    batches: () => Promise.resolve({ close: nothing, batches: async (step) => {
      const { tokens, target } = plain(step);
      const answer = teacher === undefined || soft === undefined ? {} : { 'lab.teacher': { type: 'float32', dims: rows.shape, data: await teacher.predict(tokens) } as Tensor };
      return { tokens, 'lab.target': target, ...answer };
    } }),
  };
}

/** Prompts at random places of the text. */
function promptsAt({ train }: Corpus, { rows, prompt }: SampleSize, next: () => number): Int32Array[] {
  return Array.from({ length: rows }, () => {
    const start = Math.floor(next() * (train.length - prompt));
    return train.subarray(start, start + prompt);
  });
}

/** The student with the weights that it has at a step. */
async function openStudent(graph: Graph, training: TrainingModel, output: string, threads: number) {
  const session = await openOnnxRuntime(serializeModel(graphToOnnx(constantsToInputs(graph, [...training.weights.keys()]))), { threads });
  const predict = (weights: Arrays): Predictor => {
    const fed = Object.fromEntries([...training.weights].map(([name, { dims }]) => [name, { type: 'float32', dims, data: weights.get(name) ?? new Float32Array(0) } as const]));
    return async (tokens) => (await session.run({ tokens, ...fed }))[output]?.data as Float32Array;
  };
  return { predict, close: () => session.close() };
}

const joined = (a: Tensor, b: Tensor, context: number): Tensor => ({ type: 'int64', dims: [(a.dims[0] ?? 0) + (b.dims[0] ?? 0), context], data: BigInt64Array.from([...(a.data as BigInt64Array), ...(b.data as BigInt64Array)]) });

/** How many samples of which length a run draws. @throws DeployError E_USAGE */
function sizeOf({ batch, data: { context } }: TextConfig, { samples, prompt }: MiniLlmConfig, characters: number): SampleSize {
  const size = { rows: samples ?? batch, context, prompt: prompt ?? Math.max(1, Math.floor(context / 4)), characters };
  if (size.prompt > context) throw new DeployError('E_USAGE', `teacher.prompt: expected at most the context of ${context} but received ${size.prompt}`);
  return size;
}

/** What the student writes itself, and the text besides. */
function sampledObjective(config: TextConfig, settings: MiniLlmConfig, corpus: Corpus, teacher: LanguageModel): Objective {
  const { batch, data: { context }, seed, threads } = config;
  const characters = corpus.characters.length;
  const size = sizeOf(config, settings, characters);
  const textRows = settings.text_weight > 0 ? batch : 0;
  const text: ValueType = { dtype: 'float32', shape: [textRows * context, characters] };
  const plain = passages(corpus, { batch, context, seed });
  return {
    rows: size.rows + textRows, inputs: { ...policyInputs(size), ...(textRows === 0 ? {} : { 'lab.target': text }) },
    loss(m, logits) {
      const policy = policyLoss(m, logits, size);
      if (textRows === 0) return policy;
      const own = m.reshape(m.slice(logits, 0, size.rows, size.rows + textRows), text.shape);
      return m.add(policy, m.scale(labelLoss(m, plainLossOf(config), own, 'lab.target'), settings.text_weight));
    },
    async batches(training, studentGraph) {
      const graph = studentGraph(size.rows);
      const student = await openStudent(graph, training, graph.outputs[0] ?? '', threads);
      const batches: Batches = async (step, weights) => {
        const next = randomOf(seed + samplingSeed, step);
        const models = { student: student.predict(weights), teacher: teacher.predict, teacherShare: settings.teacher_share };
        const samples = await drawSamples(models, size, promptsAt(corpus, size, next), next);
        const seen = Array.from({ length: size.rows }, (_, row) => [...samples.tokens.subarray(row * (context + 1), row * (context + 1) + context)]).flat();
        const [tokens, feeds] = [tokensTensor(seen, [size.rows, context]), policyFeeds(samples, settings)];
        if (textRows === 0) return { tokens, ...feeds };
        const passage = plain(step);
        return { tokens: joined(tokens, passage.tokens, context), 'lab.target': passage.target, ...feeds };
      };
      return { batches, close: () => student.close() };
    },
  };
}

/** What the configuration asks for. @param teacher that of the configuration @throws DeployError E_USAGE */
export function objectiveOf(config: TextConfig, corpus: Corpus, teacher: LanguageModel | undefined): Objective {
  return config.teacher?.method === 'minillm' && teacher !== undefined ? sampledObjective(config, config.teacher, corpus, teacher) : textObjective(config, corpus, teacher);
}
