import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseNpy } from '../../../deploy/compress/npy.js';
import { randomFeeds } from '../../../deploy/compress/random.js';
import { defaultPictureOptions, type PictureOptions } from '../../../deploy/compress/picture-options.js';
import { readSamples } from '../../../deploy/compress/samples.js';
import { describePipeline } from '../../../deploy/package/describe.js';
import { calibrationFeeds, recordPictures } from '../../../deploy/package/record.js';
import { readImage } from '../../../runtime/media/index.js';
import type { TensorInfo } from '../../../runtime/tensor.js';
import { random } from '../../runtime/support/random.js';
import { tinyModels } from '../package/tiny-models.js';

let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sterna-samples-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** An .npy file, version 1. */
function npy(descr: string, shape: string, data: Uint8Array, fortran = 'False'): Uint8Array {
  const header = `{'descr': '${descr}', 'fortran_order': ${fortran}, 'shape': ${shape}, }`;
  const padded = `${header.padEnd(117)}\n`;
  return Buffer.concat([Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, padded.length, 0]), Buffer.from(padded), data]);
}
const bytesOf = (values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

/** A picture of one colour. */
async function picture(name: string, [r, g, b]: [number, number, number], width = 8, height = 4): Promise<string> {
  const path = join(folder, name);
  await sharp({ create: { width, height, channels: 3, background: { r, g, b } } }).png().toFile(path);
  return path;
}

const planar: TensorInfo = { name: 'x', type: 'float32', dims: [1, 3, 4, 4] };
const options = (changes: Partial<PictureOptions>): PictureOptions => ({ ...defaultPictureOptions, mean: [0], std: [1], fit: 'stretch', ...changes });

async function first(source: string, inputs: TensorInfo[], pictures?: PictureOptions): Promise<Record<string, unknown>> {
  for await (const feeds of readSamples(source, inputs, 8, pictures)) return feeds;
  return {};
}

describe('parseNpy', () => {
  it('reads floats and bytes', () => {
    expect(parseNpy(npy('<f4', '(1, 2)', bytesOf([1.5, -2])), 'f')).toEqual({ type: 'float32', dims: [1, 2], data: Float32Array.of(1.5, -2) });
    expect(parseNpy(npy('|u1', '(3,)', Uint8Array.of(1, 2, 3)), 'f')).toEqual({ type: 'uint8', dims: [3], data: Uint8Array.of(1, 2, 3) });
    expect(parseNpy(npy('<f8', '(1,)', new Uint8Array(Float64Array.of(0.1).buffer)), 'f')).toEqual({ type: 'float64', dims: [1], data: Float64Array.of(0.1) });
    expect(parseNpy(npy('<f2', '(1,)', Uint8Array.of(0, 0x3c)), 'f')).toEqual({ type: 'float16', dims: [1], data: Uint16Array.of(0x3c00) });
  });

  it.each([
    ['no array', Uint8Array.from({ length: 40 }, () => 1), /magic/],
    ['an empty file', new Uint8Array(0), /magic/],
    ['a truncated header', npy('<f4', '(1,)', bytesOf([1])).subarray(0, 60), /truncated/],
    ['missing data', npy('<f4', '(2,)', bytesOf([1])), /8 bytes for shape \[2\] but received 4/],
    ['complex numbers', npy('<c8', '(1,)', new Uint8Array(8)), /'<c8'/],
    ['Fortran order', npy('<f4', '(1, 1)', bytesOf([1]), 'True'), /Fortran/],
  ])('refuses %s', (_, bytes, message) => {
    expect(() => parseNpy(bytes, 'bad.npy')).toThrow(expect.objectContaining({ code: 'E_INPUT', message: expect.stringMatching(message) as string }));
  });
});

describe('randomFeeds', () => {
  it('are the same for the same case and differ between cases', () => {
    const inputs: TensorInfo[] = [planar, { name: 'b', type: 'uint8', dims: [4] }, { name: 'i', type: 'int64', dims: [4] }];
    expect(randomFeeds(inputs, 3)).toEqual(randomFeeds(inputs, 3));
    expect(randomFeeds(inputs, 3)).not.toEqual(randomFeeds(inputs, 4));
    expect(Math.max(...Array.from(randomFeeds([planar], 1)['x']?.data ?? [], Number).map(Math.abs))).toBeLessThanOrEqual(1);
  });
});

describe('readSamples', () => {
  it('makes as many random cases as asked', async () => {
    let count = 0;
    for await (const _ of readSamples('random:5', [planar], 3)) count++;
    expect(count).toBe(3);
  });

  it.each([
    ['rgb planes', planar, options({}), [10, 20, 30], [0, 16, 32]],
    ['bgr planes', planar, options({ channels: 'bgr' }), [30, 20, 10], [0, 16, 32]],
    ['rgb pixels', { ...planar, dims: [1, 4, 4, 3] }, options({}), [10, 20, 30], [0, 1, 2]],
    ['normalized by channel', planar, options({ mean: [10, 10, 10], std: [1, 2, 4] }), [0, 5, 5], [0, 16, 32]],
  ] as const)('turns a picture into %s', async (_, info, pictureOptions, expected, positions) => {
    const path = await picture('colour.png', [10, 20, 30]);
    const { x } = (await first(path, [info], pictureOptions)) as { x: { data: Float32Array; dims: number[] } };
    expect(x.dims).toEqual(info.dims);
    positions.forEach((position, i) => expect(x.data[position]).toBeCloseTo(expected[i] ?? NaN, 5));
  });

  it('letterboxes with black, crops the middle, or stretches', async () => {
    const path = await picture('wide.png', [200, 200, 200], 8, 4);
    const corner = async (fit: PictureOptions['fit'], changes: Partial<PictureOptions> = {}) => ((await first(path, [planar], options({ fit, ...changes }))) as { x: { data: Float32Array } }).x.data[0];
    expect(await corner('letterbox', { pad: 114 })).toBe(114);
    expect([await corner('letterbox'), await corner('crop'), await corner('stretch')]).toEqual([0, 200, 200]);
  });

  it('reads arrays, with or without the batch', async () => {
    const info: TensorInfo = { name: 'x', type: 'float32', dims: [1, 2] };
    for (const shape of ['(1, 2)', '(2,)']) {
      await writeFile(join(folder, 'a.npy'), npy('<f4', shape, bytesOf([3, 4])));
      expect(await first(join(folder, 'a.npy'), [info])).toEqual({ x: { type: 'float32', dims: [1, 2], data: Float32Array.of(3, 4) } });
    }
  });

  it.each([
    ['a folder that is not there', () => join(folder, 'none'), [planar], 'E_FILE'],
    ['a model of two inputs', () => folder, [planar, { ...planar, name: 'z' }], 'E_INPUT'],
    ['a model that takes no pictures', () => join(folder, 'colour.png'), [{ name: 'x', type: 'float32', dims: [1, 15600] }], 'E_INPUT'],
    ['an array of another shape', () => join(folder, 'a.npy'), [{ name: 'x', type: 'float32', dims: [1, 3] }], 'E_INPUT'],
    ['a gray model fed with colours', () => join(folder, 'colour.png'), [{ name: 'x', type: 'float32', dims: [1, 1, 4, 4] }], 'E_INPUT'],
  ] as const)('refuses %s', async (_, source, inputs, code) => {
    await picture('colour.png', [1, 2, 3]);
    await writeFile(join(folder, 'a.npy'), npy('<f4', '(1, 2)', bytesOf([3, 4])));
    await expect(first(source(), inputs.map((info) => ({ ...info })))).rejects.toMatchObject({ code });
  });

  it('names a picture that is broken', async () => {
    const path = join(folder, 'broken.jpg');
    await writeFile(path, 'no picture at all');
    await expect(first(path, [planar])).rejects.toMatchObject({ code: 'E_MEDIA', message: expect.stringContaining('broken.jpg') as string });
  });

  it('refuses a folder without samples', async () => {
    const empty = await mkdtemp(join(folder, 'empty-'));
    await writeFile(join(empty, 'readme.txt'), 'nothing here');
    await expect(first(empty, [planar])).rejects.toMatchObject({ code: 'E_INPUT', message: expect.stringContaining('found none') as string });
  });
});

describe('a picture that a model is calibrated with', () => {
  it.each([
    ['rgb', 'stretch', [300, 40]], ['bgr', 'stretch', [61, 47]], ['rgb', 'letterbox', [61, 47]], ['bgr', 'letterbox', [40, 300]], ['rgb', 'crop', [61, 47]], ['bgr', 'crop', [40, 300]],
  ] as const)('is to the bit what the pipeline on a device feeds it: %s, %s, %j', async (channels, fit, [width, height]) => {
    const next = random(width + height);
    const path = join(folder, `${channels}-${fit}.png`);
    await sharp(Buffer.from(Array.from({ length: width * height * 3 }, () => Math.floor(next() * 256))), { raw: { width, height, channels: 3 } }).png().toFile(path);
    const [mean, std] = [[103, 116, 123], [57, 58, 59]];
    const models = { classifier: tinyModels().embedder };
    const pipeline = await describePipeline('classification', models, { stages: { classifier: { input: { channels, mean, std } } }, settings: { fit } });
    const runs = await recordPictures(models, pipeline, [await readImage(path)], { engine: 'native' });
    const [onDevice] = await calibrationFeeds(models.classifier, 'classifier', pipeline, { runs, engine: 'native' });
    const fed = await first(path, [{ name: 'input', type: 'float32', dims: [1, 3, 112, 112] }], { channels, fit, mean, std });
    expect(onDevice?.['input']?.data).toHaveLength(3 * 112 * 112);
    expect(fed).toEqual(onDevice);
  });
});
