import { readdirSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RuntimeError } from '../errors.js';
import type { Frame, FrameSource, Image } from '../frame.js';
import { aBoolean, aNumber, anObject, checkOptions, type OptionKinds } from '../options.js';
import { decodeVideo, findFfmpeg, withoutCredentials } from './ffmpeg.js';
import type { FfmpegInput } from './ffmpeg.js';
import { imageExtensions, readImage } from './image.js';
import { DropOldestRing } from './ring.js';

export interface SourceOptions {
  /** Files and directories: start again at the end. Default false. */
  loop?: boolean;
  /**
   * Files and directories: deliver frames at their own rate, as a camera does, and drop frames if the consumer is too slow.
   * Default false: deliver every frame as soon as the consumer asks for it. Cameras always behave as with true.
   */
  realtime?: boolean;
  /** Frames per second. Default: a video's own rate, 5 for pictures. Pictures with a stated rate are a sequence; without one, each is by itself (`Frame.still`). */
  fps?: number;
  /** Scale videos down so that no side is longer than this, pixels. Pictures are never scaled. */
  maxSide?: number;
  /** Cameras and streams: fail if no picture arrives for this time, milliseconds. Default 15000. */
  stallMs?: number;
  /** Ends the iteration, without an error. */
  signal?: AbortSignal;
}

const sourceOptionKinds: OptionKinds<Required<SourceOptions>> = { loop: aBoolean, realtime: aBoolean, fps: aNumber, maxSide: aNumber, stallMs: aNumber, signal: anObject };

/** Frames waiting for a live consumer: one being processed, one fresh. More would only be older. */
const ringFrames = 2;
const pictureFps = 5;
const videoFps = 25;

/** A picture on its way out of a decoder, with the rate at which its source should play. */
interface Decoded extends Image {
  fps: number;
  decodeMs?: number;
  still?: boolean;
}

type Decoder = (signal: AbortSignal) => AsyncGenerator<Decoded, void, undefined>;

/**
 * Opens a directory of pictures, one picture (jpg, png, webp, bmp), a video file, `rtsp://...` or `/dev/videoN`.
 * Nothing is decoded before the iteration starts; the iteration throws the errors of files.
 * @throws RuntimeError E_OPTION, E_MEDIA when there is no such input, E_FFMPEG_MISSING
 */
export function openSource(spec: string, options: SourceOptions = {}): FrameSource {
  checkOptions('openSource', options, sourceOptionKinds);
  const { decoder, live } = chooseDecoder(spec, options);
  const playing = live || options.realtime === true;
  return playing ? new LiveSource(decoder, live, options.signal) : new PulledSource(decoder, options.signal);
}

function chooseDecoder(spec: string, options: SourceOptions): { decoder: Decoder; live: boolean } {
  if (/^rtsps?:\/\//i.test(spec)) {
    return { decoder: video(cameraInput(spec, ['-rtsp_transport', 'tcp', '-i', spec], options), false), live: true };
  }
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(spec)) {
    throw new RuntimeError('E_MEDIA', `Expected a file, a directory, rtsp://... or /dev/videoN but received "${withoutCredentials(spec)}"`);
  }
  const kind = inputKind(spec);
  if (kind === 'device') return { decoder: video(cameraInput(spec, ['-f', 'v4l2', '-i', spec], options), false), live: true };
  const loop = options.loop ?? false;
  if (kind === 'directory') return { decoder: pictures(listPictures(spec), options.fps, loop), live: false };
  if (imageExtensions.has(extname(spec).toLowerCase())) return { decoder: pictures([spec], options.fps, loop), live: false };
  const { fps, maxSide } = options;
  // A playlist inside a file must not make ffmpeg open network addresses.
  const input = ['-protocol_whitelist', 'file,crypto,data', '-i', `file:${spec}`];
  return { decoder: video({ input, name: spec, fps, maxSide, strict: true }, loop), live: false };
}

function cameraInput(name: string, input: string[], { fps, maxSide, stallMs }: SourceOptions): FfmpegInput {
  return { input: ['-fflags', 'nobuffer', ...input], name, fps, maxSide, strict: false, stallMs: stallMs ?? 15_000 };
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
  return async function* (signal) {
    do {
      for await (const image of decodeVideo(input, signal)) yield { ...image, fps: input.fps ?? image.fps ?? videoFps };
    } while (loop && !signal.aborted);
  };
}

/** Every frame, when the consumer asks for it. */
class PulledSource implements FrameSource {
  readonly #decoder: Decoder;
  readonly #signal: AbortSignal;
  readonly dropped = 0;

  constructor(decoder: Decoder, signal: AbortSignal = new AbortController().signal) {
    this.#decoder = decoder;
    this.#signal = signal;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Frame, void, undefined> {
    let sequence = 0;
    for await (const image of this.#decoder(this.#signal)) {
      yield toFrame(image, sequence, { capturedMs: performance.now(), mediaMs: (sequence * 1000) / image.fps });
      sequence++;
      if (this.#signal.aborted) return;
    }
  }
}

/** Frames at the pace of a camera or of a played file; a slow consumer gets the newest ones. */
class LiveSource implements FrameSource {
  readonly #decoder: Decoder;
  readonly #camera: boolean;
  readonly #signal: AbortSignal | undefined;
  #dropped = 0;

  constructor(decoder: Decoder, camera: boolean, signal: AbortSignal | undefined) {
    this.#decoder = decoder;
    this.#camera = camera;
    this.#signal = signal;
  }

  get dropped(): number {
    return this.#dropped;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Frame, void, undefined> {
    const ring = new DropOldestRing<Frame>(ringFrames);
    const stop = new AbortController();
    const signal = this.#signal === undefined ? stop.signal : AbortSignal.any([this.#signal, stop.signal]);
    const pump = this.#pump(ring, signal).then(() => ring.close(), (error: unknown) => ring.close(error));
    const before = this.#dropped;
    try {
      for (;;) {
        const frame = await ring.next();
        this.#dropped = before + ring.dropped;
        if (frame === undefined || signal.aborted) return;
        yield frame;
      }
    } finally {
      stop.abort();
      await pump;
    }
  }

  async #pump(ring: DropOldestRing<Frame>, signal: AbortSignal): Promise<void> {
    let sequence = 0;
    let started: number | undefined;
    for await (const image of this.#decoder(signal)) {
      const now = performance.now();
      started ??= now;
      // A camera's picture was due when it came; a played file has a time-table, and being late for it is latency.
      const mediaMs = (sequence * 1000) / image.fps;
      const due = this.#camera ? now : started + mediaMs;
      if (due > now) await sleep(due - now, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      ring.push(toFrame(image, sequence++, { capturedMs: due, ...(this.#camera ? {} : { mediaMs }) }));
    }
  }
}

function toFrame({ width, height, data, decodeMs, still }: Decoded, sequence: number, times: Pick<Frame, 'capturedMs' | 'mediaMs'>): Frame {
  return { width, height, data, sequence, ...times, ...(decodeMs === undefined ? {} : { decodeMs }), ...(still === undefined ? {} : { still }) };
}
