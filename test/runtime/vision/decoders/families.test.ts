import { describe, expect, it } from 'vitest';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readPicture } from '../../../../deploy/compress/samples.js';
import { endsOf } from '../../../../runtime/onnx/heads.js';
import { createSession } from '../../../../runtime/session.js';
import type { Tensor } from '../../../../runtime/tensor.js';
import { generateAnchors } from '../../../../runtime/vision/decoders/anchors.js';
import type { Candidates } from '../../../../runtime/vision/decoders/candidates.js';
import type { Anchor, HeadsToRecognize } from '../../../../runtime/vision/decoders/family.js';
import { boxDecoder, decodeBoxes, recognizeDetector } from '../../../../runtime/vision/decoders/index.js';
import type { BoxDecoder } from '../../../../runtime/vision/decoders/index.js';
import { sharedFile } from '../../../support/shared.js';
import * as reference from './reference.js';
import type { Box } from './reference.js';

type Outputs = Record<string, Tensor>;

const identity = { scaleX: 1, scaleY: 1, offsetX: 0, offsetY: 0 };
const size = { width: 64, height: 32 };

/** Numbers between `low` and `high`, the same on every run. */
function numbers(seed: number): (count: number, low: number, high: number) => number[] {
  let state = seed;
  return (count, low, high) => Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.fround(low + (state / 2 ** 32) * (high - low));
  });
}
const tensor = (dims: number[], data: ArrayLike<number>): Tensor => ({ type: 'float32', dims, data: Float32Array.from(data) });
const rowsOf = (tensor: Tensor | undefined, width: number): number[][] => {
  const data = Array.from(tensor?.data ?? [], Number);
  return Array.from({ length: data.length / width }, (_, i) => data.slice(i * width, (i + 1) * width));
};
const transposed = (rows: readonly (readonly number[])[]): number[] => (rows[0] ?? []).flatMap((_, column) => rows.map((row) => row[column] ?? NaN));
const headsOf = (outputs: Outputs, ends: Record<string, readonly string[]> = {}): HeadsToRecognize['heads'] => (
  Object.entries(outputs).map(([name, { type, dims }]) => ({ name, type, dims, ends: ends[name] ?? [] })));

/** Candidates in the reference's form, rounded to float32 as they are stored. */
const boxesOf = ({ count, boxes, scores, classes, points }: Candidates): Box[] => Array.from({ length: count }, (_, i) => ({
  label: classes[i] ?? -1, score: scores[i] ?? NaN, corners: [...boxes.subarray(i * 4, i * 4 + 4)],
  ...(points === undefined ? {} : { points: rowsOf(tensor([], points.subarray((i * points.length) / count, ((i + 1) * points.length) / count)), 2) }),
}));
const stored = (boxes: readonly Box[]): Box[] => boxes.map(({ label, score, corners, points }) => ({
  label, score: Math.fround(score), corners: corners.map(Math.fround), ...(points === undefined ? {} : { points: points.map((pair) => pair.map(Math.fround)) }),
}));

function expectSame(outputs: Outputs, decoder: BoxDecoder, input: { width: number; height: number }, expected: readonly Box[], threshold: number): void {
  expect(boxDecoder.parse(JSON.parse(JSON.stringify(decoder)))).toEqual(JSON.parse(JSON.stringify(decoder)));
  const sound = stored(expected).filter(({ corners: [x1 = 0, y1 = 0, x2 = 0, y2 = 0] }) => x2 > x1 && y2 > y1);
  const decoded = boxesOf(decodeBoxes(outputs, decoder, { input, fit: identity, threshold, everyClass: true }));
  expect(sound.length).toBeGreaterThan(0);
  expect(decoded.map(({ label, score }) => [label, score])).toEqual(sound.map(({ label, score }) => [label, score]));
  expect(decoded).toEqual(sound);
  // Only the best class of each place, as a pipeline wants them.
  const best = decodeBoxes(outputs, decoder, { input, fit: identity, threshold });
  expect(best.count).toBeLessThanOrEqual(decoded.length);
}

interface Case {
  outputs: Outputs;
  expected(threshold: number): Box[];
  anchors?: readonly Anchor[];
  ends?: Record<string, readonly string[]>;
  keypoints?: number;
  input?: { width: number; height: number };
}

