/**
 * Plain decoders, written from the papers without anything of runtime/vision/decoders: every value is visited, nothing is skipped early,
 * and boxes come in the order of places, then of classes. Each takes outputs as arrays of rows.
 */
export interface Box {
  label: number;
  score: number;
  corners: number[];
  points?: number[][];
}

type Rows = readonly (readonly number[])[];
interface Size { width: number; height: number }

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const clamp = (x: number): number => Math.min(1, Math.max(0, x));
const softmax = (row: readonly number[]): number[] => {
  const most = Math.max(...row);
  const powers = row.map((value) => Math.exp(value - most));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
};
const around = (x: number, y: number, width: number, height: number): number[] => [x - width / 2, y - height / 2, x + width / 2, y + height / 2];
const at = (row: readonly number[] | undefined, i: number): number => row?.[i] ?? NaN;

function cells({ width, height }: Size, stride: number): { x: number; y: number }[] {
  const [columns, rows] = [Math.ceil(width / stride), Math.ceil(height / stride)];
  return Array.from({ length: columns * rows }, (_, i) => ({ x: i % columns, y: Math.floor(i / columns) }));
}

/** All boxes at or above the threshold: one for each class that reaches it. */
function collect(scores: readonly number[], threshold: number, box: () => Omit<Box, 'label' | 'score'>): Box[] {
  return scores.flatMap((score, label) => (score >= threshold ? [{ label, score, ...box() }] : []));
}

export function corners(scores: Rows, boxes: Rows, columns: readonly number[], { width, height }: Size, threshold: number): Box[] {
  return scores.flatMap((row, i) => collect(columns.map((column) => clamp(at(row, column))), threshold, () => (
    { corners: [at(boxes[i], 0) * width, at(boxes[i], 1) * height, at(boxes[i], 2) * width, at(boxes[i], 3) * height] })));
}

export function ssd(scores: Rows, boxes: Rows, anchors: Rows, columns: readonly number[], { width, height }: Size, threshold: number): Box[] {
  return scores.flatMap((row, i) => collect(columns.map((column) => clamp(at(row, column))), threshold, () => {
    const [cy = NaN, cx = NaN, h = NaN, w = NaN] = anchors[i] ?? [];
    const [ty = NaN, tx = NaN, th = NaN, tw = NaN] = boxes[i] ?? [];
    return { corners: around((cx + tx * 0.1 * w) * width, (cy + ty * 0.1 * h) * height, w * Math.exp(tw * 0.2) * width, h * Math.exp(th * 0.2) * height) };
  }));
}

export function yunet(levels: readonly { stride: number; cls: Rows; obj: Rows; bbox: Rows; kps: Rows }[], size: Size, threshold: number): Box[] {
  return levels.flatMap(({ stride, cls, obj, bbox, kps }) => cells(size, stride).flatMap(({ x, y }, i) => (
    collect([Math.sqrt(clamp(at(cls[i], 0)) * clamp(at(obj[i], 0)))], threshold, () => ({
      corners: around(x + at(bbox[i], 0), y + at(bbox[i], 1), Math.exp(at(bbox[i], 2)), Math.exp(at(bbox[i], 3))).map((value) => value * stride),
      points: [0, 1, 2, 3, 4].map((k) => [(x + at(kps[i], 2 * k)) * stride, (y + at(kps[i], 2 * k + 1)) * stride]),
    })))));
}

export function yolox(rows: Rows, strides: readonly number[], size: Size, threshold: number): Box[] {
  const places = strides.flatMap((stride) => cells(size, stride).map((cell) => ({ ...cell, stride })));
  return places.flatMap(({ x, y, stride }, i) => {
    const [tx = NaN, ty = NaN, tw = NaN, th = NaN, objectness = NaN, ...classes] = rows[i] ?? [];
    return collect(classes.map((score) => clamp(objectness) * clamp(score)), threshold, () => (
      { corners: around((x + tx) * stride, (y + ty) * stride, Math.exp(tw) * stride, Math.exp(th) * stride) }));
  });
}

export function yolov5Decoded(rows: Rows, threshold: number): Box[] {
  return rows.flatMap(([x = NaN, y = NaN, width = NaN, height = NaN, objectness = NaN, ...classes]) => (
    collect(classes.map((score) => clamp(objectness) * clamp(score)), threshold, () => ({ corners: around(x, y, width, height) }))));
}

/** Each head: anchors of rows of cells. */
export function yolov5Raw(heads: readonly { stride: number; anchors: Rows; rows: readonly Rows[] }[], size: Size, threshold: number): Box[] {
  return heads.flatMap(({ stride, anchors, rows }) => rows.flatMap((ofAnchor, a) => cells(size, stride).flatMap(({ x, y }, i) => {
    const [tx = NaN, ty = NaN, tw = NaN, th = NaN, objectness = NaN, ...classes] = (ofAnchor[i] ?? []).map(sigmoid);
    return collect(classes.map((score) => objectness * score), threshold, () => ({
      corners: around((tx * 2 - 0.5 + x) * stride, (ty * 2 - 0.5 + y) * stride, (tw * 2) ** 2 * at(anchors[a], 0), (th * 2) ** 2 * at(anchors[a], 1)),
    }));
  })));
}

export function yolov8(rows: Rows, threshold: number, keypoints = 0): Box[] {
  return rows.flatMap((row) => collect(row.slice(4, row.length - 3 * keypoints).map(clamp), threshold, () => ({
    corners: around(at(row, 0), at(row, 1), at(row, 2), at(row, 3)),
    ...(keypoints === 0 ? {} : { points: Array.from({ length: keypoints }, (_, k) => row.slice(row.length - 3 * (keypoints - k)).slice(0, 2)) }),
  })));
}

export function distances(levels: readonly { stride: number; scores: Rows; sides: Rows }[], size: Size, center: number, threshold: number): Box[] {
  return levels.flatMap(({ stride, scores, sides }) => cells(size, stride).flatMap(({ x, y }, i) => collect((scores[i] ?? []).map(clamp), threshold, () => {
    const bins = (sides[i]?.length ?? 0) / 4;
    const side = (k: number): number => softmax(sides[i]?.slice(k * bins, (k + 1) * bins) ?? []).reduce((mean, share, bin) => mean + share * bin, 0) * stride;
    return { corners: [(x + center) * stride - side(0), (y + center) * stride - side(1), (x + center) * stride + side(2), (y + center) * stride + side(3)] };
  })));
}

export function fastestdet(rows: Rows, columns: number, height: number, size: Size, threshold: number): Box[] {
  return rows.flatMap(([objectness = NaN, tx = NaN, ty = NaN, tw = NaN, th = NaN, ...classes], i) => (
    collect(classes.map((score) => clamp(objectness) ** 0.6 * clamp(score) ** 0.4), threshold, () => ({
      corners: around(((i % columns + Math.tanh(tx)) / columns) * size.width, ((Math.floor(i / columns) + Math.tanh(ty)) / height) * size.height, sigmoid(tw) * size.width, sigmoid(th) * size.height),
    }))));
}

/** Without the last class, which means "no object". */
export function detr(logits: Rows, boxes: Rows, { width, height }: Size, threshold: number): Box[] {
  return logits.flatMap((row, i) => collect(softmax(row).slice(0, -1), threshold, () => (
    { corners: around(at(boxes[i], 0) * width, at(boxes[i], 1) * height, at(boxes[i], 2) * width, at(boxes[i], 3) * height) })));
}
