import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { accessSync, closeSync, constants, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, join } from 'node:path';
import type { Readable } from 'node:stream';
import { openPipe } from '../../kernels/binding/pipe.js';
import { RuntimeError } from '../errors.js';
import type { Image } from '../frame.js';
import { PictureMemory } from '../picture-memory.js';
import { redact } from '../redact.js';
import { pushInto, readInto, type ByteSink } from './byte-sink.js';
import type { Tally } from './decoded.js';
import { PpmReader } from './ppm.js';
import { Watchdog } from './watchdog.js';

/** Lines of ffmpeg's log that are kept for an error message. */
const keptLogLines = 40;
/** A picture of 640 x 480 comes in four reads rather than fifteen; more would only be older when it is read. */
const pipeBytes = 256 * 1024;
/** A process that ignores SIGTERM (blocked in a driver) is killed after this. */
const killAfterMs = 1000;

/**
 * Path of ffmpeg: `STERNA_FFMPEG`, else the first in PATH, else npm's `@ffmpeg-installer/ffmpeg` where it is installed.
 * @throws RuntimeError E_FFMPEG_MISSING
 */
export function findFfmpeg(environment: Readonly<Record<string, string | undefined>> = process.env): string {
  const stated = environment.STERNA_FFMPEG;
  if (stated !== undefined && stated !== '') {
    if (isExecutable(stated)) return stated;
    throw missing(`STERNA_FFMPEG is "${stated}", which is not an executable file.`);
  }
  const name = process.platform === 'win32' ? 'ffmpeg.exe' : 'ffmpeg';
  for (const folder of (environment.PATH ?? '').split(delimiter)) {
    if (folder !== '' && isExecutable(join(folder, name))) return join(folder, name);
  }
  return installedByNpm() ?? fail(missing('ffmpeg is not in PATH.'));
}

/** What to read and how; `input` are the arguments up to and including `-i`. */
export interface FfmpegInput {
  input: readonly string[];
  /** For messages; credentials are removed from it. */
  name: string;
  /** Resample to this rate. */
  fps?: number | undefined;
  /** Scale down so that neither side is longer. */
  maxSide?: number | undefined;
  /** Files: stop at the first damaged packet. Cameras conceal it and go on. */
  strict: boolean;
  /** The process reads this process's standard input. */
  stdin?: boolean | undefined;
  /** Give up when nothing comes for so long. */
  stallMs?: number | undefined;
}

export interface DecodedImage extends Image {
  /** Frame rate that ffmpeg states for its output, when it does. */
  fps: number | undefined;
}

/** Input words of a file. A playlist inside it must not make ffmpeg open network addresses. */
export const localFile = (path: string): string[] => ['-protocol_whitelist', 'file,crypto,data', '-i', `file:${path}`];

/** Input words of an RTSP address. */
export const overRtsp = (address: string): string[] => ['-rtsp_transport', 'tcp', '-i', address];

/** A run of ffmpeg: its whole arguments, and what it delivers, for messages. */
interface FfmpegRun<T> {
  arguments: readonly string[];
  what: 'picture' | 'sound';
  /** Takes what the process says. */
  log: Log;
  /** Makes items of what the process writes. */
  sink: ByteSink<T>;
}

/** Starts ffmpeg, whose output becomes the items of a sink: through a pipe of our own where there can be one, else through Node's. */
function startFfmpeg<T>(words: readonly string[], { stdin, sink }: { stdin: 'inherit' | 'ignore'; sink: ByteSink<T> }): { child: ChildProcess; items: AsyncIterable<T> } {
  const program = findFfmpeg();
  const pipe = openPipe(pipeBytes);
  if (pipe === null) {
    const child = spawn(program, words, { stdio: [stdin, 'pipe', 'pipe'] });
    return { child, items: pushAll(child.stdout, sink) };
  }
  try {
    return { child: spawn(program, words, { stdio: [stdin, pipe.writeFd, 'pipe'] }), items: readInto(pipe.readFd, sink) };
  } finally {
    closeSync(pipe.writeFd);
  }
}

