/** The recipe of the student that the demonstration listens with: cross-validation first, then the model that is shipped. */
import { createSession } from '../../runtime/session.js';
import { uniform } from '../compress/random.js';
import { withWrongLabels } from '../lab/clips.js';
import { mixedPatches, patchOf, recordedPatches, synthesizedClasses, synthesizedPatches, type Raw } from './examples.js';
import { inheritBlocks } from './inherit.js';
import { agreementOf, toInt8, type Agreement } from './int8.js';
import type { Recordings } from './clips.js';
import { learn, learnHeads, seenIn, type Example, type TeachOptions } from './learn.js';
import { givenWeights, ownNet, parametersOf, patch, poolsModel, studentModel, type ClassLoss, type StudentShape, type Weight } from './student.js';
import { embeddingSize, LinearHead, Standard, type Teacher } from './teacher.js';

export interface RecipeOptions {
  seed: number;
  /** Passes over the examples in which the layers learn; 0: those of the teacher stay as they are. */
  epochs: number;
  /** Passes before them in which only the heads over the teacher's blocks learn. */
  headEpochs: number;
  /** Highest rate of learning in those. */
  headRate: number;
  /** Mixtures of two recordings, of each fold. */
  mixtures: number;
  /** Synthesized patches, for the model that is shipped. */
  synthesized: number;
  /** What the student begins with: the teacher's first blocks, or random weights. */
  init: 'teacher' | 'random';
  /** Most parameters of a student that begins with the teacher's blocks. */
  parameters: number;
  loss: ClassLoss;
  /** How much the answer of the teacher's classifier weighs beside the label, 0..1. */
  trust: number;
  /** Weight of the teacher's embedding in the loss. */
  distill: number;
  /** Share of the recordings to learn from whose label is replaced by a wrong one, for experiments. Those of the fold that judges keep theirs. */
  wrongLabels: number;
  log: (line: string) => void;
}

export const recipeDefaults = {
  seed: 1, epochs: 0, headEpochs: 10, headRate: 3e-3, mixtures: 300, synthesized: 2000, init: 'teacher', parameters: 100_000, loss: { kind: 'cross-entropy' }, trust: 0.4, distill: 8, wrongLabels: 0,
} as const satisfies Omit<RecipeOptions, 'log'>;

/** Shares of clips whose class was found, over the folds that were left out. */
export interface Accuracy {
  teacher: number;
  student: number;
  int8: number;
  clips: number;
  /** Of the int8 student with the float student, mean over the patches of the folds that were left out. */
  agreement: Agreement;
}

export interface Shipped {
  model: Uint8Array;
  classes: string[];
  parameters: number;
  /** Mean cosine between int8 and float32. */
  cosine: number;
  /** Of features, as the manifest of a package says it. */
  normalize: { mean: number[]; std: number[] };
}

/** What a student begins with. */
export interface Start {
  shape: StudentShape;
  /** Left out: random weights. */
  from?: Record<string, Weight>;
  about: Pick<TeachOptions, 'peak' | 'frozen' | 'layerRate'>;
}

/** Variations of each example that heads over given layers learn from. */
const variations = 2;

/** Layers of this share of the way through the teacher's blocks are learned further; those before hear edges that all sounds have. */
const frozenShare = 0.6;

/**
 * @param model the teacher's
 * @throws DeployError E_LAB: a teacher of another geometry
 */
export function startOf(model: Uint8Array, classes: number, { init, parameters, distill }: Pick<RecipeOptions, 'init' | 'parameters' | 'distill'>): Start {
  const teacher = distill > 0 ? embeddingSize : 0;
  if (init === 'random') return { shape: { classes, teacher }, about: {} };
  const { net, layers } = inheritBlocks(model, { classes, parameters });
  const shape = { classes, teacher, net };
  return { shape, from: givenWeights(shape, layers), about: { peak: 5e-4, layerRate: 0.4, frozen: Math.floor(frozenShare * net.layers.length) } };
}

