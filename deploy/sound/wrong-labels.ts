/**
 * What losses make of wrong labels. All learn the same recordings with the same wrong labels in the same order, for as many steps at the same rate, until
 * they have converged, as the published comparisons do (arXiv 1805.07836, 1908.06112). Nothing else may keep wrong labels out: no dropout, no decay of the
 * weights, no answers of a teacher, no mixtures, and no stop by labels that are known to be right.
 */
import { withWrongLabels } from '../lab/clips.js';
import type { LossSettings } from '../lab/losses.js';
import type { Recordings } from './clips.js';
import { labelledPatches, oneHot, synthesizedClasses, type Raw } from './examples.js';
import { learnHeads } from './learn.js';
import { recipeDefaults, rightClips, startOf, withSeen } from './recipe.js';
import { channelsOf, headWeight, ownNet, type StudentShape, type Weights } from './student.js';
import { softmax } from './teacher.js';

export interface WrongLabelOptions {
  losses: readonly LossSettings[];
  /** Each draws other wrong labels, other orders and other variations. */
  seeds: readonly number[];
  /** Share of the recordings to learn from whose label is replaced by one of the others, each as often. */
  share: number;
  onTrained?: (done: number, total: number) => void;
}

/** What one loss made of the labels, over all seeds and all folds that were left out. */
export interface WrongLabelResult {
  loss: LossSettings;
  /** Share of the recordings recognized, in folds that were left out and keep their labels. */
  accuracy: number;
  /** Share of the recordings to learn from of which the student says what it was told, right or wrong. */
  fitted: number;
}

/** Passes over the patches, and the highest rate of learning: with cross-entropy, the head knows nine of ten wrong labels by heart then. */
export const convergence = { epochs: 40, rate: 0.01 } as const;

/**
 * Trains heads over the teacher's first blocks with each loss, each fold left out once for each seed.
 * @param teacher YAMNet as ONNX, whose first blocks the students begin with
 * @throws DeployError E_LAB: a teacher of another geometry; RuntimeError E_ENGINE_MISSING without onnxruntime-node
 */
export async function compareOnWrongLabels(teacher: Uint8Array, { classes, clips }: Recordings, { losses, seeds, share, onTrained = () => undefined }: WrongLabelOptions): Promise<WrongLabelResult[]> {
  const start = startOf(teacher, classes.length + synthesizedClasses.length, { ...recipeDefaults, distill: 0 });
  const folds = [...new Set(clips.map(({ fold }) => fold))].sort((a, b) => a - b);
  const counts = losses.map((loss) => ({ loss, right: 0, judged: 0, fitted: 0, learned: 0 }));
  const total = seeds.length * folds.length * losses.length;
  let done = 0;
  for (const seed of seeds) {
    const told = withWrongLabels(clips, classes.length, share, seed + 101);
    const patches = await withSeen(labelledPatches(clips, start.shape.classes), start, seed);
    for (const fold of folds) {
      const [lesson, held] = [patches.filter((patch) => patch.fold !== fold), patches.filter((patch) => patch.fold === fold)];
      const examples = lesson.map((patch) => ({ ...patch, target: oneHot(start.shape.classes, { [told[patch.clip]?.label ?? -1]: 1 }), embedding: new Float32Array(0) }));
      for (const count of counts) {
        const weights = await learnHeads(examples, { shape: start.shape, from: start.from ?? {}, seed, loss: count.loss, distill: 0, dropout: 0, decay: 0, epochs: convergence.epochs, peak: convergence.rate });
        const scores = ({ seen = [] }: Pick<Raw, 'seen'>): Float64Array => headScores(weights, start.shape, seen[0] ?? new Float32Array(0));
        count.right += rightClips(held, clips, scores);
        count.judged += clips.filter((clip) => clip.fold === fold).length;
        count.fitted += rightClips(lesson, told, scores);
        count.learned += clips.filter((clip) => clip.fold !== fold).length;
        onTrained(++done, total);
      }
    }
  }
  return counts.map(({ loss, right, judged, fitted, learned }) => ({ loss, accuracy: right / judged, fitted: fitted / learned }));
}

/** Probabilities of the classes, from what the head sees of a patch: those of the whole student. */
export function headScores(weights: Weights, { classes, net = ownNet }: StudentShape, seen: Float32Array): Float64Array {
  const channels = channelsOf(net);
  const logits = Float64Array.from(weights['classBias']?.data ?? []);
  net.pools.forEach((pool, part) => {
    const { data } = weights[headWeight('classes', pool, part)] ?? { data: new Float32Array(0) };
    for (let c = 0; c < classes; c++) {
      let sum = logits[c] ?? 0;
      for (let i = 0; i < channels; i++) sum += (data[c * channels + i] ?? 0) * (seen[part * channels + i] ?? 0);
      logits[c] = sum;
    }
  });
  return softmax(logits);
}
