import { readFile } from 'node:fs/promises';
import type { Sharp, SharpInput, SharpOptions } from 'sharp';
import { RuntimeError } from '../errors.js';
import { describeMisfetched } from '../foreign-bytes.js';
import type { Image } from '../frame.js';
import { aNumber, checkOptions } from '../options.js';
import { decodeVideo } from './ffmpeg.js';

/**
 * libvips takes about 10 MB that a device with a camera needs only when somebody looks at or sends a picture, so it is loaded then.
 * A device decodes one picture at a time and none twice: its cache and threads would only cost memory.
 */
async function openSharp(input: SharpInput, options: SharpOptions): Promise<Sharp> {
  const { default: sharp } = await import('sharp');
  sharp.cache(false);
  sharp.concurrency(1);
  return sharp(input, options);
}

/** A still picture of more pixels is refused: 3 bytes each, it would not fit beside a model on a small device. */
const maxPixels = 40_000_000;

/** Extensions that count as still pictures. sharp reads all but BMP, which ffmpeg does. */
export const imageExtensions: ReadonlySet<string> = new Set(['.jpg', '.jpeg', '.png', '.webp', '.bmp']);

/**
 * Decodes a JPEG, PNG or WebP picture to RGB, upright (EXIF), transparency dropped. `maxSide` scales it down so that no side is longer.
 * @throws RuntimeError E_MEDIA when it is truncated, corrupt, too large or of another format
 */
export async function decodeImage(bytes: Uint8Array, name = 'The picture', options: { maxPixels?: number; maxSide?: number } = {}): Promise<Image> {
  const misfetched = describeMisfetched(bytes);
  if (misfetched !== undefined) throw unreadable(name, new Error(misfetched));
  try {
    const picture = await openSharp(bytes, { limitInputPixels: Math.min(maxPixels, options.maxPixels ?? maxPixels), failOn: 'warning' });
    const upright = picture.autoOrient();
    const { maxSide } = options;
    if (maxSide !== undefined) upright.resize({ width: maxSide, height: maxSide, fit: 'inside', withoutEnlargement: true });
    const { data, info } = await upright
      .toColourspace('srgb').removeAlpha().raw().toBuffer({ resolveWithObject: true });
    if (info.channels !== 3) throw new Error(`Expected 3 channels but received ${info.channels}`);
    return { width: info.width, height: info.height, data: new Uint8Array(data.buffer, data.byteOffset, data.length) };
  } catch (cause) {
    throw unreadable(name, cause);
  }
}

/** `decodeImage` of a file; BMP needs ffmpeg. */
export async function readImage(path: string, signal: AbortSignal = new AbortController().signal): Promise<Image> {
  if (path.toLowerCase().endsWith('.bmp')) return readWithFfmpeg(path, signal);
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (cause) {
    throw unreadable(path, cause);
  }
  return decodeImage(bytes, path);
}

/** Encodes a picture for people to look at; `maxWidth` scales it down. */
export async function encodeJpeg(image: Image, options: { quality?: number; maxWidth?: number } = {}): Promise<Uint8Array> {
  checkOptions('encodeJpeg', options, { quality: aNumber, maxWidth: aNumber });
  const { width, height, data } = image;
  let pipeline = await openSharp(data, { raw: { width, height, channels: 3 } });
  if (options.maxWidth !== undefined && options.maxWidth < width) pipeline = pipeline.resize({ width: options.maxWidth });
  return pipeline.jpeg({ quality: options.quality ?? 80 }).toBuffer();
}

async function readWithFfmpeg(path: string, signal: AbortSignal): Promise<Image> {
  for await (const { width, height, data } of decodeVideo({ input: ['-i', `file:${path}`], name: path, strict: true }, signal)) {
    return { width, height, data };
  }
  throw unreadable(path, new Error('it has no picture'));
}

function unreadable(name: string, cause: unknown): RuntimeError {
  const reason = cause instanceof Error ? cause.message.split('\n')[0] : String(cause);
  return new RuntimeError('E_MEDIA', `${name} cannot be decoded: ${reason}`, { cause });
}
