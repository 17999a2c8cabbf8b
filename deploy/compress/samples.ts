import { readdir, readFile, stat } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { pixelLayout, pixelsToFloats } from '../../runtime/engines/feeds.js';
import { elementCount } from '../../runtime/graph/tensor-value.js';
import { RuntimeError } from '../../runtime/errors.js';
import { imageExtensions, readImage } from '../../runtime/media/image.js';
import { PixelCanvas } from '../../runtime/stages/pixel-canvas.js';
import type { Tensor, TensorInfo } from '../../runtime/tensor.js';
import { nativePixels } from '../../runtime/vision/pixels.js';
import { DeployError } from '../errors.js';
import { parseNpy } from './npy.js';
import { defaultPictureOptions, type PictureOptions } from './picture-options.js';
import { randomFeeds } from './random.js';

export type Feeds = Record<string, Tensor>;

/** Size of the picture in an input of 4 dimensions, and its channels. */
interface PictureInput {
  width: number;
  height: number;
  channels: number;
}

function pictureInput(info: TensorInfo): PictureInput {
  const [batch, a = 0, b = 0, c = 0] = info.dims;
  const isChannels = (dim: number): boolean => dim === 1 || dim === 3;
  if (info.type !== 'float32' || info.dims.length !== 4 || batch !== 1 || !(isChannels(a) || isChannels(c))) {
    throw new RuntimeError('E_INPUT', `Expected an input of float32[1, 3 or 1, H, W] or [1, H, W, 3 or 1] for pictures but the model's "${info.name}" is ${info.type}[${info.dims.join(', ')}]; give .npy files instead`);
  }
  return isChannels(a) ? { channels: a, height: b, width: c } : { channels: c, height: a, width: b };
}

/** One value for each channel. */
function perChannel(values: readonly number[], count: number, what: string): number[] {
  if (values.length !== 1 && values.length !== count) throw new RuntimeError('E_INPUT', `Expected 1 or ${count} values for ${what} but received ${values.length}`);
  return values.length === count ? [...values] : new Array<number>(count).fill(values[0] ?? 0);
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
    throw new RuntimeError('E_INPUT', `Expected channels ${input.channels === 1 ? 'gray' : 'rgb or bgr'} for input "${info.name}" of ${input.channels} channel(s) but received ${options.channels}`);
  }
  const { width, height, channels } = input;
  const mean = perChannel(options.mean, channels, 'mean');
  const std = perChannel(options.std, channels, 'std');
  const picture = await readImage(path);
  const drawing = new PixelCanvas({ width, height, channels: options.channels === 'gray' ? 'grey' : options.channels });
  nativePixels.fit(picture, drawing.canvas, options.fit, options.pad); // as the pipelines do
  drawing.drawn();
  const data = pixelsToFloats(pixelLayout(info, { mean, std }), drawing.pixels);
  return { feeds: { [info.name]: { type: 'float32', dims: info.dims, data } }, width: picture.width, height: picture.height };
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

/** Which samples of a source: at most `limit`, or of those that such a limit leaves out at most `others`. */
export type Share = number | { limit: number; others: number };

function shareOf<T>(items: readonly T[], share: Share): T[] {
  if (typeof share === 'number') return spread(items, share);
  const taken = new Set(spread(items.map((_, i) => i), share.limit));
  return spread(items.filter((_, i) => !taken.has(i)), share.others);
}

/** Whether a source of samples has pictures, so that it matters how they become the input. @throws DeployError E_FILE, RuntimeError E_INPUT */
export async function hasPictures(source: string): Promise<boolean> {
  return randomCount(source) === undefined && (await listSamples(source)).some((path) => extname(path) !== '.npy');
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
 * @param limit at most so many, evenly spread; or some of those that are not among them
 * @throws DeployError E_FILE, RuntimeError E_INPUT or E_MEDIA, naming the file
 */
export async function* readSamples(
  source: string,
  inputs: readonly TensorInfo[],
  limit: Share,
  pictures: PictureOptions = defaultPictureOptions,
): AsyncGenerator<Feeds> {
  const random = randomCount(source);
  if (random !== undefined) {
    // The first ones, not evenly spread: each is like any other.
    const [from, to] = typeof limit === 'number' ? [0, Math.min(limit, random)] : [Math.min(limit.limit, random), Math.min(limit.limit + limit.others, random)];
    for (let i = from; i < to; i++) yield randomFeeds(inputs, i);
    return;
  }
  const [input] = inputs;
  if (input === undefined || inputs.length !== 1) {
    throw new RuntimeError('E_INPUT', `Expected a model with one input, because files can feed only one, but this model has ${inputs.length}; use random:N or the library`);
  }
  for (const path of shareOf(await listSamples(source), limit)) {
    yield extname(path) === '.npy' ? await readArray(path, input) : (await readPicture(path, input, pictures)).feeds;
  }
}

/** All samples of a stream. @param each is told how many there are after each of them */
export async function collectSamples(samples: AsyncIterable<Feeds>, each: (done: number) => void = () => undefined): Promise<Feeds[]> {
  const all: Feeds[] = [];
  for await (const feeds of samples) each(all.push(feeds));
  return all;
}
