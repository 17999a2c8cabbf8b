/**
 * What published detectors lose in int8, on pictures that they were not calibrated on: average precision where the pictures have labels of the model's
 * classes; of detectors of faces, which have none here, the share of precision that is left when the float model's sure boxes are taken for the truth.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { endsOf } from '../../../runtime/onnx/heads.js';
import { modelInputs } from '../../../runtime/quantize/prepare/read-model.js';
import { quantizeModel } from '../../../runtime/quantize/quantize.js';
import { createSession } from '../../../runtime/session.js';
import { agreementOfModel } from '../../compress/box-agreement.js';
import type { Feeds } from '../../compress/samples.js';
import { readAnchors } from '../../evaluate/anchors.js';
import { ap50, type ScoredBox } from '../../evaluate/average-precision.js';
import { decoderFor, type DecodeOptions, type Decoder } from '../../evaluate/decode.js';
import { evaluateDetector } from '../../evaluate/evaluate.js';
import { readBoxes } from '../../evaluate/truth.js';
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

interface Pictures {
  folder: string;
  labels: string;
  /** Names, to calibrate on and to judge on. */
  tuned: readonly string[];
  judged: readonly string[];
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

async function quantized(model: Uint8Array, samples: readonly Feeds[], decode: DecodeOptions): Promise<Uint8Array> {
  const agreement = agreementOfModel(model, {}, decode);
  return (await quantizeModel(model, samples, { format: 'int8', ...(agreement === undefined ? {} : { agreement }) })).model;
}

async function detectorBar({ id, file, labelled }: Detector, model: Uint8Array, decode: DecodeOptions, pictures: Pictures): Promise<Bar> {
  const [input] = modelInputs(model);
  const [, , height = 0, width = 0] = input?.dims ?? [];
  const session = await createSession(model, { engine: 'native', floats: 'float32' });
  const decoder = decoderFor(session.outputs, { width, height }, decode, endsOf(model));
  await session.close();
  const prepare = decoder.picture;
  const int8 = await quantized(model, await fed(model, pictures.folder, pictures.tuned, prepare), decode);
  const bar = (what: string, lost: number): Bar => ({ id: `pipeline.detector_${id}_int8`, what: `${file}, int8: ${what}`, value: lost, unit: 'AP50', bar: `<= ${mostLost}`, met: lost <= mostLost });
  if (labelled) {
    const truth = await readBoxes(pictures.labels, pictures.judged);
    const scoreOf = async (bytes: Uint8Array): Promise<number> => (await evaluateDetector(bytes, truth, decode, { folder: pictures.folder, pictures: pictures.judged, prepare, engine: 'native' })).ap50;
    const [before, after] = [await scoreOf(model), await scoreOf(int8)];
    return bar(`lost on ${pictures.judged.length} pictures that were not calibrated on (float ${before.toFixed(4)}, int8 ${after.toFixed(4)})`, before - after);
  }
  const judged = await fed(model, pictures.folder, pictures.judged, prepare);
  const truth = (await found(model, decoder, judged)).filter(({ score }) => score >= sure);
  return bar(`lost against the ${truth.length} boxes that the float model is sure of, in ${judged.length} pictures that were not calibrated on`, 1 - ap50(await found(int8, decoder, judged), truth));
}

export async function detectorsBars({ models, samples, signal }: DetectorsBenchOptions): Promise<Bar[] | Absent> {
  const absent = absentOf([join(samples, 'coco128', 'images'), ...detectors.flatMap(({ file, anchors }) => [file, ...(anchors === undefined ? [] : [anchors])].map((name) => join(models, name)))]);
  if (absent !== undefined) return absent;
  const folder = join(samples, 'coco128', 'images');
  const pictures = { folder, labels: join(samples, 'coco128', 'labels'), ...await picturesOf(folder) };
  const bars: Bar[] = [];
  for (const detector of detectors) {
    signal.throwIfAborted();
    const decode = detector.anchors === undefined ? {} : { anchors: await readAnchors(join(models, detector.anchors)) };
    bars.push(await detectorBar(detector, await readFile(join(models, detector.file)), decode, pictures));
  }
  return bars;
}
