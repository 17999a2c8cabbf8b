import { z } from 'zod';
import { RuntimeError } from '../../errors.js';
import { anchorSettings, anchorsToSettings, generateAnchors, publishedAnchors } from './anchors.js';
import type { AnchorSettings } from './anchors.js';
import { priorHeads } from './boxes.js';
import { CandidateList } from './candidates.js';
import { activationOf, activationSetting, classColumns, columnList, defineFamily, foregroundColumns, outputName } from './family.js';
import type { InputSize, Recognized } from './family.js';
import { scanScores } from './scores.js';
import { rowMajor, valueAt } from './table.js';
import type { Table } from './table.js';

const settings = z.object({
  type: z.literal('ssd'),
  /** Output [1, N, classes]. */
  scores: outputName,
  class: classColumns,
  activation: activationSetting.default('none'),
  /** Output [1, N, 4]: offsets of the anchors' centres, and logarithms of the ratios of sizes. */
  boxes: outputName,
  /** Output [1, N, 2 K] of keypoints, coded as centres are. */
  points: outputName.optional(),
  /** `yxhw`: TensorFlow's order; `xywh`: that of Caffe and PyTorch. */
  order: z.enum(['yxhw', 'xywh']).default('yxhw'),
  /** What offsets and logarithms are multiplied by. */
  variances: z.tuple([z.number().positive(), z.number().positive()]).default([0.1, 0.2]),
  anchors: anchorSettings,
});

type Settings = z.output<typeof settings>;

/** Anchors are the same for every frame; a generator takes longer than decoding. */
const generated = new WeakMap<AnchorSettings, { key: string; anchors: Float32Array }>();

function anchorsFor({ anchors: stated }: Settings, input: InputSize): Float32Array {
  const key = `${input.width} x ${input.height}`;
  const known = generated.get(stated);
  if (known?.key === key) return known.anchors;
  const anchors = generateAnchors(stated, input);
  generated.set(stated, { key, anchors });
  return anchors;
}

/** Raw heads over anchors (W. Liu et al., "SSD: Single Shot MultiBox Detector", 2016; the box coding is that of Faster R-CNN, 2015, equation 2). */
export const ssd = defineFamily({
  type: 'ssd',
  title: 'SSD heads over anchors',
  fits: 'offsets [1, N, 4] and scores [1, N, C] of N anchors (give them with --anchors when no published generator makes N)',
  settings,
  recognize({ heads, input, anchors }): Recognized<Settings> | null {
    const found = priorHeads(heads);
    if (found === null) return null;
    const count = found.boxes.dims[1] ?? 0;
    if (anchors !== undefined && anchors.length !== count) {
      throw new RuntimeError('E_INPUT', `Expected ${count} anchors for output '${found.boxes.name}' but received ${anchors.length}`);
    }
    // Boxes that the graph decodes end in arithmetic; those of a raw head are what convolutions gave.
    const raw = found.boxes.ends.length > 0 && found.boxes.ends.every((op) => ['Conv', 'Gemm', 'MatMul', 'BatchNormalization'].includes(op));
    const stated = anchors !== undefined ? anchorsToSettings(anchors) : raw ? publishedAnchors(count, input) : undefined;
    if (stated === undefined) return null;
    const columns = foregroundColumns(found.scores.dims[2] ?? 0);
    const points = heads.find(({ name, dims }) => name !== found.scores.name && dims.length === 3 && dims[1] === count && (dims[2] ?? 0) > 4 && (dims[2] ?? 1) % 2 === 0);
    return {
      decoder: {
        type: 'ssd', scores: found.scores.name, boxes: found.boxes.name, ...(points === undefined ? {} : { points: points.name }),
        class: columns.length === 1 ? columns[0] : columns, activation: activationOf(found.scores, 'none'), order: 'yxhw', variances: [0.1, 0.2],
        anchors: stated,
      },
      classes: columns.length, ...(columns.length === 1 ? { label: 'object' } : {}),
      picture: { channels: 'rgb', mean: [127.5, 127.5, 127.5], std: [127.5, 127.5, 127.5], fit: 'stretch', pad: 0 },
      scoreThreshold: 0.4, suppress: true,
    };
  },
  decode(outputs, stated, { input, fit, threshold, everyClass = false }) {
    const scores = rowMajor(outputs, stated.scores);
    const boxes = rowMajor(outputs, stated.boxes, 4);
    const points = stated.points === undefined ? undefined : rowMajor(outputs, stated.points);
    const anchors = anchorsFor(stated, input);
    const columns = columnList(stated.class);
    if (boxes.rows * 4 !== anchors.length || scores.rows !== boxes.rows || (points !== undefined && points.rows !== boxes.rows)) {
      throw new RuntimeError('E_MODEL_SHAPE', `Expected boxes and scores of ${anchors.length / 4} anchors but received `
        + `[${outputs[stated.boxes]?.dims.join(', ')}] and [${outputs[stated.scores]?.dims.join(', ')}]`);
    }
    const list = new CandidateList(fit, points !== undefined);
    scanScores(scores, { activation: stated.activation, columns, threshold, everyClass }, (row, label, score) => {
      const [cy = 0, cx = 0, height = 0, width = 0] = anchors.subarray(row * 4, row * 4 + 4);
      const [x, y, w, h] = stated.order === 'yxhw' ? [1, 0, 3, 2] as const : [0, 1, 2, 3] as const;
      const [near, size] = stated.variances;
      const centerX = (cx + valueAt(boxes, row, x) * near * width) * input.width;
      const centerY = (cy + valueAt(boxes, row, y) * near * height) * input.height;
      const halfWidth = (width * Math.exp(valueAt(boxes, row, w) * size) * input.width) / 2;
      const halfHeight = (height * Math.exp(valueAt(boxes, row, h) * size) * input.height) / 2;
      const kept = list.add(score, label, [centerX - halfWidth, centerY - halfHeight, centerX + halfWidth, centerY + halfHeight]);
      if (kept && points !== undefined) addPoints(list, points, row, { cx, cy, width: width * near, height: height * near, input });
    });
    return list.finish();
  },
});

function addPoints(list: CandidateList, points: Table, row: number, { cx, cy, width, height, input }: { cx: number; cy: number; width: number; height: number; input: InputSize }): void {
  for (let point = 0; point < points.columns; point += 2) {
    list.addPoint((cx + valueAt(points, row, point) * width) * input.width, (cy + valueAt(points, row, point + 1) * height) * input.height);
  }
}