/** Outputs built in code, 64 x 32: strides of 8, 16 and 32 have 32, 8 and 2 cells; 64 has one. */
const cases: Record<string, (random: ReturnType<typeof numbers>) => Case> = {
  boxes: (random) => {
    const outputs = { scores: tensor([1, 20, 4], random(80, 0, 1)), boxes: tensor([1, 20, 4], random(20, 0, 0.4).flatMap((v) => [v, v / 2, v + 0.3, v / 2 + 0.4])) };
    return { outputs, ends: { boxes: ['Mul'], scores: ['Softmax'] }, expected: (least) => reference.corners(rowsOf(outputs.scores, 4), rowsOf(outputs.boxes, 4), [1, 2, 3], size, least) };
  },
  ssd: (random) => {
    const anchors = rowsOf(tensor([], random(80, 0.1, 0.5)), 4);
    const outputs = { scores: tensor([1, 20, 4], random(80, 0, 1)), boxes: tensor([1, 20, 4], random(80, -3, 3)) };
    return { outputs, anchors: anchors as unknown as Anchor[], expected: (least) => reference.ssd(rowsOf(outputs.scores, 4), rowsOf(outputs.boxes, 4), anchors, [1, 2, 3], size, least) };
  },
  yunet: (random) => {
    const level = (stride: number, count: number): Outputs => ({
      [`cls_${stride}`]: tensor([1, count, 1], random(count, 0, 1)), [`obj_${stride}`]: tensor([1, count, 1], random(count, 0, 1.1)),
      [`bbox_${stride}`]: tensor([1, count, 4], random(count * 4, -1, 1)), [`kps_${stride}`]: tensor([1, count, 10], random(count * 10, -1, 1)),
    });
    const outputs = { ...level(8, 32), ...level(16, 8), ...level(32, 2) };
    const rows = (name: string, stride: number, width: number): number[][] => rowsOf(outputs[`${name}_${stride}`], width);
    return { outputs, expected: (least) => reference.yunet([8, 16, 32].map((stride) => ({ stride, cls: rows('cls', stride, 1), obj: rows('obj', stride, 1), bbox: rows('bbox', stride, 4), kps: rows('kps', stride, 10) })), size, least) };
  },
  yolox: (random) => {
    const outputs = { output: tensor([1, 42, 9], Array.from({ length: 42 }, () => [...random(4, -1, 1), ...random(5, 0, 1)]).flat()) };
    return { outputs, expected: (least) => reference.yolox(rowsOf(outputs.output, 9), [8, 16, 32], size, least) };
  },
  yolov5: (random) => {
    const outputs = { output: tensor([1, 126, 9], Array.from({ length: 126 }, () => [...random(4, 5, 60), ...random(5, 0, 1)]).flat()) };
    return { outputs, expected: (least) => reference.yolov5Decoded(rowsOf(outputs.output, 9), least) };
  },
  'yolov5 (raw, values last)': (random) => {
    const anchors = [[[10, 13], [16, 30], [33, 23]], [[30, 61], [62, 45], [59, 119]], [[116, 90], [156, 198], [373, 326]]];
    const grids = [[8, 4], [4, 2], [2, 1]] as const;
    const outputs: Outputs = Object.fromEntries(grids.map(([w, h], i) => [`out${i}`, tensor([1, 3, h, w, 9], random(3 * w * h * 9, -2, 2))]));
    const heads = grids.map(([w, h], i) => ({ stride: 8 << i, anchors: anchors[i] ?? [], rows: [0, 1, 2].map((a) => rowsOf(outputs[`out${i}`], 9).slice(a * w * h, (a + 1) * w * h)) }));
    return { outputs, expected: (least) => reference.yolov5Raw(heads, size, least) };
  },
  'yolov5 (raw, channels)': (random) => {
    const anchors = [[[10, 13], [16, 30], [33, 23]], [[30, 61], [62, 45], [59, 119]], [[116, 90], [156, 198], [373, 326]]];
    const grids = [[8, 4], [4, 2], [2, 1]] as const;
    const rows = grids.map(([w, h]) => [0, 1, 2].map(() => rowsOf(tensor([], random(w * h * 9, -2, 2)), 9)));
    const outputs: Outputs = Object.fromEntries(grids.map(([w, h], i) => [`out${i}`, tensor([1, 27, h, w], (rows[i] ?? []).flatMap(transposed))]));
    return { outputs, expected: (least) => reference.yolov5Raw(grids.map((_, i) => ({ stride: 8 << i, anchors: anchors[i] ?? [], rows: rows[i] ?? [] })), size, least) };
  },
  yolov8: (random) => {
    const rows = Array.from({ length: 42 }, () => [...random(4, 5, 60), ...random(3, 0, 1)]);
    return { outputs: { output0: tensor([1, 7, 42], transposed(rows)) }, expected: (least) => reference.yolov8(rows, least) };
  },
  'yolov8 (keypoints)': (random) => {
    const rows = Array.from({ length: 42 }, () => [...random(4, 5, 60), ...random(1, 0, 1), ...random(51, 0, 64)]);
    return { outputs: { output0: tensor([1, 56, 42], transposed(rows)) }, expected: (least) => reference.yolov8(rows, least, 17) };
  },
  'yolov8 (distributions)': (random) => {
    const grids = [[8, 4], [4, 2], [2, 1]] as const;
    const rows = grids.map(([w, h]) => Array.from({ length: w * h }, () => [...random(64, -3, 3), ...random(3, -3, 3)]));
    const outputs: Outputs = Object.fromEntries(grids.map(([w, h], i) => [`out${i}`, tensor([1, 67, h, w], transposed(rows[i] ?? []))]));
    const levels = rows.map((level, i) => ({ stride: 8 << i, sides: level.map((row) => row.slice(0, 64)), scores: level.map((row) => row.slice(64).map((x) => 1 / (1 + Math.exp(-x)))) }));
    return { outputs, expected: (least) => reference.distances(levels, size, 0.5, least) };
  },
  'nanodet (picodet)': (random) => {
    const counts = [32, 8, 2, 1];
    const outputs: Outputs = Object.fromEntries(counts.flatMap((n, i) => [[`scores${i}`, tensor([1, n, 5], random(n * 5, 0, 1))], [`dis${i}`, tensor([1, n, 32], random(n * 32, -3, 3))]] as const));
    return { outputs, expected: (least) => reference.distances(counts.map((_, i) => ({ stride: 8 << i, scores: rowsOf(outputs[`scores${i}`], 5), sides: rowsOf(outputs[`dis${i}`], 32) })), size, 0.5, least) };
  },
  'nanodet (plus)': (random) => {
    const rows = Array.from({ length: 43 }, () => [...random(5, 0, 1), ...random(32, -3, 3)]);
    const levels = [[8, 0, 32], [16, 32, 8], [32, 40, 2], [64, 42, 1]].map(([stride = 0, first = 0, count = 0]) => {
      const own = rows.slice(first, first + count);
      return { stride, scores: own.map((row) => row.slice(0, 5)), sides: own.map((row) => row.slice(5)) };
    });
    return { outputs: { output: tensor([1, 43, 37], rows.flat()) }, expected: (least) => reference.distances(levels, size, 0, least) };
  },
  fastestdet: (random) => {
    const rows = Array.from({ length: 8 }, () => [...random(1, 0, 1), ...random(4, -1, 1), ...random(3, 0, 1)]);
    return { outputs: { output: tensor([1, 8, 2, 4], transposed(rows)) }, expected: (least) => reference.fastestdet(rows, 4, 2, size, least) };
  },
  detr: (random) => {
    const outputs = { pred_logits: tensor([1, 100, 4], random(400, -2, 2)), pred_boxes: tensor([1, 100, 4], random(400, 0.2, 0.8)) };
    return { outputs, ends: { pred_logits: ['Softmax'] }, expected: (least) => reference.corners(rowsOf(outputs.pred_logits, 4), rowsOf(outputs.pred_boxes, 4).map(([x = 0, y = 0, w = 0, h = 0]) => [x - w / 2, y - h / 2, x + w / 2, y + h / 2]), [0, 1, 2], size, least) };
  },
  'detr (logits of COCO)': (random) => {
    const outputs = { logits: tensor([1, 100, 92], random(9200, -3, 3)), pred_boxes: tensor([1, 100, 4], random(400, 0.2, 0.8)) };
    const columns = Array.from({ length: 91 }, (_, i) => i).filter((id) => ![0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83].includes(id));
    return { outputs, expected: (least) => reference.detr(rowsOf(outputs.logits, 92), rowsOf(outputs.pred_boxes, 4), size, least).flatMap((box) => (columns.includes(box.label) ? [{ ...box, label: columns.indexOf(box.label) }] : [])) };
  },
};

