/**
 * What published detectors lose in int8, on pictures that they were not calibrated on: average precision where the pictures have labels of the model's
 * classes; of detectors of faces, which have none here, the precision that is left when the float model's sure boxes are taken for the truth.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pictureSize } from '../../../runtime/kinds/pixel-input.js';
import { endsOf } from '../../../runtime/onnx/heads.js';
import { modelPorts } from '../../../runtime/quantize/prepare/read-model.js';
import { quantizeModel } from '../../../runtime/quantize/quantize.js';
import { createSession } from '../../../runtime/session.js';
import { agreementOfModel } from '../../compress/box-agreement.js';
import type { Feeds } from '../../compress/samples.js';
import { readAnchors } from '../../evaluate/anchors.js';
import { ap50, type ScoredBox } from '../../evaluate/average-precision.js';
import { decoderFor, type DecodeOptions, type Decoder } from '../../evaluate/decode.js';
import { evaluateDetector } from '../../evaluate/evaluate.js';
import { readBoxes } from '../../evaluate/truth.js';
import { tuneThresholds } from '../../lab/methods/thresholds.js';
import { meanOf } from '../../lab/training-run.js';
import { absentOf, type Absent, type Bar } from '../bars.js';
import { fed, picturesOf } from '../pictures.js';

export interface DetectorsBenchOptions {
  /** Folders of published models, and of samples with coco128/images and coco128/labels. */
  models: string;
  samples: string;
  signal: AbortSignal;
}

interface Detector {
  id: string;
  file: string;
  anchors?: string;
  /** Finds COCO's classes, which the pictures have labels of. */
  labelled: boolean;
}

const detectors: readonly Detector[] = [
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

interface Half {
  /** Names of pictures: to calibrate and to tune on, and to judge on. */
  tuned: readonly string[];
  judged: readonly string[];
}

interface Task extends Detector {
  model: Uint8Array;
  decode: DecodeOptions;
  decoder: Decoder;
  folder: string;
  labels: string;
}

/** Boxes of each picture in turn, as shares of the input. */
async function found(model: Uint8Array, decoder: Decoder, samples: readonly Feeds[]): Promise<ScoredBox[]> {
  const session = await createSession(model, { engine: 'native', floats: 'float32' });
  try {
    const boxes: ScoredBox[] = [];
    for (const [image, feeds] of samples.entries()) boxes.push(...decoder.decode(await session.run(feeds)).map((box) => ({ ...box, image })));
    return boxes;
  } finally {
    await session.close();
  }
}

async function quantized({ model, decode }: Task, samples: readonly Feeds[], steps: number): Promise<Uint8Array> {
  const agreement = agreementOfModel(model, {}, decode);
  const { model: int8 } = await quantizeModel(model, samples, { format: 'int8', ...(agreement === undefined ? {} : { agreement }) });
  return steps === 0 ? int8 : (await tuneThresholds(model, int8, samples, { steps })).model;
}

/** AP50 of the float model and of int8 on the judged pictures. */
async function scoresOf(task: Task, { tuned, judged }: Half, steps: number): Promise<{ float: number; int8: number }> {
  const { model, decode, decoder, folder, labels, labelled } = task;
  const int8 = await quantized(task, await fed(model, folder, tuned, decoder.picture), steps);
  if (labelled) {
    const truth = await readBoxes(labels, judged);
    const scoreOf = async (bytes: Uint8Array): Promise<number> => (await evaluateDetector(bytes, truth, decode, { folder, pictures: judged, prepare: decoder.picture, engine: 'native' })).ap50;
    return { float: await scoreOf(model), int8: await scoreOf(int8) };
  }
  const feeds = await fed(model, folder, judged, decoder.picture);
  const truth = (await found(model, decoder, feeds)).filter(({ score }) => score >= sure);
  return { float: 1, int8: ap50(await found(int8, decoder, feeds), truth) };
}

/** Each half of the pictures is judged by the model of the other half. */
async function lossBar(task: Task, halves: readonly Half[], steps: number): Promise<Bar> {
  const scores: { float: number; int8: number }[] = [];
  for (const half of halves) scores.push(await scoresOf(task, half, steps));
  const [float, int8] = [meanOf(scores.map((score) => score.float)), meanOf(scores.map((score) => score.int8))];
  const lost = float - int8;
  const truth = task.labelled ? 'lost' : "lost against the float model's sure boxes";
  const how = `${task.file}, int8${steps === 0 ? '' : `, scales tuned by ${steps} steps`}`;
  return {
    id: `pipeline.detector_${task.id}_int8${steps === 0 ? '' : '_tuned'}`, unit: 'AP50', bar: `<= ${mostLost}`, value: lost, met: lost <= mostLost,
    what: `${how}: ${truth} on pictures that it was not calibrated on (float ${float.toFixed(4)}, int8 ${int8.toFixed(4)}; by half ${scores.map((score) => (score.float - score.int8).toFixed(4)).join(', ')})`,
  };
}

async function openTask(detector: Detector, { models, samples }: DetectorsBenchOptions): Promise<Task> {
  const model = await readFile(join(models, detector.file));
  const decode = detector.anchors === undefined ? {} : { anchors: await readAnchors(join(models, detector.anchors)) };
  const ends = endsOf(model);
  const ports = { ...modelPorts(model), ends };
  const decoder = decoderFor(ports.outputs, pictureSize(ports, 3, 'detector'), decode, ends);
  return { ...detector, model, decode, decoder, folder: join(samples, 'coco128', 'images'), labels: join(samples, 'coco128', 'labels') };
}

export async function detectorsBars(options: DetectorsBenchOptions): Promise<Bar[] | Absent> {
  const { models, samples, signal } = options;
  const pictures = join(samples, 'coco128', 'images');
  const absent = absentOf([pictures, ...detectors.flatMap(({ file, anchors }) => [file, ...(anchors === undefined ? [] : [anchors])].map((name) => join(models, name)))]);
  if (absent !== undefined) return absent;
  const { tuned, judged } = await picturesOf(pictures);
  const halves = [{ tuned, judged }, { tuned: judged, judged: tuned }];
  const bars: Bar[] = [];
  for (const detector of detectors) {
    const task = await openTask(detector, options);
    for (const steps of [0, tuningSteps]) {
      signal.throwIfAborted();
      const bar = await lossBar(task, halves, steps);
      bars.push(bar);
      if (bar.met) break;
    }
  }
  return bars;
}
