/** Pruning by 40 % of the multiply-adds: what is lost on data that nothing was tuned on, and the time of a run, measured in turns. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { createSession, type Session } from '../../../runtime/session.js';
import { modelInputs } from '../../../runtime/quantize/prepare/read-model.js';
import { bestOf, cosineOf } from '../../../runtime/quantize/report/difference.js';
import { centredCosine, outputsOf } from '../../../runtime/quantize/report/fidelity.js';
import type { Feeds } from '../../compress/samples.js';
import { readAnchors } from '../../evaluate/anchors.js';
import { evaluateDetector } from '../../evaluate/evaluate.js';
import { listPictures, readBoxes } from '../../evaluate/truth.js';
import { pruneDefaults, pruneModel } from '../../lab/prune/prune.js';
import { absentOf, type Absent, type Bar } from '../bars.js';
import { fed, picturesOf } from '../pictures.js';
import { timesOf } from '../time-models.js';
import { readFaces, type Face } from './faces.js';
import type { LabBenchOptions } from './options.js';

type Options = LabBenchOptions & { models: string; samples: string };

const left = 0.6;

interface Pruned {
  id: string;
  what: string;
  model: Uint8Array;
  samples: readonly Feeds[];
}

/** What a pruned model has lost, in points, and what else tells of it. */
interface Loss {
  points: number;
  beside?: string;
}

/** Prunes, and judges by `lossOf`. */
async function prunedBars({ id, what, model, samples }: Pruned, { steps, signal }: Options, lossOf: (pruned: Uint8Array) => Promise<Loss>): Promise<Bar[]> {
  const { model: pruned, report } = await pruneModel(model, samples, { ...pruneDefaults, target: { of: 'macs', left }, steps, onStage: () => signal.throwIfAborted() });
  const share = `${(100 * (1 - report.macs_after / report.macs_before)).toFixed(0)} % fewer multiply-adds, ${steps} steps`;
  const [{ points, beside = '' }, { ratio }] = [await lossOf(pruned), await timesOf(model, pruned)];
  return [
    { id: `lab.prune_${id}_loss`, what: `${what} (${share})${beside}`, value: points, unit: 'points', bar: '<= 1', met: points <= 1 },
    { id: `lab.prune_${id}_time`, what: `time of a run, share of the unpruned ${id}'s`, value: ratio, unit: 'x', bar: '<= 0.7', met: ratio <= 0.7 },
  ];
}

export async function answers(model: Uint8Array, samples: readonly Feeds[]): Promise<Float32Array[]> {
  const session: Session = await createSession(model, { engine: 'onnxruntime' });
  const results = await outputsOf(session, samples).finally(() => session.close());
  return results.map((outputs) => Float32Array.from(Object.values(outputs)[0]?.data ?? [], Number));
}

const sumOf = (a: Float32Array, b: Float32Array): number => a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0);