describe.each(Object.entries(cases))('%s', (name, make) => {
  it.each([1, 2, 3])('is recognized, and gives the boxes of the plain decoder (seed %i)', (seed) => {
    const { outputs, expected, anchors, ends, input = size } = make(numbers(seed));
    const { decoder } = recognizeDetector({ heads: headsOf(outputs, ends), input, anchors });
    expect(decoder.type).toBe(name.split(' ')[0]);
    const threshold = name.includes('COCO') ? 0.05 : 0.25;
    expectSame(outputs, decoder, input, expected(threshold), threshold);
  });

  it('lets NaN through nowhere, and maps boxes to the frame', () => {
    const { outputs, anchors, ends } = make(numbers(4));
    const { decoder } = recognizeDetector({ heads: headsOf(outputs, ends), input: size, anchors });
    const silent = Object.fromEntries(Object.entries(outputs).map(([key, { dims, data }]) => [key, tensor([...dims], new Array<number>(data.length).fill(NaN))]));
    expect(decodeBoxes(silent, decoder, { input: size, fit: identity, threshold: 0 }).count).toBe(0);
    const fit = { scaleX: 2, scaleY: 4, offsetX: 3, offsetY: 5 };
    const [plain, mapped] = [identity, fit].map((chosen) => decodeBoxes(outputs, decoder, { input: size, fit: chosen, threshold: 0.03 }).boxes);
    expect(mapped?.length).toBeGreaterThan(0);
    expect([...mapped ?? []]).toEqual(Array.from(plain ?? [], (value, i) => expect.closeTo(i % 2 === 0 ? (value - 3) * 2 : (value - 5) * 4, 2) as unknown));
  });

  it('refuses outputs of other sizes, and missing ones', () => {
    const { outputs, anchors, ends } = make(numbers(5));
    const { decoder } = recognizeDetector({ heads: headsOf(outputs, ends), input: size, anchors });
    const refuses = (wrong: Outputs): void => expect(() => decodeBoxes(wrong, decoder, { input: size, fit: identity, threshold: 0.5 })).toThrow(expect.objectContaining({ code: 'E_MODEL_SHAPE' }) as Error);
    refuses({});
    refuses(Object.fromEntries(Object.entries(outputs).map(([key]) => [key, tensor([1, 3, 2], new Array<number>(6).fill(0))])));
    refuses(Object.fromEntries(Object.entries(outputs).map(([key, { dims, data }]) => [key, { type: 'uint8' as const, dims, data: new Uint8Array(data.length) }])));
  });

  it('refuses a class that its scores do not have', () => {
    const { outputs, anchors, ends } = make(numbers(6));
    const { decoder } = recognizeDetector({ heads: headsOf(outputs, ends), input: size, anchors });
    if (decoder.type === 'yunet') return expect(decoder).not.toHaveProperty('class');
    expect(() => decodeBoxes(outputs, { ...decoder, class: 60_000 }, { input: size, fit: identity, threshold: 0.5 })).toThrow(expect.objectContaining({ code: 'E_MODEL_SHAPE' }) as Error);
  });
});

