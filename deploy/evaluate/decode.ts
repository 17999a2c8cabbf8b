import { RuntimeError } from '../../runtime/errors.js';
import type { Tensor, TensorInfo } from '../../runtime/tensor.js';
import { decodeYunet } from '../../runtime/vision/boxes.js';
import { suppress } from '../../runtime/vision/nms.js';
import type { ScoredBox } from './average-precision.js';

/** cy, cx, height, width as shares of the input. */
export type Anchor = readonly [number, number, number, number];

/** How the outputs of a detector are read. */
export interface DecodeOptions {
  /** For raw SSD heads. */
  anchors?: readonly Anchor[] | undefined;
  /** Class number of the model that label 0 stands for. Default: 1 where there are two classes, of which one is the background; else 0. */
  firstClass?: number | undefined;
  /** Order of a listed box; default yxyx where outputs have TensorFlow's names, else xyxy. */
  boxOrder?: 'xyxy' | 'yxyx' | undefined;
  /** Unit of boxes: shares of the model's input (default), or its pixels. */
  boxUnits?: 'shares' | 'pixels' | undefined;
}

export type Detection = Omit<ScoredBox, 'image'>;
export type Outputs = Readonly<Record<string, Tensor>>;

export interface Decoder {
  /** For people: what was recognized. */
  name: string;
  /** Boxes as shares of the model's input, after suppression. */
  decode(outputs: Outputs): Detection[];
}

/** A score below this changes nothing of the precision at useful recall. */
const leastScore = 0.02;
const mostCandidates = 1000;
const mostDetections = 100;
/** Of boxes of one class; a lower limit would lose neighbours that both are there. */
const suppressionOverlap = 0.6;

/** COCO's category numbers that no category has; the 80 that are there follow each other in label files. */
const missingCategories = new Set([12, 26, 29, 30, 45, 66, 68, 69, 71, 83]);
const cocoColumns = Array.from({ length: 90 }, (_, i) => i + 1).filter((id) => !missingCategories.has(id));

/** Column of each label in scores of `count` columns. */
function columnsOf(count: number, firstClass: number | undefined): number[] {
  if (count === 91 && firstClass === undefined) return cocoColumns;
  const first = firstClass ?? (count === 2 ? 1 : 0);
  return Array.from({ length: Math.max(0, count - first) }, (_, label) => first + label);
}

function strongest(found: readonly Detection[]): Detection[] {
  const best = [...found].sort((a, b) => b.score - a.score).slice(0, mostCandidates);
  const kept = suppress(Float32Array.from(best.flatMap(({ corners }) => corners)), Float32Array.from(best, ({ score }) => score), {
    iouThreshold: suppressionOverlap, maxDetections: mostDetections, classes: best.map(({ label }) => label),
  });
  return kept.flatMap((i) => best[i] ?? []);
}

/** Boxes of all priors whose class scores are high enough. */
function scoredBoxes(scores: Tensor, columns: readonly number[], cornersOf: (prior: number) => Detection['corners']): Detection[] {
  const width = scores.dims.at(-1) ?? 1;
  const found: Detection[] = [];
  for (let prior = 0; prior < scores.data.length / width; prior++) {
    for (const [label, column] of columns.entries()) {
      const score = Number(scores.data[prior * width + column]);
      if (score >= leastScore) found.push({ label, score, corners: cornersOf(prior) });
    }
  }
  return strongest(found);
}

type Four = Detection['corners'];

const fourAt = ({ data }: Tensor, i: number): Four => [Number(data[4 * i]), Number(data[4 * i + 1]), Number(data[4 * i + 2]), Number(data[4 * i + 3])];

/** The decoding of the TensorFlow object detection API: centres by tenths, sizes by fifths of a logarithm. */
export function decodeAnchor([cy, cx, height, width]: Anchor, [ty, tx, th, tw]: Four): Four {
  const [y, x, h, w] = [cy + (ty / 10) * height, cx + (tx / 10) * width, height * Math.exp(th / 5), width * Math.exp(tw / 5)];
  return [x - w / 2, y - h / 2, x + w / 2, y + h / 2];
}

interface InputSize {
  width: number;
  height: number;
}

function arranged([a, b, c, d]: Four, order: 'xyxy' | 'yxyx', units: DecodeOptions['boxUnits'], { width, height }: InputSize): Four {
  const [x1, y1, x2, y2] = order === 'xyxy' ? [a, b, c, d] : [b, a, d, c];
  return units === 'pixels' ? [x1 / width, y1 / height, x2 / width, y2 / height] : [x1, y1, x2, y2];
}