async function* pushAll<T>(stream: AsyncIterable<Buffer>, sink: ByteSink<T>): AsyncGenerator<T, void, undefined> {
  for await (const chunk of stream) yield* pushInto(sink, chunk);
}

/**
 * Runs ffmpeg and gives what it writes, as fast as it is taken. The process ends with the iteration.
 * @throws RuntimeError E_FFMPEG_MISSING, E_MEDIA with ffmpeg's last line
 */
async function* readFfmpeg<T>(source: FfmpegInput, { arguments: words, what, log, sink }: FfmpegRun<T>, signal: AbortSignal): AsyncGenerator<T, void, undefined> {
  if (signal.aborted) return;
  const { child, items } = startFfmpeg(words, { stdin: source.stdin === true ? 'inherit' : 'ignore', sink });
  const ended = exitOf(child);
  if (child.stderr !== null) log.follow(child.stderr);
  const stop = (): void => terminate(child);
  signal.addEventListener('abort', stop, { once: true });
  const watchdog = new Watchdog(source.stallMs, stop);
  try {
    for await (const item of items) {
      if (signal.aborted) return;
      watchdog.pause();
      yield item;
      watchdog.feed();
    }
    const { code, error } = await ended;
    if (signal.aborted) return;
    if (error !== undefined) throw missing(`${findFfmpeg()} does not start: ${error.message}.`, error);
    if (watchdog.fired) throw unreadable(source, `no ${what} for ${source.stallMs ?? 0} ms`, log);
    if (code !== 0) throw unreadable(source, log.lastLine(source) ?? `ffmpeg ended with code ${code}`, log);
  } finally {
    watchdog.pause();
    signal.removeEventListener('abort', stop);
    terminate(child);
    await ended;
  }
}

/** Beside what is read. */
interface VideoParts {
  /** Counts pictures that ffmpeg calls damaged. */
  tally: Tally;
  memory: PictureMemory;
}

/**
 * Pictures of a video, decoded by an ffmpeg process, as fast as they are taken. The process ends with the iteration.
 * PPM rather than raw video on the pipe: each picture states its own size, so nothing has to be probed beforehand. ffmpeg would scale the pictures of a
 * camera that changes its resolution to the first size, whatever their shape: a new process begins with the new size instead.
 * @throws RuntimeError E_FFMPEG_MISSING, E_MEDIA with ffmpeg's last line
 */
export async function* decodeVideo(source: FfmpegInput, signal: AbortSignal, parts: VideoParts = { tally: { dropped: 0, broken: 0 }, memory: new PictureMemory() }): AsyncGenerator<DecodedImage, void, undefined> {
  while (yield* decodeOneSize(source, signal, parts));
}

/** One process. @returns whether the source goes on with pictures of another size */
async function* decodeOneSize(source: FfmpegInput, signal: AbortSignal, { tally, memory }: VideoParts): AsyncGenerator<DecodedImage, boolean, undefined> {
  const resized = new AbortController();
  const log = new Log(tally, source.strict ? () => undefined : () => resized.abort());
  const reader = new PpmReader(memory);
  let count = 0;
  for await (const image of readFfmpeg(source, { arguments: argumentsFor(source), what: 'picture', log, sink: reader }, AbortSignal.any([signal, resized.signal]))) {
    if (signal.aborted) return false;
    if (log.resized) return true;
    count++;
    yield { ...image, fps: log.outputFps };
  }
  if (signal.aborted) return false;
  if (log.resized) return true;
  if (reader.pending) throw unreadable(source, log.lastLine(source) ?? 'ffmpeg ended in the middle of a picture', log);
  if (count === 0) throw unreadable(source, 'it has no video frames', log);
  return false;
}

