import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { defaultPictureOptions, readSamples } from '../../../deploy/compress/samples.js';
import { modelInputs } from '../../../runtime/quantise/prepare.js';
import type { Session } from '../../../runtime/session-types.js';
import { intersectionOverUnion, suppress } from '../../../runtime/vision/nms.js';
import { sharedFile } from '../../support/shared.js';
import { everyNth, type AccuracyTask, type Feeds } from './task.js';

/** COCO's category numbers that no category has; the 80 that are there follow each other in label files. */
const missing = new Set([12, 26, 29, 30, 45, 66, 68, 69, 71, 83]);
const categories = Array.from({ length: 90 }, (_, i) => i + 1).filter((id) => !missing.has(id));

interface Box {
  image: number;
  label: number;
  score: number;
  /** x1, y1, x2, y2 as shares of the picture. */
  corners: readonly [number, number, number, number];
}

type Anchors = readonly (readonly [number, number, number, number])[];

/** The decoding of the TensorFlow object detection API: centres by tenths, sizes by fifths of a logarithm. */
function decode([cy, cx, height, width]: Anchors[number], [ty = 0, tx = 0, th = 0, tw = 0]: readonly number[]): Box['corners'] {
  const [y, x, h, w] = [cy + (ty / 10) * height, cx + (tx / 10) * width, height * Math.exp(th / 5), width * Math.exp(tw / 5)];
  return [x - w / 2, y - h / 2, x + w / 2, y + h / 2];
}

/** A score below this changes nothing of the precision at useful recall. */
const leastScore = 0.02;

function detections(image: number, anchors: Anchors, boxes: ArrayLike<number>, scores: ArrayLike<number>): Box[] {
  const found: Box[] = [];
  for (let anchor = 0; anchor < anchors.length; anchor++) {
    for (const [label, id] of categories.entries()) {
      const score = scores[anchor * 91 + id] ?? 0;
      const prior = anchors[anchor];
      if (score >= leastScore && prior !== undefined) found.push({ image, label, score, corners: decode(prior, Array.from({ length: 4 }, (_, i) => boxes[4 * anchor + i] ?? 0)) });
    }
  }
  found.sort((a, b) => b.score - a.score);
  const strongest = found.slice(0, 1000);
  const kept = suppress(Float32Array.from(strongest.flatMap(({ corners }) => corners)), Float32Array.from(strongest, ({ score }) => score), {
    iouThreshold: 0.6, maxDetections: 100, classes: strongest.map(({ label }) => label),
  });
  return kept.map((i) => strongest[i]).filter((box) => box !== undefined);
}

const overlap = (a: Box, b: Box): number => intersectionOverUnion(Float32Array.from([...a.corners, ...b.corners]), 0, 1);

/** Area below the precision-recall curve of one class, precision made monotone (all points, as COCO's at many recalls). */
function averagePrecision(found: readonly Box[], truth: readonly Box[]): number {
  const taken = new Set<Box>();
  const hits = [...found].sort((a, b) => b.score - a.score).map((box) => {
    const candidates = truth.filter((real) => real.image === box.image && !taken.has(real) && overlap(real, box) >= 0.5);
    const match = candidates.sort((a, b) => overlap(b, box) - overlap(a, box))[0];
    if (match !== undefined) taken.add(match);
    return match !== undefined;
  });
  let [right, area, best] = [hits.filter(Boolean).length, 0, 0];
  for (let n = hits.length; n > 0; n--) {
    best = Math.max(best, right / n);
    if (hits[n - 1] !== true) continue;
    area += best / truth.length;
    right--;
  }
  return area;
}

function readLabels(path: string, image: number): Box[] {
  return readFileSync(path, 'utf8').trim().split('\n').filter((line) => line !== '').map((line) => {
    const [label = 0, x = 0, y = 0, w = 0, h = 0] = line.split(' ').map(Number);
    return { image, label, score: 1, corners: [x - w / 2, y - h / 2, x + w / 2, y + h / 2] };
  });
}

/** SSD-MobileNetV2: mean over the classes that occur of AP at an overlap of one half. */
export async function detectionTask(): Promise<AccuracyTask> {
  const folder = sharedFile('samples/coco128');
  const model = readFileSync(sharedFile('models/ssd_mobilenet_v2_fpnlite_320_w8.onnx'));
  const anchors = (JSON.parse(readFileSync(sharedFile('models/ssd_mobilenet_v2_fpnlite_320.anchors.json'), 'utf8')) as { anchors: Anchors }).anchors;
  const names = readdirSync(join(folder, 'images')).sort();
  const feeds: Feeds[] = [];
  for await (const feed of readSamples(join(folder, 'images'), modelInputs(model), names.length, { ...defaultPictureOptions, fit: 'stretch' })) feeds.push(feed);
  const limit = Number(process.env['STERNA_ACCURACY_PICTURES'] ?? names.length);
  const truth = names.slice(0, limit).flatMap((name, i) => readLabels(join(folder, 'labels', name.replace('.jpg', '.txt')), i));
  return {
    name: 'SSD-MobileNetV2 on coco128',
    metric: 'AP50',
    model,
    calibration: everyNth(feeds, 2),
    async score(session: Session) {
      const found: Box[] = [];
      for (const [image, feed] of feeds.slice(0, limit).entries()) {
        const result = await session.run(feed);
        found.push(...detections(image, anchors, result['out0_tfl.concatenation']?.data as Float32Array, result['out1_tfl.logistic']?.data as Float32Array));
      }
      const labels = [...new Set(truth.map(({ label }) => label))];
      const of = (boxes: readonly Box[], label: number): Box[] => boxes.filter((box) => box.label === label);
      return labels.reduce((sum, label) => sum + averagePrecision(of(found, label), of(truth, label)), 0) / labels.length;
    },
  };
}