describe('lists after a suppression in the graph', () => {
  const decode = (outputs: Outputs, ends = {}): Box[] => {
    const { decoder } = recognizeDetector({ heads: headsOf(outputs, ends), input: size });
    expect(decoder.type).toBe('listed');
    return boxesOf(decodeBoxes(outputs, decoder, { input: size, fit: identity, threshold: 0.5 }));
  };
  const expected = [{ label: 3, score: 0.75, corners: [16, 8, 32, 24] }];

  it('as lists, in either order, with a count', () => {
    const labels = tensor([1, 3], [3, 1, 2]);
    expect(decode({ boxes: tensor([1, 3, 4], [0.25, 0.25, 0.5, 0.75, 0, 0, 1, 1, 0, 0, 1, 1]), labels, scores: tensor([1, 3], [0.75, 0.25, 0.125]) })).toEqual(expected);
    expect(decode({
      detection_boxes: tensor([1, 3, 4], [0.25, 0.25, 0.75, 0.5, 0, 0, 1, 1, 0, 0, 1, 1]), detection_classes: labels, detection_scores: tensor([1, 3], [0.75, 0.625, 0.625]), num_detections: tensor([1], [1]),
    })).toEqual(expected);
  });

  it('as rows of six or seven', () => {
    expect(decode({ output: tensor([1, 2, 6], [16, 8, 32, 24, 0.75, 3, 0, 0, 9, 9, 0.25, 1]) })).toEqual(expected);
    expect(decode({ output: tensor([2, 7], [0, 16, 8, 32, 24, 3, 0.75, 0, 0, 0, 9, 9, 1, 0.25]) })).toEqual(expected);
  });

  it('as the indices of NonMaxSuppression, whose unused rows are -1', () => {
    const scores = tensor([1, 4, 2], [0, 0, 0, 0, 0, 0, 0.125, 0.75]);
    const selected = tensor([2, 3], [0, 3, 1, -1, -1, -1]);
    expect(decode({ selected, boxes: tensor([1, 2, 4], [0, 0, 1, 1, 0.25, 0.25, 0.75, 0.5]), scores }, { selected: ['NonMaxSuppression'] })).toEqual(expected);
  });
});

