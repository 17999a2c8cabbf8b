/** The recipe of the student that the demonstration listens with: cross-validation first, then the model that is shipped. */
import { quantizeModel } from '../../runtime/quantize/quantize.js';
import { createSession } from '../../runtime/session.js';
import { mixedPatches, patchOf, recordedPatches, synthesizedClasses, synthesizedPatches, type Raw } from './examples.js';
import type { Recordings } from './clips.js';
import { learn, type Example } from './learn.js';
import { parametersOf, patch, patchScale, studentModel, type StudentShape } from './student.js';
import { embeddingSize, LinearHead, Standard, type Teacher } from './teacher.js';

export interface RecipeOptions {
  seed: number;
  /** Passes over the examples. */
  epochs: number;
  /** Mixtures of two recordings, of each fold. */
  mixtures: number;
  /** Synthesized patches, for the model that is shipped. */
  synthesized: number;
  log: (line: string) => void;
}

/** Shares of clips whose class was found, over the folds that were left out. */
export interface Accuracy {
  teacher: number;
  student: number;
  int8: number;
  clips: number;
}

export interface Shipped {
  model: Uint8Array;
  classes: string[];
  parameters: number;
  /** Mean cosine between int8 and float32. */
  cosine: number;
}

/** How much the teacher's own answer weighs beside the label. */
const trust = 0.4;

/** Recordings with what the teacher makes of them: computed once for all that is trained. */
export interface Material {
  /** Of the recordings, then those that are synthesized. */
  classes: string[];
  clips: Recordings['clips'];
  recorded: Raw[];
  mixed: Raw[];
}

export async function gather({ classes, clips }: Recordings, teacher: Teacher, { mixtures, seed, log }: RecipeOptions): Promise<Material> {
  const all = [...classes, ...synthesizedClasses];
  const recorded = await recordedPatches(clips, all.length, teacher);
  log(`${recorded.length} patches of ${clips.length} recordings`);
  const mixed = await mixedPatches(clips, all.length, teacher, { perFold: mixtures, seed });
  log(`${mixed.length} mixtures`);
  return { classes: all, clips, recorded, mixed };
}

/** Leaves one fold out at a time. The teacher's classifier, the scale of its embedding and the student see the others only. */
export async function crossValidate({ classes, clips, recorded, mixed }: Material, options: RecipeOptions): Promise<Accuracy> {
  const right = { teacher: 0, student: 0, int8: 0 };
  for (const fold of [...new Set(clips.map((clip) => clip.fold))].sort((a, b) => a - b)) {
    const known = (raw: Raw): boolean => raw.fold !== fold;
    const lesson = lessonOf(recorded.filter(known), mixed.filter(known), classes.length);
    const { float, int8 } = await teach(lesson.examples, { classes: classes.length, teacher: embeddingSize }, options);
    const held = recorded.filter((raw) => !known(raw));
    const [scores, narrow] = [await scoresOf(float, held), await scoresOf(int8, held)];
    const count = (of: (raw: Raw, i: number) => ArrayLike<number>): number => rightClips(held, classes.length, of);
    right.teacher += count((raw) => lesson.head.probabilities(lesson.standard.of(raw.embedding)));
    right.student += count((_, i) => scores[i] ?? []);
    right.int8 += count((_, i) => narrow[i] ?? []);
    options.log(`fold ${fold} left out: right so far: teacher ${right.teacher}, student ${right.student}, int8 ${right.int8}`);
  }
  const share = (n: number): number => n / clips.length;
  return { teacher: share(right.teacher), student: share(right.student), int8: share(right.int8), clips: clips.length };
}

/** The student of all folds, with sirens and horns. */
export async function ship({ classes, clips, recorded, mixed }: Material, teacher: Teacher, options: RecipeOptions): Promise<Shipped> {
  const synthesized = await synthesizedPatches(clips, classes, teacher, { count: options.synthesized, seed: options.seed + 1 });
  options.log(`${synthesized.length} synthesized patches`);
  const { examples } = lessonOf(recorded, [...mixed, ...synthesized], classes.length);
  const { int8, parameters, cosine } = await teach(examples, { classes: classes.length, teacher: embeddingSize }, options);
  return { model: int8, classes, parameters, cosine };
}

function lessonOf(recorded: readonly Raw[], others: readonly Raw[], classes: number): { examples: Example[]; head: LinearHead; standard: Standard } {
  const standard = new Standard(recorded.map(({ embedding }) => embedding));
  const inputs = recorded.map(({ embedding }) => standard.of(embedding));
  const head = new LinearHead(inputs, recorded.map(({ target }) => target.indexOf(1)), { classes });
  const taught = recorded.map(({ target, ...raw }, i): Example => {
    const embedding = inputs[i] ?? new Float32Array(embeddingSize);
    const answer = head.probabilities(embedding);
    return { ...raw, embedding, target: target.map((value, c) => (1 - trust) * value + trust * (answer[c] ?? 0)) };
  });
  return { head, standard, examples: [...taught, ...others.map((raw) => ({ ...raw, embedding: standard.of(raw.embedding) }))] };
}

async function teach(examples: readonly Example[], shape: StudentShape, { seed, epochs, log }: RecipeOptions): Promise<{ float: Uint8Array; int8: Uint8Array; parameters: number; cosine: number }> {
  const weights = await learn(examples, { shape, epochs, seed, onEpoch: (epoch, loss) => log(`epoch ${epoch + 1} of ${epochs}: loss ${loss.toFixed(4)}`) });
  const float = studentModel(weights, shape);
  const every = Math.max(1, Math.floor(examples.length / 200));
  const calibration = examples.filter((_, i) => i % every === 0).map((example) => ({ patch: feedOf(example) }));
  const { model, report } = await quantizeModel(float, calibration);
  return { float, int8: model, parameters: parametersOf(weights), cosine: report.output_cosine };
}

function feedOf(raw: Pick<Raw, 'rows' | 'start'>): { type: 'float32'; dims: number[]; data: Float32Array } {
  return { type: 'float32', dims: [1, 1, patch.rows, patch.bands], data: patchOf(raw).map((feature) => (feature - patchScale.mean) / patchScale.std) };
}

async function scoresOf(model: Uint8Array, patches: readonly Raw[]): Promise<Float32Array[]> {
  const session = await createSession(model);
  const scores: Float32Array[] = [];
  for (const raw of patches) scores.push(Float32Array.from((await session.run({ patch: feedOf(raw) }))['scores']?.data ?? [], Number));
  await session.close();
  return scores;
}

/** A clip is of the class with the largest mean score over its patches. */
function rightClips(patches: readonly Raw[], classes: number, scoresOfPatch: (raw: Raw, i: number) => ArrayLike<number>): number {
  const sums = new Map<number, { sums: Float64Array; label: number }>();
  patches.forEach((raw, i) => {
    const known = sums.get(raw.clip) ?? { sums: new Float64Array(classes), label: raw.target.indexOf(1) };
    sums.set(raw.clip, known);
    const scores = scoresOfPatch(raw, i);
    for (let c = 0; c < classes; c++) known.sums[c] = (known.sums[c] ?? 0) + (scores[c] ?? 0);
  });
  return [...sums.values()].filter(({ sums: scores, label }) => scores.indexOf(Math.max(...scores)) === label).length;
}