function yunet(outputs: readonly TensorInfo[], size: InputSize): Decoder | undefined {
  const strides = outputs.flatMap(({ name }) => /^cls_(\d+)$/.exec(name)?.[1] ?? []).map(Number).sort((a, b) => a - b);
  if (strides.length === 0 || !outputs.some(({ name }) => name.startsWith('obj_'))) return undefined;
  const shares = { scaleX: 1 / size.width, scaleY: 1 / size.height, offsetX: 0, offsetY: 0 };
  return {
    name: 'YuNet',
    decode(results) {
      const { boxes, scores, count } = decodeYunet(results, strides, size, shares, leastScore);
      const boxesOf: Tensor = { type: 'float32', dims: [count, 4], data: boxes };
      return strongest(Array.from({ length: count }, (_, i) => ({ label: 0, score: scores[i] ?? 0, corners: fourAt(boxesOf, i) })));
    },
  };
}

/** Boxes and scores of every prior: corners, or raw SSD heads where there are anchors. */
function priors(outputs: readonly TensorInfo[], size: InputSize, { anchors, firstClass, boxOrder = 'xyxy', boxUnits }: DecodeOptions): Decoder | undefined {
  const boxes = outputs.find(({ dims }) => dims.length === 3 && dims[2] === 4);
  const scores = outputs.find((output) => output !== boxes && output.dims.length === 3 && output.dims[1] === boxes?.dims[1]);
  if (boxes === undefined || scores === undefined) return undefined;
  const columns = columnsOf(scores.dims[2] ?? 0, firstClass);
  if (anchors !== undefined && anchors.length !== boxes.dims[1]) {
    throw new RuntimeError('E_INPUT', `Expected ${boxes.dims[1]} anchors for output '${boxes.name}' but received ${anchors.length}`);
  }
  return {
    name: anchors === undefined ? 'corner boxes and scores' : 'SSD heads and anchors',
    decode(results) {
      const [values, all] = [results[boxes.name], results[scores.name]];
      if (values === undefined || all === undefined) return [];
      return scoredBoxes(all, columns, (i) => {
        const anchor = anchors?.[i];
        return anchor === undefined ? arranged(fourAt(values, i), boxOrder, boxUnits, size) : decodeAnchor(anchor, fourAt(values, i));
      });
    },
  };
}

/** Detections that the model lists after a NonMaxSuppression of its own: boxes, scores, and classes where there are several. */
function listed(outputs: readonly TensorInfo[], size: InputSize, { firstClass = 0, boxOrder, boxUnits }: DecodeOptions): Decoder | undefined {
  const boxes = outputs.find(({ dims }) => dims.length >= 2 && dims.length <= 3 && dims.at(-1) === 4);
  const rest = outputs.filter((output) => output !== boxes && output.dims.length <= 2);
  const named = (pattern: RegExp): TensorInfo | undefined => rest.find(({ name }) => pattern.test(name));
  const scores = named(/score|conf/i);
  const classes = named(/class|label/i);
  if (boxes === undefined || scores === undefined) return undefined;
  const count = named(/num|count/i);
  const order = boxOrder ?? (/detection/i.test(boxes.name) ? 'yxyx' : 'xyxy');
  return {
    name: `boxes, scores${classes === undefined ? '' : ' and classes'} after a suppression in the graph`,
    decode(results) {
      const [values, all] = [results[boxes.name], results[scores.name]];
      if (values === undefined || all === undefined) return [];
      const total = count === undefined ? all.data.length : Math.min(all.data.length, Number(results[count.name]?.data[0] ?? 0));
      const found = Array.from({ length: total }, (_, i): Detection => ({
        label: classes === undefined ? 0 : Number(results[classes.name]?.data[i]) - firstClass,
        score: Number(all.data[i]), corners: arranged(fourAt(values, i), order, boxUnits, size),
      }));
      return found.filter(({ label, score }) => label >= 0 && score >= leastScore);
    },
  };
}

/**
 * Finds out how a detector's outputs are to be read, by their names and shapes.
 * @throws RuntimeError E_MODEL_SHAPE for outputs that are not known, E_INPUT for anchors that do not fit
 */
export function decoderFor(outputs: readonly TensorInfo[], size: InputSize, options: DecodeOptions = {}): Decoder {
  const decoder = yunet(outputs, size) ?? priors(outputs, size, options) ?? listed(outputs, size, options);
  if (decoder !== undefined) return decoder;
  const given = outputs.map(({ name, dims }) => `${name} [${dims.join(', ')}]`).join('; ');
  throw new RuntimeError('E_MODEL_SHAPE', `Expected a detector with boxes [1, N, 4] and scores [1, N, C] (raw SSD heads with --anchors), with boxes, scores and classes after a suppression, or with YuNet's heads, but received ${given}`);
}