describe('recognition', () => {
  it('says what it saw and what would fit', () => {
    expect(() => recognizeDetector({ heads: headsOf({ y: tensor([1, 11], []) }), input: size })).toThrow(expect.objectContaining({
      code: 'E_MODEL_SHAPE', message: expect.stringMatching(/y float32\[1, 11\].*64 x 32.*YuNet.*YOLOX.*NonMaxSuppression/) as string,
    }) as Error);
    expect(() => recognizeDetector({ heads: headsOf({ y: tensor([1, 42, 9], []) }), input: size }, 'detr')).toThrow(/The decoder detr needs: logits/);
  });

  it('takes what the user names, and knows a graph that decodes YOLOX itself', () => {
    const heads = headsOf({ y: tensor([1, 42, 9], []) }, { y: ['Add', 'Mul', 'Sigmoid'] });
    expect(recognizeDetector({ heads, input: size }, 'yolox').decoder).toMatchObject({ type: 'yolox', coding: 'pixels' });
  });

  it('does not take strides of 4 to 32 for those of NanoDet-Plus', () => {
    const heads = headsOf({ y: tensor([1, 170, 40], []) }); // 128 + 32 + 8 + 2 cells of 64 x 32 pixels
    expect(() => recognizeDetector({ heads, input: size }, 'nanodet')).toThrow(/The decoder nanodet needs/);
  });

  it('takes 80 scores for the classes of COCO, without a background', () => {
    const heads = (count: number) => [{ name: 'boxes', dims: [1, 100, 4] }, { name: 'scores', dims: [1, 100, count] }].map((head) => ({ ...head, type: 'float32', ends: ['Mul'] }));
    expect([80, 81].map((count) => recognizeDetector({ heads: heads(count), input: { width: 320, height: 320 } })).map(({ classes, decoder }) => [decoder.type, classes])).toEqual([['boxes', 80], ['boxes', 80]]);
  });

  it('letterboxes the pictures of NanoDet, and stretches those of NanoDet-Plus', () => {
    const head = (name: string, cells: number, columns: number) => ({ name, type: 'float32', dims: [1, cells, columns], ends: [] });
    const pairs = [1600, 400, 100].flatMap((cells) => [head(`cls_${cells}`, cells, 80), head(`dis_${cells}`, cells, 32)]);
    const fitOf = (heads: typeof pairs) => recognizeDetector({ heads, input: { width: 320, height: 320 } }).picture.fit;
    expect([fitOf(pairs), fitOf([head('output', 2125, 112)])]).toEqual(['letterbox', 'stretch']);
  });

  it('generates the anchors of SSD-MobileNet (300 x 300: 1917)', () => {
    const heads = headsOf({ boxes: tensor([1, 1917, 4], []), scores: tensor([1, 1917, 91], []) }, { boxes: ['Conv'], scores: ['Sigmoid'] });
    const { decoder } = recognizeDetector({ heads, input: { width: 300, height: 300 } });
    if (decoder.type !== 'ssd') throw new Error(decoder.type);
    const anchors = generateAnchors(decoder.anchors, { width: 300, height: 300 });
    expect(anchors).toHaveLength(1917 * 4);
    expect([...anchors.subarray(0, 4)]).toEqual([0.5 / 19, 0.5 / 19, 0.1, 0.1].map((value) => expect.closeTo(value, 6) as unknown));
  });
});