/** Recordings with what the teacher makes of them: computed once for all that is trained. */
export interface Material {
  /** Of the recordings, then those that are synthesized. */
  classes: string[];
  /** With their own labels, also where the patches have wrong ones. */
  clips: Recordings['clips'];
  recorded: Raw[];
  mixed: Raw[];
  start: Start;
}

/** @throws DeployError E_LAB: a teacher of another geometry */
export async function gather({ classes, clips }: Recordings, teacher: Teacher, options: RecipeOptions): Promise<Material> {
  const { mixtures, seed, wrongLabels, log } = options;
  const all = [...classes, ...synthesizedClasses];
  const start = startOf(teacher.model, all.length, options);
  const learned = withWrongLabels(clips, classes.length, wrongLabels, seed + 101);
  const recorded = await recordedPatches(learned, all.length, teacher);
  log(`${recorded.length} patches of ${clips.length} recordings`);
  const mixed = await mixedPatches(learned, all.length, teacher, { perFold: mixtures, seed });
  log(`${mixed.length} mixtures`);
  return { classes: all, clips, recorded: await withSeen(recorded, start, seed), mixed: await withSeen(mixed, start, seed + 1), start };
}

/** Examples with what the heads see of them, if the student begins with given layers. */
export async function withSeen<T extends Pick<Raw, 'rows' | 'start' | 'seen'>>(examples: readonly T[], { shape: { net = ownNet }, from }: Start, seed: number): Promise<T[]> {
  if (from === undefined) return [...examples];
  const session = await createSession(poolsModel(from, { net }), { engine: 'onnxruntime' });
  const random = uniform(seed + 57);
  const found: T[] = [];
  for (const raw of examples) found.push({ ...raw, seen: await seenIn(session, raw, net, variations, random) });
  await session.close();
  return found;
}

/** One fold left out: what is learned from the others, and what is judged on. */
export interface Fold {
  number: number;
  lesson: Lesson;
  held: Raw[];
}

/** The teacher's classifier and the scale of its embedding see the other folds only. */
export async function foldsOf({ classes, clips, recorded, mixed }: Material, options: Pick<RecipeOptions, 'trust'>): Promise<Fold[]> {
  const folds: Fold[] = [];
  for (const number of [...new Set(clips.map(({ fold }) => fold))].sort((a, b) => a - b)) {
    const known = (raw: Raw): boolean => raw.fold !== number;
    folds.push({ number, lesson: await lessonOf(recorded.filter(known), mixed.filter(known), classes.length, options), held: recorded.filter((raw) => !known(raw)) });
  }
  return folds;
}

/** Leaves one fold out at a time. @param folds those of the material, to compare students that learn the same in different ways */
export async function crossValidate(material: Material, options: RecipeOptions, folds?: readonly Fold[]): Promise<Accuracy> {
  const { clips, start } = material;
  const right = { teacher: 0, student: 0, int8: 0 };
  const answers: { float: Float32Array[]; int8: Float32Array[] } = { float: [], int8: [] };
  for (const { number, lesson, held } of folds ?? await foldsOf(material, options)) {
    const { float, int8 } = await teach(lesson.examples, start, options);
    const [scores, narrow] = [await scoresOf(float, held, start.shape), await scoresOf(int8, held, start.shape)];
    answers.float.push(...scores);
    answers.int8.push(...narrow);
    const count = (of: (raw: Raw, i: number) => ArrayLike<number>): number => rightClips(held, clips, of);
    right.teacher += count((raw) => lesson.head.probabilities(lesson.standard.of(raw.embedding)));
    right.student += count((_, i) => scores[i] ?? []);
    right.int8 += count((_, i) => narrow[i] ?? []);
    options.log(`fold ${number} left out: right so far: teacher ${right.teacher}, student ${right.student}, int8 ${right.int8}`);
  }
  const share = (n: number): number => n / clips.length;
  return { teacher: share(right.teacher), student: share(right.student), int8: share(right.int8), clips: clips.length, agreement: agreementOf(answers.float, answers.int8) };
}

