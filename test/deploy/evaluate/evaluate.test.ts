import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ap50, averagePrecision, type ScoredBox } from '../../../deploy/evaluate/average-precision.js';
import { decoderFor, type DecodeOptions } from '../../../deploy/evaluate/decode.js';
import { toPicture } from '../../../deploy/evaluate/evaluate.js';
import { fromNumbers } from '../../../runtime/graph/tensor-value.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { captureCli } from '../cli/capture.js';
import { modelBytes, node } from '../../runtime/support/models.js';

let folder = '';
const at = (...names: string[]): string => join(folder, ...names);
const colours = { red: '#f00', green: '#0f0', blue: '#00f' };

/** The mean of each channel, weighted: class n is the n-th channel with the identity. */
const classifier = (weights: readonly number[]): Uint8Array => modelBytes({
  inputs: { x: [1, 3, 8, 8] }, constants: { flat: fromNumbers('int64', [2], [1, 3]), w: fromNumbers('float32', [3, 3], weights) },
  nodes: [node('GlobalAveragePool', ['x'], ['p']), node('Reshape', ['p', 'flat'], ['v']), node('MatMul', ['v', 'w'], ['y'])], outputs: ['y'],
});

/** Finds, in every picture, class 1 of 2 in the same box of its input. */
const detector = (box: readonly number[]): Uint8Array => modelBytes({
  inputs: { x: [1, 3, 8, 8] },
  constants: {
    flat: fromNumbers('int64', [3], [1, 1, 3]), w: fromNumbers('float32', [3, 4], new Array<number>(12).fill(0)), v: fromNumbers('float32', [3, 2], new Array<number>(6).fill(0)),
    box: fromNumbers('float32', [4], box), score: fromNumbers('float32', [2], [0.1, 0.9]),
  },
  nodes: [
    node('GlobalAveragePool', ['x'], ['p']), node('Reshape', ['p', 'flat'], ['m']),
    node('MatMul', ['m', 'w'], ['b0']), node('Add', ['b0', 'box'], ['boxes']), node('MatMul', ['m', 'v'], ['s0']), node('Add', ['s0', 'score'], ['scores']),
  ],
  outputs: ['boxes', 'scores'],
});

