import { readdir, readFile, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import sharp from 'sharp';
import { elementCount } from '../../runtime/engines/feeds.js';
import { RuntimeError } from '../../runtime/errors.js';
import { imageExtensions, readImage } from '../../runtime/media/image.js';
import type { Tensor, TensorInfo } from '../../runtime/tensor.js';
import { DeployError } from '../errors.js';
import { parseNpy } from './npy.js';
import { defaultPictureOptions, type PictureOptions } from './picture-options.js';
import { randomFeeds } from './random.js';

export type Feeds = Record<string, Tensor>;

const sharpFit = { letterbox: 'contain', crop: 'cover', stretch: 'fill' } as const;

/** Where the channels and the picture are in an input of 4 dimensions. */
interface PictureInput {
  name: string;
  dims: readonly number[];
  width: number;
  height: number;
  channels: number;
  planar: boolean;
}

function pictureInput(info: TensorInfo): PictureInput {
  const [batch, a = 0, b = 0, c = 0] = info.dims;
  const isChannels = (dim: number): boolean => dim === 1 || dim === 3;
  if (info.type !== 'float32' || info.dims.length !== 4 || batch !== 1 || !(isChannels(a) || isChannels(c))) {
    throw new RuntimeError('E_INPUT', `Expected an input of float32[1, 3 or 1, H, W] or [1, H, W, 3 or 1] for pictures but the model's "${info.name}" is ${info.type}[${info.dims.join(', ')}]; give .npy files instead`);
  }
  return isChannels(a)
    ? { name: info.name, dims: info.dims, channels: a, height: b, width: c, planar: true }
    : { name: info.name, dims: info.dims, channels: c, height: a, width: b, planar: false };
}

/** The n-th of `values`, or the only one. */
function perChannel(values: readonly number[], channel: number, count: number, what: string): number {
  const value = values.length === 1 ? values[0] : values[channel];
  if (value === undefined || (values.length !== 1 && values.length !== count)) {
    throw new RuntimeError('E_INPUT', `Expected 1 or ${count} values for ${what} but received ${values.length}`);
  }
  return value;
}

/** Feeds made from a picture, and the picture's own size. */
export interface SizedPicture {
  feeds: Feeds;
  width: number;
  height: number;
}

/** @throws RuntimeError E_INPUT for an input that takes no pictures, E_MEDIA naming the file */
export async function readPicture(path: string, info: TensorInfo, options: PictureOptions): Promise<SizedPicture> {
  const input = pictureInput(info);
  if ((input.channels === 1) !== (options.channels === 'gray')) {
    throw new RuntimeError('E_INPUT', `Expected channels ${input.channels === 1 ? 'gray' : 'rgb or bgr'} for input "${input.name}" of ${input.channels} channel(s) but received ${options.channels}`);
  }
  const { data: rgb, width, height } = await readImage(path);
  const { pad = 0 } = options;
  const resized = sharp(rgb, { raw: { width, height, channels: 3 } })
    .resize(input.width, input.height, { fit: sharpFit[options.fit], background: { r: pad, g: pad, b: pad } });
  const pixels = await (input.channels === 1 ? resized.grayscale() : resized).raw().toBuffer();
  const area = input.width * input.height;
  const data = new Float32Array(area * input.channels);
  for (let channel = 0; channel < input.channels; channel++) {
    const mean = perChannel(options.mean, channel, input.channels, 'mean');
    const std = perChannel(options.std, channel, input.channels, 'std');
    const source = options.channels === 'bgr' ? input.channels - 1 - channel : channel;
    for (let i = 0; i < area; i++) {
      const value = ((pixels[i * input.channels + source] ?? 0) - mean) / std;
      data[input.planar ? channel * area + i : i * input.channels + channel] = value;
    }
  }
  return { feeds: { [input.name]: { type: 'float32', dims: input.dims, data } }, width, height };
}

async function readArray(path: string, info: TensorInfo): Promise<Feeds> {
  const tensor = parseNpy(await readFile(path), path);
  const expected = elementCount(info.dims);
  // A leading batch of one may be missing; any other shape is another model's.
  const fits = [info.dims, info.dims.slice(1)].some((dims) => dims.length === tensor.dims.length && dims.every((dim, i) => dim === tensor.dims[i]));
  if (tensor.type !== info.type || !fits || tensor.data.length !== expected) {
    throw new RuntimeError('E_INPUT', `Expected ${info.type}[${info.dims.join(', ')}] in ${path} but received ${tensor.type}[${tensor.dims.join(', ')}]`);
  }
  return { [info.name]: { ...tensor, dims: info.dims } };
}

async function listSamples(path: string): Promise<string[]> {
  let names: string[];
  try {
    names = (await stat(path)).isDirectory() ? (await readdir(path)).map((name) => join(path, name)) : [path];
  } catch (cause) {
    throw new DeployError('E_FILE', `Expected a folder or a file of samples but ${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  const usable = names.filter((name) => extname(name) === '.npy' || imageExtensions.has(extname(name).toLowerCase())).sort();
  if (usable.length === 0) {
    throw new RuntimeError('E_INPUT', `Expected pictures (${[...imageExtensions].join(', ')}) or .npy arrays in ${path} but found none`, { details: { path } });
  }
  return usable;
}

/** Evenly spread choice of at most `limit`: the first ones of a folder tend to be of one kind. */
function spread<T>(items: readonly T[], limit: number): T[] {
  if (items.length <= limit) return [...items];
  return Array.from({ length: limit }, (_, i) => items[Math.floor((i * items.length) / limit)]).filter((item) => item !== undefined);
}

const randomCount = (source: string): number | undefined => {
  const random = /^random:(\d+)$/.exec(source);
  return random === null ? undefined : Number(random[1]);
};

/** How many feeds `readSamples` will give. @throws DeployError E_FILE, RuntimeError E_INPUT */
export async function countSamples(source: string, limit: number): Promise<number> {
  return Math.min(limit, randomCount(source) ?? (await listSamples(source)).length);
}

/**
 * Feeds for a model: `random:N`, or a folder (or one file) of pictures and .npy arrays, in the order of their names.
 * @throws DeployError E_FILE, RuntimeError E_INPUT or E_MEDIA, naming the file
 */
export async function* readSamples(
  source: string,
  inputs: readonly TensorInfo[],
  limit: number,
  pictures: PictureOptions = defaultPictureOptions,
): AsyncGenerator<Feeds> {
  const random = randomCount(source);
  if (random !== undefined) {
    for (let i = 0; i < Math.min(limit, random); i++) yield randomFeeds(inputs, i);
    return;
  }
  const [input] = inputs;
  if (input === undefined || inputs.length !== 1) {
    throw new RuntimeError('E_INPUT', `Expected a model with one input, because files can feed only one, but this model has ${inputs.length}; use random:N or the library`);
  }
  for (const path of spread(await listSamples(source), limit)) {
    yield extname(path) === '.npy' ? await readArray(path, input) : (await readPicture(path, input, pictures)).feeds;
  }
}