/** Area under the receiver's curve: the share of pairs in which the value of `positive` is above that of `negative`. */
export function areaUnderCurve(positive: readonly number[], negative: readonly number[]): number {
  const sorted = Float64Array.from(negative).sort();
  const below = (value: number): number => {
    let [low, high] = [0, sorted.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((sorted[middle] ?? 0) < value) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  return positive.reduce((sum, value) => sum + below(value), 0) / (positive.length * sorted.length);
}

/** Share of the pairs of one person that are more alike than pairs of two people, over all pairs of such pairs. */
export function verification(embeddings: readonly Float32Array[], faces: readonly Face[]): number {
  const same: number[] = [];
  const other: number[] = [];
  embeddings.forEach((a, i) => embeddings.slice(0, i).forEach((b, j) => (faces[i]?.person === faces[j]?.person ? same : other).push(cosineOf(sumOf(a, b), sumOf(a, a), sumOf(b, b)))));
  return areaUnderCurve(same, other);
}

/** People whose pictures only judge: the last fifth. */
export async function embedderBars(options: Options): Promise<Bar[] | Absent> {
  const [path, folder] = [join(options.models, 'fr_feature.onnx'), join(options.samples, 'orl')];
  const absent = absentOf([path, folder]);
  if (absent !== undefined) return absent;
  const model = await readFile(path);
  const [input] = modelInputs(model);
  const faces = input === undefined ? [] : await readFaces(folder, input);
  const people = [...new Set(faces.map(({ person }) => person))];
  const unseen = new Set(people.slice(Math.floor(0.8 * people.length)));
  const judged = faces.filter(({ person }) => unseen.has(person));
  const samples = faces.filter(({ person }, i) => !unseen.has(person) && i % 2 === 0).map(({ feeds }) => feeds);
  const areaOf = async (bytes: Uint8Array): Promise<number> => 100 * verification(await answers(bytes, judged.map(({ feeds }) => feeds)), judged);
  const before = await areaOf(model);
  return prunedBars({ id: 'fr_feature', what: `area under the curve of verification lost, ${unseen.size} people that were not tuned on (unpruned ${before.toFixed(1)})`, model, samples }, options, async (pruned) => ({ points: before - await areaOf(pruned) }));
}

export const scale = { mean: [127.5], std: [127.5], channels: 'rgb', fit: 'stretch' } as const;

/** The detector of the benches, pictures to tune it on, and its AP50 in percent on the others. */
export async function detectorTask({ models, samples }: Pick<Options, 'models' | 'samples'>): Promise<{ model: Uint8Array; folder: string; tuned: string[]; judged: string[]; scoreOf(bytes: Uint8Array): Promise<number> } | Absent> {
  const [path, anchors, folder] = [join(models, 'ssd_mobilenet_v2_fpnlite_320_w8.onnx'), join(models, 'ssd_mobilenet_v2_fpnlite_320.anchors.json'), join(samples, 'coco128', 'images')];
  const absent = absentOf([path, anchors, folder]);
  if (absent !== undefined) return absent;
  const { tuned, judged } = await picturesOf(folder);
  const truth = await readBoxes(join(samples, 'coco128', 'labels'), judged);
  // The model's 91 classes have COCO's own numbers, which are recognized.
  const decode = { decoder: 'ssd', anchors: await readAnchors(anchors) } as const;
  const scoreOf = async (bytes: Uint8Array): Promise<number> => 100 * (await evaluateDetector(bytes, new Map(judged.map((name) => [basename(name), truth.get(basename(name)) ?? []])), decode, { folder, pictures: judged, prepare: scale, engine: 'onnxruntime' })).ap50;
  return { model: await readFile(path), folder, tuned, judged, scoreOf };
}

export async function detectorBars(options: Options): Promise<Bar[] | Absent> {
  const task = await detectorTask(options);
  if ('absent' in task) return task;
  const { model, folder, tuned, judged, scoreOf } = task;
  const before = await scoreOf(model);
  return prunedBars({ id: 'ssd', what: `AP50 lost on ${judged.length} pictures that were not tuned on (unpruned ${before.toFixed(1)})`, model, samples: await fed(model, folder, tuned, scale) }, options, async (pruned) => ({ points: before - await scoreOf(pruned) }));
}

/** Scores from which on a classifier is sure of a picture. */
const sure = 0.5;

const percent = (part: number, whole: number): string => `${((100 * part) / Math.max(1, whole)).toFixed(1)} %`;

/** How alike two classifiers are on more pictures than those that the bar counts: one point of these is less than one picture. */
function likeness(before: readonly Float32Array[], after: readonly Float32Array[]): string {
  const changed = before.map((scores, i) => bestOf(scores) !== bestOf(after[i] ?? scores));
  const known = before.map((scores) => (scores[bestOf(scores)] ?? 0) >= sure);
  const logits = (all: readonly Float32Array[]): Feeds[] => all.map((scores) => ({ logits: { type: 'float32', dims: [scores.length], data: scores.map((score) => Math.log(Math.max(score, 1e-7))) } }));
  const cosine = centredCosine(logits(before), logits(after)).toFixed(3);
  const sureCount = known.filter(Boolean).length;
  return `; of ${before.length} views ${percent(changed.filter(Boolean).length, before.length)}, of the ${sureCount} that it was sure of ${percent(changed.filter((is, i) => is && known[i]).length, sureCount)}; centred cosine of the logits ${cosine}`;
}

/**
 * There are no labels of the classifier's classes: what counts is whether it says the same as before. Pictures of other folders judge, too, and all of
 * them stretched, cut and whole.
 */
export async function classifierBars(options: Options): Promise<Bar[] | Absent> {
  const [path, folder] = [join(options.models, 'mobilenet_v2_224_f32.onnx'), join(options.samples, 'coco128', 'images')];
  const absent = absentOf([path, folder]);
  if (absent !== undefined) return absent;
  const model = await readFile(path);
  const { tuned, judged } = await picturesOf(folder);
  const samples = await fed(model, folder, judged, scale);
  const views = [...samples];
  for (const other of ['images', 'faces']) {
    const pictures = join(options.samples, other);
    if (existsSync(pictures)) views.push(...(await fed(model, pictures, await listPictures(pictures), scale)));
  }
  for (const fit of ['crop', 'letterbox'] as const) views.push(...(await fed(model, folder, judged, { ...scale, fit })));
  const before = await answers(model, views);
  return prunedBars({ id: 'mobilenet_v2', what: `pictures of ${judged.length} that were not tuned on with another class than before`, model, samples: await fed(model, folder, tuned, scale) }, options, async (pruned) => {
    const after = await answers(pruned, views);
    const changed = samples.filter((_, i) => bestOf(before[i] ?? []) !== bestOf(after[i] ?? [])).length;
    return { points: (100 * changed) / judged.length, beside: likeness(before, after) };
  });
}
