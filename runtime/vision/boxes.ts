import { RuntimeError } from '../errors.js';
import type { Tensor } from '../tensor.js';

/** Candidate boxes before suppression, in pixels of the frame, in structure-of-arrays form. */
export interface Candidates {
  count: number;
  /** x1, y1, x2, y2 a candidate. */
  boxes: Float32Array;
  scores: Float32Array;
  /** Five points x, y a candidate (right eye, left eye, nose, right and left mouth corner), when the detector gives them. */
  points?: Float32Array;
}

/** Maps the model's input back to the frame: `frame = (input - offset) * scale`, in pixels. */
export interface FitTransform {
  scaleX: number;
  scaleY: number;
  offsetX: number;
  offsetY: number;
}

export interface CornerHeads {
  /** [1, N, classes], 0..1. */
  scores: Tensor;
  /** [1, N, 4]: x1, y1, x2, y2 as shares of the input. */
  boxes: Tensor;
  /** Column of the wanted class. */
  class: number;
}

/**
 * Selects the candidates at or above `threshold` of a detector that decodes its boxes itself.
 * @throws RuntimeError E_MODEL_SHAPE when the outputs do not have these shapes
 */
export function decodeCorners(heads: CornerHeads, input: { width: number; height: number }, fit: FitTransform, threshold: number): Candidates {
  const scores = floats(heads.scores);
  const corners = floats(heads.boxes);
  const classes = heads.scores.dims.at(-1) ?? 0;
  const total = heads.scores.dims.at(-2) ?? 0;
  if (heads.class >= classes || corners.length !== total * 4 || scores.length !== total * classes) {
    throw new RuntimeError('E_MODEL_SHAPE', `Expected scores [1, N, C] with C > ${heads.class} and boxes [1, N, 4] but received `
      + `[${heads.scores.dims.join(', ')}] and [${heads.boxes.dims.join(', ')}]`);
  }
  const selected = select(total, (i) => scores[i * classes + heads.class] ?? 0, threshold);
  const result: Candidates = { count: selected.length, boxes: new Float32Array(selected.length * 4), scores: new Float32Array(selected.length) };
  selected.forEach((i, k) => {
    result.scores[k] = scores[i * classes + heads.class] ?? 0;
    for (let side = 0; side < 4; side += 2) {
      result.boxes[k * 4 + side] = ((corners[i * 4 + side] ?? 0) * input.width - fit.offsetX) * fit.scaleX;
      result.boxes[k * 4 + side + 1] = ((corners[i * 4 + side + 1] ?? 0) * input.height - fit.offsetY) * fit.scaleY;
    }
  });
  return withoutUnsound(result);
}

/** No picture is larger; beyond it, crops would lose their meaning (and float32 its pixels). */
const maxCoordinate = 1e5;

/** Drops boxes without area, with NaN, or far outside any picture: later stages crop them. */
function withoutUnsound(candidates: Candidates): Candidates {
  const { boxes, scores, points } = candidates;
  const sound = Array.from(scores.keys()).filter((k) => {
    const [x1 = NaN, y1 = NaN, x2 = NaN, y2 = NaN] = boxes.subarray(k * 4, k * 4 + 4);
    return x2 > x1 && y2 > y1 && Math.max(-x1, -y1, x2, y2) <= maxCoordinate;
  });
  if (sound.length === candidates.count) return candidates;
  const pick = (values: Float32Array, width: number): Float32Array =>
    Float32Array.from(sound.flatMap((k) => [...values.subarray(k * width, k * width + width)]));
  return { count: sound.length, boxes: pick(boxes, 4), scores: pick(scores, 1), ...(points === undefined ? {} : { points: pick(points, 10) }) };
}

