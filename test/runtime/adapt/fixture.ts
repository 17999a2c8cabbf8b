/** A network with a concatenation and a pool, quantized on pictures of little contrast, and a package of it. */
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import sharp from 'sharp';
import { buildPackage, openPackage, type ModelPackage } from '../../../runtime/package/package.js';
import type { ManifestInput } from '../../../runtime/package/manifest.js';
import { quantizeModel } from '../../../runtime/quantize/quantize.js';
import { defaultMotion } from '../../../runtime/vision/settings.js';
import { createSession } from '../../../runtime/session.js';
import { fromNumbers } from '../../../runtime/graph/tensor-value.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { modelBytes, node, randomTensor } from '../support/models.js';
import { random } from '../support/random.js';

export const side = 16;

export const float = modelBytes({
  opset: 13,
  inputs: { x: [1, 3, side, side] },
  constants: {
    w1: randomTensor([8, 3, 3, 3], 1), b1: randomTensor([8], 2), w2: randomTensor([8, 8, 3, 3], 3, -0.4, 0.4), b2: randomTensor([8], 4),
    w3: randomTensor([8, 16, 1, 1], 5), b3: randomTensor([8], 6), wf: randomTensor([8, 5], 7), flat: fromNumbers('int64', [2], [1, -1]),
  },
  nodes: [
    node('Conv', ['x', 'w1', 'b1'], ['c1'], { pads: [1, 1, 1, 1] }), node('Relu', ['c1'], ['a1']),
    node('Conv', ['a1', 'w2', 'b2'], ['c2'], { pads: [1, 1, 1, 1] }), node('Relu', ['c2'], ['a2']),
    node('MaxPool', ['a1'], ['p1'], { kernel_shape: [2, 2], strides: [2, 2] }), node('MaxPool', ['a2'], ['p2'], { kernel_shape: [2, 2], strides: [2, 2] }),
    node('Concat', ['p1', 'p2'], ['joined'], { axis: 1 }),
    node('Conv', ['joined', 'w3', 'b3'], ['c3']), node('GlobalAveragePool', ['c3'], ['pool']), node('Reshape', ['pool', 'flat'], ['vector']), node('MatMul', ['vector', 'wf'], ['y']),
  ],
  outputs: ['y'],
});

/** Blobs of light of so much contrast, as pixels. */
export function picture(seed: number, contrast: number): Uint8Array {
  const next = random(seed);
  const [cx, cy, size] = [next() * side, next() * side, 2 + next() * 4];
  const tint = [next(), next(), next()];
  return Uint8Array.from({ length: side * side * 3 }, (_, i) => {
    const [x, y] = [Math.floor(i / 3) % side, Math.floor(i / 3 / side)];
    const light = Math.exp(-((x - cx) ** 2 + (y - cy) ** 2) / size ** 2) * (tint[i % 3] ?? 0) * 2 - 0.6 + 0.2 * next();
    return Math.min(255, Math.max(0, Math.round(127.5 + 127.5 * light * contrast)));
  });
}

/** A folder of so many pictures as the device's camera shows them. */
export async function writePictures(folder: string, count: number, contrast = 1): Promise<void> {
  mkdirSync(folder);
  for (let i = 0; i < count; i++) await sharp(picture(i, contrast), { raw: { width: side, height: side, channels: 3 } }).png().toFile(join(folder, `${i}.png`));
}

/** The built module of the process that adapts. */
export const adaptEntry = resolve(import.meta.dirname, '../../../dist/agent/inference/adapt-main.js');

export const asImage = (data: Uint8Array): { width: number; height: number; data: Uint8Array } => ({ width: side, height: side, data });

/** What the float network is fed for a picture. */
export const feedsOf = (pixels: Uint8Array): Record<string, Tensor> => ({
  x: { type: 'float32', dims: [1, 3, side, side], data: Float32Array.from({ length: pixels.length }, (_, i) => ((pixels[(i % (side * side)) * 3 + Math.floor(i / (side * side))] ?? 0) - 127.5) / 127.5) },
});

export const feeds = (count: number, contrast: number, first = 0): Record<string, Tensor>[] => Array.from({ length: count }, (_, i) => feedsOf(picture(first + i, contrast)));

/** Calibrated on pictures of another camera, which has a quarter of the contrast. */
export const quantized = async (contrast = 0.25): Promise<Uint8Array> => (await quantizeModel(float, feeds(24, contrast, 500), { method: 'minmax', engine: 'native', equalize: false })).model;

export async function outputsOf(model: Uint8Array, samples: readonly Record<string, Tensor>[]): Promise<number[][]> {
  const session = await createSession(model);
  const outputs: number[][] = [];
  for (const sample of samples) outputs.push(Array.from((await session.run(sample))['y']?.data ?? [], Number));
  await session.close();
  return outputs;
}

const manifest: ManifestInput = {
  schema_version: 2, name: 'blobs', version: '1.0.0', release_counter: 1, minimum_runtime: '0.1.0', embedding_space_id: null,
  pipeline: {
    kind: 'classification',
    stages: { classifier: { model: 'models/classifier.onnx', input: { type: 'pixels', tensor: 'x', width: side, height: side, channels: 'rgb', mean: [127.5, 127.5, 127.5], std: [127.5, 127.5, 127.5] }, outputs: ['y'] } },
    settings: { motion: defaultMotion, fit: 'stretch', activation: 'softmax', labels: ['a', 'b', 'c', 'd', 'e'], top: 1, score_threshold: 0 },
  },
  golden: [], budget: { ram_bytes: 1 << 26, p99_ms: 10_000 },
};

/** A package with one golden vector, which the quantized model gives itself. @param tolerance largest error of the vector */
export const blobs = async (model: Uint8Array, tolerance = 100): Promise<ModelPackage> => openPackage(await blobsBytes(model, tolerance));

/** Its archive. */
export async function blobsBytes(model: Uint8Array, tolerance = 100): Promise<Uint8Array> {
  const pixels = picture(900, 0.25);
  const [[...expected] = []] = await outputsOf(model, [feedsOf(pixels)]);
  const golden: ManifestInput['golden'] = [{ stage: 'classifier', input: 'golden/0.u8', outputs: [{ name: 'y', file: 'golden/0.f32' }], min_cosine: -1, max_abs: tolerance }];
  const files = { 'models/classifier.onnx': model, 'golden/0.u8': pixels, 'golden/0.f32': new Uint8Array(Float32Array.from(expected).buffer) };
  return (await buildPackage({ ...manifest, golden }, files)).bytes;
}