/**
 * The weights of the channels add up to 1. For samples that are floats ffmpeg leaves them as they are, sqrt(0.5) each for two channels, so that what is
 * the same on both becomes louder by 3 dB, and full scale becomes 1.41.
 */
const oneChannel = 'aresample=rematrix_maxval=1';

/**
 * The sound of a file, stream or device, mixed to one channel and resampled: 32-bit floats, as many bytes at a time as came.
 * @param tally `dropped` counts how often the buffer of a sound card has run over, each time with a loss of samples
 * @throws RuntimeError E_FFMPEG_MISSING, E_MEDIA with ffmpeg's last line
 */
export async function* decodeSound(source: FfmpegInput & { rate: number }, signal: AbortSignal, tally: Pick<Tally, 'dropped'> = { dropped: 0 }): AsyncGenerator<Uint8Array, void, undefined> {
  const { input, rate, strict } = source;
  const words = [
    '-hide_banner', '-nostdin', '-nostats', '-loglevel', 'info', ...(strict ? ['-xerror'] : []),
    ...input, '-map', '0:a:0', '-vn', '-sn', '-dn', '-af', oneChannel, '-ac', '1', '-ar', String(rate), '-flush_packets', '1', '-f', 'f32le', 'pipe:1',
  ];
  const log = new Log({ dropped: 0, broken: 0 }, () => undefined, () => { tally.dropped++; });
  let count = 0;
  for await (const bytes of readFfmpeg(source, { arguments: words, what: 'sound', log, sink: new PieceSink() }, signal)) {
    count += bytes.length;
    yield bytes;
  }
  if (!signal.aborted && count === 0) throw unreadable(source, 'it has no sound', log);
}

function argumentsFor({ input, fps, maxSide, strict }: FfmpegInput): string[] {
  const filters: string[] = [];
  if (fps !== undefined) filters.push(`fps=${fps}`);
  if (maxSide !== undefined) {
    filters.push(`scale=w='min(iw,${maxSide})':h='min(ih,${maxSide})':force_original_aspect_ratio=decrease`);
  }
  return [
    '-hide_banner', '-nostdin', '-nostats', '-loglevel', 'info', ...(strict ? ['-xerror'] : ['-reinit_filter', '0']),
    ...input, '-map', '0:v:0', '-an', '-sn', '-dn', ...(filters.length > 0 ? ['-vf', filters.join(',')] : []),
    '-f', 'image2pipe', '-c:v', 'ppm', '-pix_fmt', 'rgb24', 'pipe:1',
  ];
}

/** Pieces of a stream, as they come. */
class PieceSink implements ByteSink<Uint8Array> {
  readonly #room = new Uint8Array(64 * 1024);

  room(): Uint8Array {
    return this.#room;
  }

  filled(count: number): readonly Uint8Array[] {
    return [this.#room.slice(0, count)];
  }
}

function exitOf(child: ChildProcess): Promise<{ code: number | null; error?: Error }> {
  return new Promise((resolve) => {
    child.once('error', (error) => resolve({ code: null, error }));
    child.once('close', (code) => resolve({ code }));
  });
}

function terminate(child: ChildProcess): void {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), killAfterMs);
  timer.unref();
  child.once('exit', () => clearTimeout(timer));
}

/** What ffmpeg says of a picture that it decodes with errors, or cannot decode. */
const damagedPicture = /corrupt decoded frame|Error while decoding stream|Error submitting packet to decoder|\[mjpeg.*\] error y=\d+ x=\d+/;
/** What its buffer of input pictures says of one that has another size than the first, with `-reinit_filter 0`. */
const otherSize = /filter context - w: (\d+) h: (\d+) .*incoming frame - w: (\d+) h: (\d+)/;

/** What ALSA's input says when nobody has read in time: the samples between are lost. */
const overrun = /ALSA buffer xrun/;
/** What ffmpeg ends with when an input could not be opened, whatever the reason was. */
const noReason = /: Input\/output error$/;
/** What a part of ffmpeg says: its name and address, then the text. */
const saidBy = /^\[[^\]]+ @ 0x[0-9a-f]+\] (.+)$/;

