/**
 * What published detectors lose in int8, on pictures that they were not calibrated on: average precision where the pictures have labels of the model's
 * classes; of detectors of faces, which have none here, the precision that is left when the float model's sure boxes are taken for the truth.
 */
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { pictureSize } from '../../../runtime/kinds/pixel-input.js';
import { endsOf } from '../../../runtime/onnx/heads.js';
import { modelInputs, modelPorts } from '../../../runtime/quantize/prepare/read-model.js';
import { quantizeModel } from '../../../runtime/quantize/quantize.js';
import { createSession } from '../../../runtime/session.js';
import { agreementOfModel } from '../../compress/box-agreement.js';
import { preparedAs } from '../../compress/picture-options.js';
import { readPicture, type Feeds, type SizedPicture } from '../../compress/samples.js';
import { readAnchors } from '../../evaluate/anchors.js';
import { ap50, type ScoredBox } from '../../evaluate/average-precision.js';
import { decoderFor, type DecodeOptions, type Decoder } from '../../evaluate/decode.js';
import { toPicture } from '../../evaluate/evaluate.js';
import { listPictures, readBoxes } from '../../evaluate/truth.js';
import { tuneThresholds } from '../../lab/methods/thresholds.js';
import { meanOf } from '../../lab/training-run.js';
import { absentOf, type Absent, type Bar } from '../bars.js';

export interface DetectorsBenchOptions {
  /** Folders of published models, and of samples with coco128/images and coco128/labels. */
  models: string;
  samples: string;
  signal: AbortSignal;
  /** Told of each network's steps, and how long they took. */
  progress?: (line: string) => void;
}

/** A published network. */
export interface Detector {
  id: string;
  file: string;
  anchors?: string;
  /** Finds COCO's classes, which the pictures have labels of. */
  labelled: boolean;
}

const published: readonly Detector[] = [
  { id: 'nanodet', file: 'nanodet_m_320.onnx', labelled: true },
  { id: 'yolox', file: 'yolox_nano.onnx', labelled: true },
  { id: 'ssd', file: 'ssd_mobilenet_v2_fpnlite_320_w8.onnx', anchors: 'ssd_mobilenet_v2_fpnlite_320.anchors.json', labelled: true },
  { id: 'yunet', file: 'yunet_n_320_320.onnx', labelled: false },
  { id: 'rfb', file: 'version-RFB-320.onnx', labelled: false },
];

/** AP50 that int8 may lose. */
const mostLost = 0.01;
/** The score from which a box of the float model is taken for a real one. */
const sure = 0.5;

/** Steps by which the scales of a model are tuned that loses more in int8. */
const tuningSteps = 150;

/** Half of the pictures, by their numbers: the odd ones, or the even ones. */
type Half = 0 | 1;
const halves: readonly Half[] = [0, 1];
const inHalf = (image: number, half: Half): boolean => image % 2 === half;

/** A network and the pictures as it is fed with them, each read once. */
interface Task extends Detector {
  model: Uint8Array;
  decode: DecodeOptions;
  decoder: Decoder;
  size: { width: number; height: number };
  pictures: readonly SizedPicture[];
  /** Boxes that are there, as shares of the picture: by its labels, or the float model's sure ones. */
  truth: readonly ScoredBox[];
  /** AP50 of the float model by half; 1 where its own boxes are the truth. */
  float: readonly number[];
}

/** Boxes that a model finds in those of the pictures that are wanted, as shares of the picture. */
async function found(model: Uint8Array, { decoder, pictures, size }: Pick<Task, 'decoder' | 'pictures' | 'size'>, wanted: (image: number) => boolean): Promise<ScoredBox[]> {
  const session = await createSession(model, { engine: 'native', floats: 'float32' });
  try {
    const boxes: ScoredBox[] = [];
    for (const [image, { feeds, ...dimensions }] of pictures.entries()) {
      if (!wanted(image)) continue;
      for (const box of decoder.decode(await session.run(feeds))) boxes.push({ ...box, image, corners: toPicture(box.corners, dimensions, size, decoder.picture.fit) });
    }
    return boxes;
  } finally {
    await session.close();
  }
}

const scoreIn = (half: Half, boxes: readonly ScoredBox[], truth: readonly ScoredBox[]): number =>
  ap50(boxes.filter(({ image }) => inHalf(image, half)), truth.filter(({ image }) => inHalf(image, half)));

async function labelsOf(folder: string, names: readonly string[]): Promise<ScoredBox[]> {
  const boxes = await readBoxes(folder, names);
  return names.flatMap((name, image) => (boxes.get(basename(name)) ?? []).map((box) => ({ ...box, image })));
}