/**
 * Decodes YuNet's heads `cls_S`, `obj_S`, `bbox_S`, `kps_S` for each stride S: the score is the geometric mean of class
 * and objectness; the centre and the points are offsets in cells from the cell's corner, the size is exponential
 * (W. Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023, section 3).
 * @throws RuntimeError E_MODEL_SHAPE when a head is missing or has another size
 */
export function decodeYunet(
  outputs: Readonly<Record<string, Tensor>>, strides: readonly number[], input: { width: number; height: number }, fit: FitTransform, threshold: number,
): Candidates {
  const levels = strides.map((stride) => selectYunet(outputs, stride, input, threshold));
  const count = levels.reduce((sum, level) => sum + level.cells.length, 0);
  const result = { count, boxes: new Float32Array(count * 4), scores: new Float32Array(count), points: new Float32Array(count * 10) };
  let k = 0;
  for (const level of levels) {
    for (const cell of level.cells) decodeYunetCell(level, cell, fit, result, k++);
  }
  return withoutUnsound(result);
}

interface YunetLevel {
  stride: number;
  columns: number;
  score: (cell: number) => number;
  bbox: Float32Array;
  kps: Float32Array;
  cells: number[];
}

function selectYunet(outputs: Readonly<Record<string, Tensor>>, stride: number, input: { width: number; height: number }, threshold: number): YunetLevel {
  const columns = Math.ceil(input.width / stride);
  const total = columns * Math.ceil(input.height / stride);
  const head = (name: string, width: number): Float32Array => {
    const tensor = outputs[`${name}_${stride}`];
    const data = tensor === undefined ? new Float32Array(0) : floats(tensor);
    if (data.length === total * width) return data;
    throw new RuntimeError('E_MODEL_SHAPE', `Expected output ${name}_${stride} of ${total} x ${width} values but received ${tensor === undefined ? 'none' : data.length}`);
  };
  const cls = head('cls', 1);
  const obj = head('obj', 1);
  const score = (cell: number): number => Math.sqrt(clamp01(cls[cell] ?? 0) * clamp01(obj[cell] ?? 0));
  return { stride, columns, score, bbox: head('bbox', 4), kps: head('kps', 10), cells: select(total, score, threshold) };
}

function decodeYunetCell(
  { stride, columns, score, bbox, kps }: YunetLevel, cell: number, fit: FitTransform, into: { boxes: Float32Array; scores: Float32Array; points: Float32Array }, k: number,
): void {
  const column = cell % columns;
  const row = (cell - column) / columns;
  const x = (value: number): number => ((column + value) * stride - fit.offsetX) * fit.scaleX;
  const y = (value: number): number => ((row + value) * stride - fit.offsetY) * fit.scaleY;
  const [cx = 0, cy = 0, logWidth = 0, logHeight = 0] = bbox.subarray(cell * 4, cell * 4 + 4);
  const halfWidth = Math.exp(logWidth) / 2;
  const halfHeight = Math.exp(logHeight) / 2;
  into.scores[k] = score(cell);
  into.boxes.set([x(cx - halfWidth), y(cy - halfHeight), x(cx + halfWidth), y(cy + halfHeight)], k * 4);
  for (let point = 0; point < 5; point++) {
    into.points[k * 10 + point * 2] = x(kps[cell * 10 + point * 2] ?? 0);
    into.points[k * 10 + point * 2 + 1] = y(kps[cell * 10 + point * 2 + 1] ?? 0);
  }
}

/** Indices whose score reaches the threshold. NaN never does. */
function select(total: number, score: (i: number) => number, threshold: number): number[] {
  const selected: number[] = [];
  for (let i = 0; i < total; i++) if (score(i) >= threshold) selected.push(i);
  return selected;
}

function floats(tensor: Tensor): Float32Array {
  if (tensor.data instanceof Float32Array) return tensor.data;
  throw new RuntimeError('E_MODEL_SHAPE', `Expected a float32 output but received ${tensor.type}`);
}

function clamp01(value: number): number {
  return Math.min(1, Math.max(0, value));
}