/** The tail of ffmpeg's log, and what it says of the pictures (rate of the output, damage, another size) and of lost sound. */
class Log {
  readonly #lines: string[] = [];
  #rest = '';
  #inOutput = false;
  readonly #tally: Tally;
  readonly #onResized: () => void;
  readonly #onOverrun: () => void;
  outputFps: number | undefined;
  /** The pictures have another size than the first one had. */
  resized = false;

  constructor(tally: Tally, onResized: () => void, onOverrun: () => void = () => undefined) {
    this.#tally = tally;
    this.#onResized = onResized;
    this.#onOverrun = onOverrun;
  }

  follow(stream: Readable): void {
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => this.#push(text));
  }

  /** The last line that says something, without credentials. */
  lastLine({ name }: FfmpegInput): string | undefined {
    const lines = [...this.#lines, this.#rest].map((text) => text.trim()).filter((text) => text !== '');
    // A device's own input says why it cannot be opened, and ffmpeg then calls it an error of input or output.
    const reason = noReason.test(lines.at(-1) ?? '') ? saidBy.exec(lines.at(-2) ?? '')?.[1] : undefined;
    const line = reason ?? lines.at(-1);
    return line === undefined ? undefined : redact(line.replaceAll(name, redact(name)));
  }

  #push(text: string): void {
    const lines = (this.#rest + text).split(/[\r\n]+/);
    // A line without an end is bounded too: the log of a hostile file must not fill the memory.
    this.#rest = (lines.pop() ?? '').slice(-4096);
    for (const line of lines) {
      if (line.startsWith('Output #')) this.#inOutput = true;
      const fps = this.#inOutput ? /, ([\d.]+) fps/.exec(line)?.[1] : undefined;
      if (fps !== undefined && Number(fps) > 0) this.outputFps = Number(fps);
      if (damagedPicture.test(line)) this.#tally.broken++;
      if (overrun.test(line)) this.#onOverrun();
      const [, width, height, newWidth, newHeight] = otherSize.exec(line) ?? [];
      if (!this.resized && (width !== newWidth || height !== newHeight)) {
        this.resized = true;
        this.#onResized();
      }
      this.#lines.push(line);
    }
    this.#lines.splice(0, Math.max(0, this.#lines.length - keptLogLines));
  }
}

/** What a build of ffmpeg says of a kind of device that it was made without, such as npm's of PulseAudio. */
const withoutInput = /^Unknown input format: '(\w+)'/;

function unreadable(source: FfmpegInput, said: string, log: Log): RuntimeError {
  const name = redact(source.name);
  const [, kind] = withoutInput.exec(said) ?? [];
  const reason = kind === undefined ? said : `this ffmpeg was built without the input ${kind}. Install one that has it (Debian: apt-get install ffmpeg) or set STERNA_FFMPEG to its path`;
  return new RuntimeError('E_MEDIA', `${name} cannot be decoded: ${reason}`, { details: { source: name, log: log.lastLine(source) } });
}

function missing(reason: string, cause?: unknown): RuntimeError {
  const remedy = 'Install it (Debian: apt-get install ffmpeg; elsewhere: npm install @ffmpeg-installer/ffmpeg) or set STERNA_FFMPEG to its path.';
  return new RuntimeError('E_FFMPEG_MISSING', `Video and cameras need ffmpeg. ${reason} ${remedy}`, cause === undefined ? {} : { cause });
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function installedByNpm(): string | undefined {
  try {
    const installed: unknown = createRequire(import.meta.url)('@ffmpeg-installer/ffmpeg');
    if (typeof installed === 'object' && installed !== null && 'path' in installed && typeof installed.path === 'string') return installed.path;
    return undefined;
  } catch {
    return undefined;
  }
}

function fail(error: Error): never {
  throw error;
}
