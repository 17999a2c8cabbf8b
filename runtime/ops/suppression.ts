import { float, floatAttribute, int, intAttribute, misshapen, requiredInt, type AttributeRecord } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { fromNumbers, toNumbers, type Shape, type TensorValue } from '../graph/tensor-value.js';
import { constantInput, expectType, inputValue, type InferContext, type OperatorRecord, type OpTable } from './op.js';

/** How boxes are suppressed (NonMaxSuppressionAttrs in program.h). */
export interface Suppression {
  /** Boxes are [x, y, width, height] about their centre; otherwise [y, x, y, x] of two corners. */
  readonly center: boolean;
  /** Boxes of a class at most. */
  readonly limit: number;
  readonly iou: number;
  /** Boxes must score more; -Infinity takes all. */
  readonly score: number;
}

/** The suppression of an ONNX node; `value` reads an operand. Without a limit ONNX selects nothing. */
export function suppressionOf(node: Node, boxes: number, value: (index: number, what: string) => TensorValue | undefined): Suppression {
  const number = (index: number, what: string, fallback: number): number => {
    const given = value(index, what)?.data[0];
    return given === undefined ? fallback : Number(given);
  };
  return {
    center: intAttribute(node, 'center_point_box', 0) === 1,
    limit: Math.min(boxes, Math.max(0, number(2, 'max_output_boxes_per_class', 0))),
    iou: number(3, 'iou_threshold', 0),
    score: number(4, 'score_threshold', -Infinity),
  };
}

type Corners = readonly [number, number, number, number];

function cornersOf([a = 0, b = 0, c = 0, d = 0]: ArrayLike<number> & Iterable<number>, center: boolean): Corners {
  if (center) return [b - d / 2, a - c / 2, b + d / 2, a + c / 2];
  return [Math.min(a, c), Math.min(b, d), Math.max(a, c), Math.max(b, d)];
}

const area = ([y0, x0, y1, x1]: Corners): number => (y1 - y0) * (x1 - x0);

/** Share of what two boxes cover together that both cover; boxes of no area overlap nothing. */
function overlap(a: Corners, b: Corners): number {
  const height = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const width = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (!(height > 0 && width > 0 && area(a) > 0 && area(b) > 0)) return 0;
  return (height * width) / (area(a) + area(b) - height * width);
}

/** Indices of the boxes that stay, highest score first. */
function suppress(boxes: readonly Corners[], scores: ArrayLike<number>, { limit, iou, score }: Suppression): number[] {
  const candidates = boxes.map((_, i) => i).filter((i) => (scores[i] ?? 0) > score);
  candidates.sort((i, j) => (scores[j] ?? 0) - (scores[i] ?? 0) || i - j);
  const kept: number[] = [];
  for (const candidate of candidates) {
    if (kept.length === limit) break;
    const box = boxes[candidate];
    if (box !== undefined && kept.every((better) => overlap(box, boxes[better] ?? box) <= iou)) kept.push(candidate);
  }
  return kept;
}

function selected(boxes: TensorValue, scores: TensorValue, how: Suppression): TensorValue {
  const [images = 0, classes = 0, count = 0] = scores.dims;
  const [corners, scored] = [toNumbers(boxes), toNumbers(scores)];
  const rows: number[] = [];
  for (let image = 0; image < images; image++) {
    const own = Array.from({ length: count }, (_, i) => cornersOf(corners.slice((image * count + i) * 4, (image * count + i + 1) * 4), how.center));
    for (let c = 0; c < classes; c++) {
      const start = (image * classes + c) * count;
      for (const box of suppress(own, scored.slice(start, start + count), how)) rows.push(image, c, box);
    }
  }
  return fromNumbers('int64', [rows.length / 3, 3], rows);
}

/** One row for every box that may be selected: how many there are is known only when the model has run. */
function mostRows(context: InferContext, limitOf: (boxes: number) => number): ReturnType<OperatorRecord['infer']> {
  const [boxes, scores]: [Shape, Shape] = [expectType(context, 0, ['float32']).shape, expectType(context, 1, ['float32']).shape];
  const [images = 0, classes = 0, count = 0] = scores;
  if (boxes.length !== 3 || scores.length !== 3 || boxes[0] !== images || boxes[1] !== count || boxes[2] !== 4) {
    throw misshapen(context.node, `boxes of [${boxes.join(', ')}] do not fit scores of [${scores.join(', ')}]`);
  }
  return [{ dtype: 'int64', shape: [images * classes * limitOf(count), 3] }];
}

const nonMaxSuppression: OperatorRecord = {
  infer: (context) => mostRows(context, (boxes) => suppressionOf(context.node, boxes, (index, what) => constantInput(context, index, what)).limit),
  evaluate(context) {
    const [boxes, scores] = [inputValue(context, 0), inputValue(context, 1)];
    return [selected(boxes, scores, suppressionOf(context.node, boxes.dims[1] ?? 0, (index) => context.inputs[index]))];
  },
};

/** The core operator: everything but boxes and scores in attributes. */
export const suppressionAttributes = ({ center, limit, iou, score }: Suppression): AttributeRecord => ({
  center: int(center ? 1 : 0), limit: int(limit), iou: float(iou), score: float(score),
});
export const coreSuppression = (node: Node): Suppression => ({
  center: intAttribute(node, 'center', 0) === 1, limit: requiredInt(node, 'limit'), iou: floatAttribute(node, 'iou', 0), score: floatAttribute(node, 'score', -Infinity),
});

export const selectBoxes: OperatorRecord = {
  infer: (context) => mostRows(context, () => coreSuppression(context.node).limit),
  evaluate: (context) => [selected(inputValue(context, 0), inputValue(context, 1), coreSuppression(context.node))],
};

export const suppressionOps: OpTable = { NonMaxSuppression: nonMaxSuppression };
