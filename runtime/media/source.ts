import { readdirSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import { RuntimeError } from '../errors.js';
import type { FrameSource } from '../frame.js';
import { PictureMemory } from '../picture-memory.js';
import { aBoolean, aNumber, anObject, checkOptions, type OptionKinds } from '../options.js';
import { redact } from '../redact.js';
import { videoFps, type Decoder } from './decoded.js';
import { decodeVideo, findFfmpeg, localFile, overRtsp } from './ffmpeg.js';
import type { FfmpegInput } from './ffmpeg.js';
import { imageExtensions, readImage } from './image.js';
import { mjpegPictures } from './mjpeg.js';
import { LiveSource, PulledSource } from './playing.js';
import { stdinPictures } from './stdin.js';

export interface SourceOptions {
  /** Files and directories: start again at the end. Default false. */
  loop?: boolean;
  /**
   * Files and directories: deliver frames at their own rate, as a camera does, and drop frames if the consumer is too slow.
   * Default false: deliver every frame as soon as the consumer asks for it. Cameras always behave as with true. With true, standard input is read as fast
   * as it delivers.
   */
  realtime?: boolean;
  /**
   * Frames per second; a camera that delivers more is held to this rate. Default: a video's own rate, 5 for pictures, all that a camera delivers. Pictures
   * with a stated rate are a sequence; without one, each is by itself (`Frame.still`).
   */
  fps?: number;
  /** Scale videos and cameras down so that no side is longer than this, pixels. Pictures and what comes on standard input are never scaled. */
  maxSide?: number;
  /** Cameras and streams: fail if no picture arrives for this time, milliseconds. Default 15000. */
  stallMs?: number;
  /** Ends the iteration, without an error. */
  signal?: AbortSignal;
}

const sourceOptionKinds: OptionKinds<Required<SourceOptions>> = { loop: aBoolean, realtime: aBoolean, fps: aNumber, maxSide: aNumber, stallMs: aNumber, signal: anObject };

const pictureFps = 5;
const defaultStallMs = 15_000;

/** How an input is read. `camera`: it delivers on its own time. */
interface Opened {
  decoder: Decoder;
  camera: boolean;
  /** Cannot be asked to wait: its frames are dropped if the consumer is too slow. */
  live: boolean;
}

/**
 * Opens a directory of pictures, one picture (jpg, png, webp, bmp), a video file, `rtsp://...`, `http://...` (MJPEG), `/dev/videoN`, or pictures on
 * standard input: `stdin:640x480` (RGB), `stdin:640x480:FORMAT` with another layout, `stdin:ppm`, `stdin:mjpeg`.
 * Nothing is decoded before the iteration starts; the iteration throws the errors of files.
 * @throws RuntimeError E_OPTION, E_MEDIA when there is no such input, E_FFMPEG_MISSING
 */
export function openSource(spec: string, options: SourceOptions = {}): FrameSource {
  checkOptions('openSource', options, sourceOptionKinds);
  const { decoder, camera, live } = chooseDecoder(spec, options);
  const { fps, signal } = options;
  return live || options.realtime === true ? new LiveSource(decoder, { camera, fps, signal }) : new PulledSource(decoder, signal);
}

function chooseDecoder(spec: string, options: SourceOptions): Opened {
  const { fps, maxSide, stallMs = defaultStallMs } = options;
  const camera = (decoder: Decoder): Opened => ({ decoder, camera: true, live: true });
  const file = (decoder: Decoder): Opened => ({ decoder, camera: false, live: false });
  if (/^rtsps?:\/\//i.test(spec)) return camera(video(cameraInput(spec, overRtsp(spec), options), false));
  if (/^https?:\/\//i.test(spec)) return camera(mjpegPictures(spec, { fps, maxSide, stallMs }));
  if (/^stdin:/i.test(spec)) {
    const live = options.realtime === true;
    return { decoder: stdinPictures(spec, process.stdin, { fps, stallMs: live ? stallMs : undefined }), camera: true, live };
  }
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(spec)) {
    throw new RuntimeError('E_MEDIA', `Expected a file, a directory, rtsp://..., http://..., /dev/videoN or stdin:WIDTHxHEIGHT but received "${redact(spec)}"`);
  }
  const kind = inputKind(spec);
  if (kind === 'device') return camera(video(cameraInput(spec, ['-f', 'v4l2', '-i', spec], options), false));
  const loop = options.loop ?? false;
  if (kind === 'directory') return file(pictures(listPictures(spec), fps, loop));
  if (imageExtensions.has(extname(spec).toLowerCase())) return file(pictures([spec], fps, loop));
  return file(video({ input: localFile(spec), name: spec, fps, maxSide, strict: true }, loop));
}

function cameraInput(name: string, input: string[], { fps, maxSide, stallMs }: SourceOptions): FfmpegInput {
  return { input: ['-fflags', 'nobuffer', ...input], name, fps, maxSide, strict: false, stallMs: stallMs ?? defaultStallMs };
}

function inputKind(path: string): 'directory' | 'device' | 'file' {
  try {
    const found = statSync(path);
    if (found.isDirectory()) return 'directory';
    return found.isCharacterDevice() ? 'device' : 'file';
  } catch (cause) {
    throw new RuntimeError('E_MEDIA', `The input ${path} cannot be opened: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** Pictures of a directory in natural order of their names (`2.jpg` before `10.jpg`). */
function listPictures(folder: string): string[] {
  const order = new Intl.Collator('en', { numeric: true });
  const names = readdirSync(folder, { withFileTypes: true })
    .filter((entry) => !entry.isDirectory() && imageExtensions.has(extname(entry.name).toLowerCase()))
    .map((entry) => entry.name).sort(order.compare);
  if (names.length === 0) throw new RuntimeError('E_MEDIA', `The directory ${folder} has no pictures (${[...imageExtensions].join(', ')})`);
  return names.map((name) => join(folder, name));
}

/** Pictures that somebody gave a rate are a sequence, such as the frames of a video; others are photos. */
function pictures(paths: readonly string[], rate: number | undefined, loop: boolean): Decoder {
  return async function* (signal) {
    do {
      for (const path of paths) {
        const started = performance.now();
        const image = await readImage(path, signal);
        if (signal.aborted) return;
        yield { ...image, fps: rate ?? pictureFps, decodeMs: performance.now() - started, ...(rate === undefined ? { still: true } : {}) };
      }
    } while (loop);
  };
}

function video(input: FfmpegInput, loop: boolean): Decoder {
  findFfmpeg();
  const memory = new PictureMemory();
  return async function* (signal, tally) {
    do {
      for await (const image of decodeVideo(input, signal, { tally, memory })) yield { ...image, fps: input.fps ?? image.fps ?? videoFps };
    } while (loop && !signal.aborted);
  };
}