async function openTask(detector: Detector, { models, samples }: DetectorsBenchOptions): Promise<Task> {
  const model = await readFile(join(models, detector.file));
  const decode = detector.anchors === undefined ? {} : { anchors: await readAnchors(join(models, detector.anchors)) };
  const ends = endsOf(model);
  const ports = { ...modelPorts(model), ends };
  const size = pictureSize(ports, 3, 'detector');
  const decoder = decoderFor(ports.outputs, size, decode, ends);
  const [input] = modelInputs(model);
  const folder = join(samples, 'coco128', 'images');
  const names = await listPictures(folder);
  const pictures: SizedPicture[] = [];
  for (const name of names) if (input !== undefined) pictures.push(await readPicture(join(folder, name), input, preparedAs(undefined, decoder.picture)));
  const boxes = await found(model, { decoder, pictures, size }, () => true);
  const truth = detector.labelled ? await labelsOf(join(samples, 'coco128', 'labels'), names) : boxes.filter(({ score }) => score >= sure);
  const float = halves.map((half) => (detector.labelled ? scoreIn(half, boxes, truth) : 1));
  return { ...detector, model, decode, decoder, size, pictures, truth, float };
}

const feedsOf = (pictures: Task['pictures'], half: Half): Feeds[] => pictures.filter((_, image) => inHalf(image, half)).map(({ feeds }) => feeds);

/** What quantization and tuning made of the pictures of each half. */
type Made = readonly { half: Half; int8: Uint8Array }[];

async function quantized({ model, decode, pictures }: Task): Promise<Made> {
  const agreement = agreementOfModel(model, {}, decode);
  const made: { half: Half; int8: Uint8Array }[] = [];
  for (const half of halves) {
    made.push({ half, int8: (await quantizeModel(model, feedsOf(pictures, half), { format: 'int8', ...(agreement === undefined ? {} : { agreement }) })).model });
  }
  return made;
}

async function tuned({ model, pictures }: Task, made: Made): Promise<Made> {
  const better: { half: Half; int8: Uint8Array }[] = [];
  for (const { half, int8 } of made) {
    better.push({ half, int8: (await tuneThresholds(model, int8, feedsOf(pictures, half), { steps: tuningSteps })).model });
  }
  return better;
}

/** Each half of the pictures is judged by the model of the other half. */
async function lossBar(task: Task, made: Made, steps: number): Promise<Bar> {
  const scores: { float: number; int8: number }[] = [];
  for (const { half, int8 } of made) {
    const judged: Half = half === 0 ? 1 : 0;
    scores.push({ float: task.float[judged] ?? 0, int8: scoreIn(judged, await found(int8, task, (image) => inHalf(image, judged)), task.truth) });
  }
  const [float, int8] = [meanOf(scores.map((score) => score.float)), meanOf(scores.map((score) => score.int8))];
  const lost = float - int8;
  const truth = task.labelled ? 'lost' : "lost against the float model's sure boxes";
  const how = `${task.file}, int8${steps === 0 ? '' : `, scales tuned by ${steps} steps`}`;
  return {
    id: `pipeline.detector_${task.id}_int8${steps === 0 ? '' : '_tuned'}`, unit: 'AP50', bar: `<= ${mostLost}`, value: lost, met: lost <= mostLost,
    what: `${how}: ${truth} on pictures that it was not calibrated on (float ${float.toFixed(4)}, int8 ${int8.toFixed(4)}; by half ${scores.map((score) => (score.float - score.int8).toFixed(4)).join(', ')})`,
  };
}

/** The bar of plain int8 and, only where it is missed, that of the same models with tuned scales. */
async function barsOf(detector: Detector, options: DetectorsBenchOptions): Promise<Bar[]> {
  const { signal, progress = () => undefined } = options;
  let start = performance.now();
  const lap = (what: string): void => {
    progress(`${detector.id}: ${what} in ${((performance.now() - start) / 1000).toFixed(1)} s`);
    start = performance.now();
    signal.throwIfAborted();
  };
  const task = await openTask(detector, options);
  lap(`${task.pictures.length} pictures read, float model run`);
  const made = await quantized(task);
  lap('quantized twice');
  const plain = await lossBar(task, made, 0);
  lap(`int8 judged (loses ${plain.value.toFixed(4)})`);
  if (plain.met) return [plain];
  const better = await tuned(task, made);
  lap('scales tuned twice');
  const bar = await lossBar(task, better, tuningSteps);
  lap(`tuned int8 judged (loses ${bar.value.toFixed(4)})`);
  return [plain, bar];
}

/** Rows: what each published detector loses in int8, or each of those that are given. */
export async function detectorsBars(options: DetectorsBenchOptions, detectors: readonly Detector[] = published): Promise<Bar[] | Absent> {
  const { models, samples } = options;
  const absent = absentOf([join(samples, 'coco128', 'images'), ...detectors.flatMap(({ file, anchors }) => [file, ...(anchors === undefined ? [] : [anchors])].map((name) => join(models, name)))]);
  if (absent !== undefined) return absent;
  const bars: Bar[] = [];
  for (const detector of detectors) bars.push(...await barsOf(detector, options));
  return bars;
}