/** FastestDet's head of one cell: the whole picture, of the class of the strongest channel. Its published models take BGR. */
const fastest = (): Uint8Array => {
  const weights = Array.from({ length: 8 * 3 }, (_, i) => (Math.floor(i / 3) - 5 === i % 3 ? 1 : 0));
  return modelBytes({
    inputs: { x: [1, 3, 16, 16] }, constants: { w: fromNumbers('float32', [8, 3, 1, 1], weights), b: fromNumbers('float32', [8], [1, Math.atanh(0.5), Math.atanh(0.5), 9, 9, 0, 0, 0]) },
    nodes: [node('GlobalAveragePool', ['x'], ['p']), node('Conv', ['p', 'w', 'b'], ['y'])], outputs: ['y'],
  });
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sterna-evaluate-'));
  for (const part of ['flat', 'linked', 'sorted/0', 'sorted/1', 'sorted/2', 'yolo']) await mkdir(at(part), { recursive: true });
  for (const [label, [name, background]] of Object.entries(colours).entries()) {
    const picture = sharp({ create: { width: 16, height: 8, channels: 3, background } });
    await picture.clone().png().toFile(at('flat', `${name}.png`));
    await picture.png().toFile(at('sorted', String(label), `${name}.png`));
    await symlink(at('flat', `${name}.png`), at('linked', `${name}.png`));
    // The left half of the picture, except that the last label is elsewhere.
    await writeFile(at('yolo', `${name}.txt`), `0 ${label === 2 ? 0.75 : 0.25} 0.5 0.5 1\n`);
  }
  await mkdir(at('bgr'));
  for (const [label, name] of ['blue', 'green', 'red'].entries()) await writeFile(at('bgr', `${name}.txt`), `${label} 0.5 0.5 1 1\n`);
  await writeFile(at('fastest.onnx'), fastest());
  await writeFile(at('right.onnx'), classifier([1, 0, 0, 0, 1, 0, 0, 0, 1]));
  await writeFile(at('swapped.onnx'), classifier([0, 1, 0, 1, 0, 0, 0, 0, 1]));
  await writeFile(at('labels.csv'), 'file,class\nred.png,0\ngreen.png,1\nblue.png,2\n');
  await writeFile(at('names.csv'), 'red.png,rot\ngreen.png,green\nblue.png,blue\n');
  await writeFile(at('classes.txt'), 'rot\ngreen\nblue\n');
  await writeFile(at('detector.onnx'), detector([0, 0.25, 0.5, 0.75]));
  await writeFile(at('stretched.onnx'), detector([0, 0, 0.5, 1]));
  const images = Object.keys(colours).map((name, id) => ({ id, file_name: `${name}.png`, width: 16, height: 8 }));
  await writeFile(at('coco.json'), JSON.stringify({
    images, categories: [{ id: 7 }],
    annotations: [...images.map(({ id }) => ({ image_id: id, category_id: 7, bbox: [id === 2 ? 8 : 0, 0, 8, 8] })), { image_id: 0, category_id: 7, bbox: [8, 0, 8, 8], iscrowd: 1 }],
  }));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const evaluate = async (...argv: string[]): Promise<Record<string, unknown>> => JSON.parse((await captureCli(['evaluate', ...argv, '--json'])).out) as Record<string, unknown>;

describe('sterna evaluate of a classifier', () => {
  it.each([
    ['a CSV of numbers', (): string[] => ['--images', at('flat'), '--labels', at('labels.csv')]],
    ['a CSV of names', (): string[] => ['--images', at('flat'), '--labels', at('names.csv'), '--classes', at('classes.txt')]],
    ['a CSV of numbers, where pictures are links', (): string[] => ['--images', at('linked'), '--labels', at('labels.csv')]],
    ['folders', (): string[] => ['--images', at('sorted')]],
  ])('by %s', async (_, argv) => {
    expect(await evaluate(at('right.onnx'), ...argv())).toEqual({ top1: 1, top5: 1, pictures: 3, passed: true });
    const { top1, against, loss, top1_agreement } = await evaluate(at('swapped.onnx'), ...argv(), '--against', at('right.onnx'));
    expect([top1, against, top1_agreement]).toEqual([1 / 3, { model: at('right.onnx'), top1: 1, top5: 1 }, 1 / 3]);
    expect(loss).toEqual({ top1: expect.closeTo(2 / 3, 12) as number, top5: 0 });
  });

  it('stretches pictures as sterna run does, unless something else is stated', async () => {
    // Black bars would make red weaker than the second class.
    await writeFile(at('no-bars.onnx'), classifier([1, 0, 0, 0, -0.5, 0, 0, 0, 0]));
    await mkdir(at('dark', '0'), { recursive: true });
    await sharp({ create: { width: 16, height: 8, channels: 3, background: '#dc0000' } }).png().toFile(at('dark', '0', 'red.png'));
    expect(await evaluate(at('no-bars.onnx'), '--images', at('dark'))).toMatchObject({ top1: 1 });
    expect(await evaluate(at('no-bars.onnx'), '--images', at('dark'), '--fit', 'letterbox')).toMatchObject({ top1: 0 });
  });

  it('exits with 1 when more is lost than allowed', async () => {
    const argv = ['evaluate', at('swapped.onnx'), '--images', at('sorted'), '--against', at('right.onnx'), '--max-loss'];
    const { code, out } = await captureCli([...argv, '0.5']);
    expect([code, out]).toEqual([1, expect.stringMatching(/top1 +0\.3333 +1\.0000 +0\.6667[^]*FAILED: the loss of top1 is 0\.6667, above --max-loss 0\.5/) as string]);
    expect((await captureCli([...argv, '0.7'])).code).toBe(0);
  });

  it('gives a model that says nothing no point', async () => {
    await writeFile(at('silent.onnx'), classifier(new Array<number>(9).fill(0)));
    expect(await evaluate(at('silent.onnx'), '--images', at('sorted'))).toMatchObject({ top1: 0 });
  });

  it.each([
    ['names without their list', (): string[] => ['--images', at('flat'), '--labels', at('names.csv')], 3, /'rot'; give --classes FILE/],
    ['pictures in no folder', (): string[] => ['--images', at('flat')], 3, /a folder for each class, or --labels or --boxes/],
    ['labels of other pictures', (): string[] => ['--images', at('flat'), '--labels', at('classes.txt')], 3, /Expected file,class in line 1/],
    ['a folder that is not there', (): string[] => ['--images', at('nowhere')], 3, /cannot be read/],
    ['a bound without a reference', (): string[] => ['--images', at('flat'), '--max-loss', '1'], 2, /--against/],
    ['both kinds of truth', (): string[] => ['--images', at('flat'), '--boxes', at('yolo'), '--labels', at('labels.csv')], 2, /--labels or --boxes/],
    ['boxes of a classifier', (): string[] => ['--images', at('flat'), '--boxes', at('yolo')], 3, /Expected the outputs of a detector/],
  ])('refuses %s', async (_, argv, code, message) => {
    const result = await captureCli(['evaluate', at('right.onnx'), ...argv()]);
    expect([result.code, result.err]).toEqual([code, expect.stringMatching(message) as string]);
  });
});

describe('sterna evaluate of a detector', () => {
  it.each([
    ['YOLO files', 'yolo', 'letterbox', 'detector.onnx'], ['COCO annotations', 'coco.json', 'letterbox', 'detector.onnx'], ['YOLO files', 'yolo', 'stretch', 'stretched.onnx'],
  ])('by %s (%s, %s)', async (_, boxes, fit, model) => {
    // At equal scores the pictures' order counts: the miss comes first, then two hits.
    const score = await evaluate(at(model), '--images', at('flat'), '--boxes', at(boxes), '--fit', fit, '--against', at(model));
    expect(score).toMatchObject({ pictures: 3, boxes: 3, classes: 1, decoder: 'decoded boxes and scores', loss: { ap50: 0 } });
    expect(score['ap50']).toBeCloseTo((2 / 3) * (2 / 3), 9);
  });
});

describe('average precision', () => {
  const box = (image: number, score: number, label = 0, x = 0): ScoredBox => ({ image, label, score, corners: [x, 0, x + 0.4, 0.4] });
  const truth = [box(0, 1), box(1, 1)];

  it('is 1 when all is found before anything else, and counts a box once', () => {
    expect(averagePrecision([box(0, 0.9), box(1, 0.8), box(0, 0.7)], truth)).toBe(1);
    expect(averagePrecision([box(0, 0.9), box(0, 0.8), box(1, 0.7)], truth)).toBeCloseTo(0.5 + 0.5 * (2 / 3), 12);
  });

  it('is 0 for nothing, for other places and for other pictures', () => {
    for (const found of [[], [box(0, 0.9, 0, 0.5)], [box(7, 0.9)]]) expect(averagePrecision(found, truth)).toBe(0);
  });

  it('is the mean over the classes that occur', () => {
    expect(ap50([box(0, 0.9), box(0, 0.9, 5)], [box(0, 1), box(0, 1, 3)])).toBe(0.5);
    expect(ap50([], [])).toBeNaN();
  });
});

describe('decoders', () => {
  const tensor = (dims: number[], values: number[]): Tensor => ({ type: 'float32', dims, data: Float32Array.from(values) });
  const decode = (outputs: Record<string, Tensor>, options: DecodeOptions = {}) =>
    decoderFor(Object.entries(outputs).map(([name, { type, dims }]) => ({ name, type, dims })), { width: 16, height: 16 }, options).decode(outputs);
  const rounded = (found: ReturnType<typeof decode>) => found.map(({ label, score, corners }) => [label, ...[score, ...corners].map((value) => Number(value.toFixed(3)))]);

  it('corners, the first of two classes being the background, with suppression', () => {
    const boxes = tensor([1, 3, 4], [0, 0, 0.5, 0.5, 0, 0, 0.5, 0.49, 0.5, 0.5, 1, 1]);
    expect(rounded(decode({ boxes, scores: tensor([1, 3, 2], [0.2, 0.8, 0.1, 0.9, 1, 0.01]) }))).toEqual([[0, 0.9, 0, 0, 0.5, 0.49]]);
    expect(rounded(decode({ boxes: tensor([1, 1, 4], [2, 4, 8, 16]), scores: tensor([1, 1, 3], [0, 0, 0.5]) }, { boxUnits: 'pixels', boxOrder: 'yxyx', firstClass: 1 }))).toEqual([[1, 0.5, 0.25, 0.125, 1, 0.5]]);
  });

  it('raw SSD heads with anchors, by COCO\'s numbers of 91 classes', () => {
    const scores = new Array<number>(91).fill(0);
    scores[13] = 0.75; // stop sign: the 12th of the 80 that are there
    const heads = { boxes: tensor([1, 1, 4], [5, 0, 5 * Math.log(2), 0]), scores: tensor([1, 1, 91], scores) };
    expect(rounded(decode(heads, { anchors: [[0.5, 0.5, 0.2, 0.4]] }))).toEqual([[11, 0.75, 0.3, 0.4, 0.7, 0.8]]);
    expect(() => decode(heads, { anchors: [] })).toThrow(expect.objectContaining({ code: 'E_INPUT' }) as Error);
  });

  it('lists after a suppression in the graph, in either order', () => {
    const [boxes, scores, labels] = [tensor([1, 2, 4], [0.1, 0.2, 0.3, 0.5, 0, 0, 1, 1]), tensor([1, 2], [0.9, 0.8]), tensor([1, 2], [4, 2])];
    expect(rounded(decode({ boxes, labels, scores }, { firstClass: 1 }))).toEqual([[3, 0.9, 0.1, 0.2, 0.3, 0.5], [1, 0.8, 0, 0, 1, 1]]);
    expect(rounded(decode({ detection_boxes: boxes, detection_classes: labels, detection_scores: scores, num_detections: tensor([1], [1]) }))).toEqual([[4, 0.9, 0.2, 0.1, 0.5, 0.3]]);
  });

  it('YuNet', () => {
    const heads = { cls_8: tensor([1, 4, 1], [0.81, 0, 0, 0]), obj_8: tensor([1, 4, 1], [1, 1, 1, 1]), bbox_8: tensor([1, 4, 4], [0.5, 0.5, 0, 0, ...new Array<number>(12).fill(0)]), kps_8: tensor([1, 4, 10], new Array<number>(40).fill(0)) };
    expect(rounded(decode(heads))).toEqual([[0, 0.9, 0, 0, 0.5, 0.5]]);
  });

  it('say which outputs they do not know', () => {
    expect(() => decode({ y: tensor([1, 10], [1]) })).toThrow(expect.objectContaining({ code: 'E_MODEL_SHAPE', message: expect.stringContaining('y float32[1, 10]') as string }) as Error);
  });
});

it.each([
  ['letterbox', [0, 0.25, 0.5, 0.75], [0, 0, 0.5, 1]], ['crop', [0, 0, 1, 1], [0.25, 0, 0.75, 1]], ['stretch', [0, 0, 0.5, 1], [0, 0, 0.5, 1]],
] as const)('boxes of a %s are mapped to the picture', (fit, [a, b, c, d], expected) => {
  expect(toPicture([a, b, c, d], { width: 16, height: 8 }, { width: 8, height: 8 }, fit)).toEqual([...expected]);
});

describe('sterna evaluate and the pictures of a family', () => {
  const argv = (): string[] => ['evaluate', at('fastest.onnx'), '--images', at('flat'), '--boxes', at('bgr'), '--json'];

  it('prepares them as published models want them, and says so', async () => {
    const { out, err } = await captureCli(argv());
    expect(JSON.parse(out)).toMatchObject({ ap50: 1, decoder: 'FastestDet' });
    expect(err).toBe('sterna: assumed --channels bgr --mean 0,0,0 --std 255,255,255 --fit stretch (FastestDet)\n');
  });

  it('takes what the user states instead', async () => {
    const { out, err } = await captureCli([...argv(), '--channels', 'rgb', '--decoder', 'fastestdet']);
    expect((JSON.parse(out) as { ap50: number }).ap50).toBeLessThan(0.7);
    expect(err).toBe('sterna: assumed --mean 0,0,0 --std 255,255,255 --fit stretch (FastestDet)\n');
    const wrong = JSON.parse((await captureCli([...argv(), '--decoder', 'detr'])).out) as unknown;
    expect(wrong).toMatchObject({ error: { code: 'E_MODEL_SHAPE', message: expect.stringContaining('The decoder detr needs: logits') as string } });
  });
});