const sharedAnchors = (): Anchor[] => (JSON.parse(readFileSync(sharedFile('models/ssd_mobilenet_v2_fpnlite_320.anchors.json'), 'utf8')) as { anchors: Anchor[] }).anchors;

it.skipIf(!existsSync(sharedFile('models/ssd_mobilenet_v2_fpnlite_320.anchors.json')))('the anchors of SSD-MobileNetV2-FPNLite are generated as published', () => {
  const heads = headsOf({ boxes: tensor([1, 12804, 4], []), scores: tensor([1, 12804, 91], []) }, { boxes: ['Conv'], scores: ['Sigmoid'] });
  const { decoder } = recognizeDetector({ heads, input: { width: 320, height: 320 } });
  if (decoder.type !== 'ssd') throw new Error(decoder.type);
  const generated = generateAnchors(decoder.anchors, { width: 320, height: 320 });
  const worst = sharedAnchors().flat().reduce((most, value, i) => Math.max(most, Math.abs(value - (generated[i] ?? NaN))), 0);
  expect(worst).toBeLessThan(1e-6);
});

const shared = {
  'nanodet_m_320.onnx': (outputs: Outputs, input: typeof size, least: number) => reference.distances([8, 16, 32].map((stride) => (
    { stride, scores: rowsOf(outputs[`cls_pred_stride_${stride}`], 80), sides: rowsOf(outputs[`dis_pred_stride_${stride}`], 32) })), input, 0.5, least),
  'yolox_nano.onnx': (outputs: Outputs, input: typeof size, least: number) => reference.yolox(rowsOf(outputs['output'], 85), [8, 16, 32], input, least),
  'yunet_n_320_320.onnx': (outputs: Outputs, input: typeof size, least: number) => reference.yunet([8, 16, 32].map((stride) => (
    { stride, cls: rowsOf(outputs[`cls_${stride}`], 1), obj: rowsOf(outputs[`obj_${stride}`], 1), bbox: rowsOf(outputs[`bbox_${stride}`], 4), kps: rowsOf(outputs[`kps_${stride}`], 10) })), input, least),
  'version-RFB-320.onnx': (outputs: Outputs, input: typeof size, least: number) => reference.corners(rowsOf(outputs['scores'], 2), rowsOf(outputs['boxes'], 4), [1], input, least),
  'ssd_mobilenet_v2_fpnlite_320_w8.onnx': (outputs: Outputs, input: typeof size, least: number) => {
    const anchors = sharedAnchors();
    const columns = Array.from({ length: 91 }, (_, i) => i).filter((id) => ![0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83].includes(id));
    return reference.ssd(rowsOf(outputs['out1_tfl.logistic'], 91), rowsOf(outputs['out0_tfl.concatenation'], 4), anchors, columns, input, least);
  },
};

describe.each(Object.entries(shared))('%s', (file, decode) => {
  const path = sharedFile('models', file);
  const pictures = sharedFile('samples/coco128/images');
  it.skipIf(!existsSync(path) || !existsSync(pictures))('is recognized, and its boxes on photos are those of the plain decoder', async () => {
    const model = readFileSync(path);
    const session = await createSession(model);
    try {
      const [input] = session.inputs;
      if (input === undefined) throw new Error('no input');
      const [, a = 0, b = 0, c = 0] = input.dims;
      const planar = a === 3;
      const picture = planar ? { width: c, height: b } : { width: b, height: a };
      const ends = endsOf(model);
      const heads = session.outputs.map(({ name, type, dims }) => ({ name, type, dims, ends: ends[name] ?? [] }));
      const anchors = file.startsWith('ssd') ? sharedAnchors() : undefined;
      const { decoder, picture: wanted } = recognizeDetector({ heads, input: picture, anchors });
      const { mean, std, channels, fit } = wanted;
      const names = readdirSync(pictures).filter((name) => name.endsWith('.jpg')).sort().slice(0, 4);
      const counts: number[] = [];
      for (const name of names) {
        const { feeds } = await readPicture(join(pictures, name), input, { mean, std, channels, fit });
        const outputs = await session.run(feeds);
        const expected = decode(outputs, picture, 0.01);
        counts.push(expected.length);
        if (expected.length > 0) expectSame(outputs, decoder, picture, expected, 0.01);
      }
      expect(Math.max(...counts)).toBeGreaterThan(0);
    } finally {
      await session.close();
    }
  }, 120_000);
});
