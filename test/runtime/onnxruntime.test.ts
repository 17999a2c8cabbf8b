import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { orderFeeds, pixelLayout, pixelsToFloats } from '../../runtime/engines/feeds.js';
import { elementCount } from '../../runtime/graph/tensor-value.js';
import { openOnnxRuntime } from '../../runtime/engines/onnxruntime.js';
import type { Tensor, TensorInfo } from '../../runtime/tensor.js';
import { sharedFile } from '../support/shared.js';

const landmark = sharedFile('models/fr_landmark.onnx');

describe('feeds', () => {
  const info: TensorInfo = { name: 'x', type: 'float32', dims: [1, 2] };
  const feed: Tensor = { type: 'float32', dims: [1, 2], data: new Float32Array(2) };

  it('come back in the order of the inputs', () => {
    const other: TensorInfo = { name: 'y', type: 'uint8', dims: [1] };
    const bytes: Tensor = { type: 'uint8', dims: [1], data: new Uint8Array(1) };
    expect(orderFeeds([other, info], { x: feed, y: bytes })).toEqual([bytes, feed]);
  });

  it.each([
    ['missing', {}, /Expected a feed for input "x"/],
    ['unknown', { x: feed, z: feed }, /received "z"/],
    ['of another type', { x: { ...feed, type: 'uint8' as const } }, /float32\[1, 2\].*uint8\[1, 2\]/],
    ['of another shape', { x: { ...feed, dims: [2, 1] } }, /float32\[1, 2\].*float32\[2, 1\]/],
    ['of another rank', { x: { ...feed, dims: [2] } }, /float32\[2\]/],
    ['too short', { x: { ...feed, data: new Float32Array(1) } }, /Float32Array of 2 elements.*of 1/],
    ['of another array', { x: { ...feed, data: new Int32Array(2) } }, /received Int32Array/],
  ])('that are %s are refused', (_, feeds, message) => {
    expect(() => orderFeeds([info], feeds)).toThrow(expect.objectContaining({ code: 'E_INPUT', message: expect.stringMatching(message) as string }));
  });
});

describe('pixels', () => {
  const pixels = Uint8Array.from([0, 10, 20, 255, 30, 40]); // 1 x 2 pixels, 3 channels
  const spec = { mean: [0, 10, 20], std: [1, 2, 4] };

  it('become planes for NCHW', () => {
    const layout = pixelLayout({ name: 'x', type: 'float32', dims: [1, 3, 1, 2] }, spec);
    expect([...pixelsToFloats(layout, pixels)]).toEqual([0, 255, 0, 10, 0, 5]);
  });

  it('stay interleaved for NHWC', () => {
    const layout = pixelLayout({ name: 'x', type: 'float32', dims: [1, 1, 2, 3] }, spec);
    expect([...pixelsToFloats(layout, pixels)]).toEqual([0, 0, 0, 255, 10, 5]);
  });

  it.each([
    ['rank 3', { name: 'x', type: 'float32', dims: [3, 1, 2] }, spec],
    ['other channels', { name: 'x', type: 'float32', dims: [1, 4, 1, 2] }, spec],
    ['a batch', { name: 'x', type: 'float32', dims: [2, 3, 1, 2] }, spec],
    ['an integer input', { name: 'x', type: 'uint8', dims: [1, 3, 1, 2] }, spec],
    ['a zero deviation', { name: 'x', type: 'float32', dims: [1, 3, 1, 2] }, { mean: [0, 0, 0], std: [1, 0, 1] }],
    ['too few deviations', { name: 'x', type: 'float32', dims: [1, 3, 1, 2] }, { mean: [0, 0, 0], std: [1] }],
  ] as const)('with %s are refused', (_, info, pixelSpec) => {
    expect(() => pixelLayout(info, pixelSpec)).toThrow(expect.objectContaining({ code: 'E_INPUT' }));
  });
});

describe('onnxruntime engine', () => {
  it('refuses bytes that are no model', async () => {
    await expect(openOnnxRuntime(new Uint8Array([1, 2, 3, 4]))).rejects.toMatchObject({ code: 'E_MODEL_MALFORMED' });
  });
});

describe.skipIf(!existsSync(landmark))('onnxruntime engine (needs shared/models)', () => {
  it('runs a model, from floats and from pixels alike', async () => {
    const bytes = await readFile(landmark);
    const plain = await openOnnxRuntime(bytes);
    const pixelled = await openOnnxRuntime(bytes, { pixels: { input: { mean: [0], std: [256] } } });
    expect(plain.inputs).toEqual([{ name: 'input', type: 'float32', dims: [1, 1, 64, 64] }]);
    expect(pixelled.inputs).toEqual([{ name: 'input', type: 'uint8', dims: [1, 64, 64, 1] }]);
    const pixels = Uint8Array.from({ length: 64 * 64 }, (_, i) => (i * 37) % 256);
    const floats = Float32Array.from(pixels, (value) => value / 256);
    const a = await plain.run({ input: { type: 'float32', dims: [1, 1, 64, 64], data: floats } });
    const b = await pixelled.run({ input: { type: 'uint8', dims: [1, 64, 64, 1], data: pixels } });
    expect(a['output']?.dims).toEqual([1, 136]);
    expect(a['output']?.data.length).toBe(elementCount([1, 136]));
    expect(b['output']?.data).toEqual(a['output']?.data);
    await plain.close();
    await pixelled.close();
    await pixelled.close();
    await expect(plain.run({})).rejects.toMatchObject({ code: 'E_INPUT' });
  });

  it('refuses pixels for an input that is not there', async () => {
    const options = { pixels: { image: { mean: [0], std: [1] } } };
    await expect(openOnnxRuntime(await readFile(landmark), options)).rejects.toMatchObject({ code: 'E_INPUT' });
  });
});