/** The student of all folds, with sirens and horns. */
export async function ship({ classes, clips, recorded, mixed, start }: Material, teacher: Teacher, options: RecipeOptions): Promise<Shipped> {
  const synthesized = await synthesizedPatches(clips, classes, teacher, { count: options.synthesized, seed: options.seed + 1 });
  options.log(`${synthesized.length} synthesized patches`);
  const { examples } = await lessonOf(recorded, [...mixed, ...await withSeen(synthesized, start, options.seed + 2)], classes.length, options);
  const { int8, parameters, cosine } = await teach(examples, start, options);
  const { mean, std } = (start.shape.net ?? ownNet).scale;
  return { model: int8, classes, parameters, cosine, normalize: { mean: [mean], std: [std] } };
}

interface Lesson {
  examples: Example[];
  head: LinearHead;
  standard: Standard;
}

async function lessonOf(recorded: readonly Raw[], others: readonly Raw[], classes: number, { trust }: Pick<RecipeOptions, 'trust'>): Promise<Lesson> {
  const standard = new Standard(recorded.map(({ embedding }) => embedding));
  const inputs = recorded.map(({ embedding }) => standard.of(embedding));
  const head = await LinearHead.fit(inputs, recorded.map(({ target }) => target.indexOf(1)), { classes });
  const taught = recorded.map(({ target, ...raw }, i): Example => {
    const embedding = inputs[i] ?? new Float32Array(embeddingSize);
    const answer = head.probabilities(embedding);
    return { ...raw, embedding, target: target.map((value, c) => (1 - trust) * value + trust * (answer[c] ?? 0)) };
  });
  return { head, standard, examples: [...taught, ...others.map((raw) => ({ ...raw, embedding: standard.of(raw.embedding) }))] };
}

async function teach(examples: readonly Example[], { shape, from, about }: Start, { seed, epochs, headEpochs, headRate, loss, distill, log }: RecipeOptions): Promise<{ float: Uint8Array; int8: Uint8Array; parameters: number; cosine: number }> {
  const common = { shape, seed, loss, distill };
  const begun = from === undefined ? undefined : await learnHeads(examples, { ...common, epochs: headEpochs, from, peak: headRate });
  const weights = begun !== undefined && epochs === 0 ? begun : await learn(examples, {
    ...common, ...about, epochs, ...(begun === undefined ? {} : { from: begun }), onEpoch: (epoch, mean) => log(`epoch ${epoch + 1} of ${epochs}: loss ${mean.toFixed(4)}`),
  });
  const float = studentModel(weights, shape, loss);
  const every = Math.max(1, Math.floor(examples.length / 200));
  const calibration = examples.filter((_, i) => i % every === 0).map((example) => ({ patch: feedOf(example, shape) }));
  const { model, report } = await toInt8(float, calibration, shape.net ?? ownNet);
  return { float, int8: model, parameters: parametersOf(weights), cosine: report.output_cosine };
}

function feedOf(raw: Pick<Raw, 'rows' | 'start'>, { net = ownNet }: StudentShape): { type: 'float32'; dims: number[]; data: Float32Array } {
  return { type: 'float32', dims: [1, 1, patch.rows, patch.bands], data: patchOf(raw).map((feature) => (feature - net.scale.mean) / net.scale.std) };
}

async function scoresOf(model: Uint8Array, patches: readonly Raw[], shape: StudentShape): Promise<Float32Array[]> {
  const session = await createSession(model);
  const scores: Float32Array[] = [];
  for (const raw of patches) scores.push(Float32Array.from((await session.run({ patch: feedOf(raw, shape) }))['scores']?.data ?? [], Number));
  await session.close();
  return scores;
}

/** Recordings whose label is found: that of the class with the largest mean score over their patches. */
export function rightClips<T extends Pick<Raw, 'clip'>>(patches: readonly T[], clips: readonly { label: number }[], scoresOfPatch: (raw: T, i: number) => ArrayLike<number>): number {
  const sums = new Map<number, Float64Array>();
  patches.forEach((raw, i) => {
    const scores = scoresOfPatch(raw, i);
    sums.set(raw.clip, Float64Array.from(scores, (score, c) => score + (sums.get(raw.clip)?.[c] ?? 0)));
  });
  return [...sums].filter(([clip, scores]) => scores.indexOf(Math.max(...scores)) === clips[clip]?.label).length;
}
