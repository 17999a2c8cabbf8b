import { statSync } from 'node:fs';
import { extname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { RuntimeError } from '../errors.js';
import type { AudioChunk, ClockEstimate, SoundSource } from '../frame.js';
import { aBoolean, aNumber, anObject, checkOptions, type OptionKinds } from '../options.js';
import { CaptureClock } from './capture-clock.js';
import { redact } from '../redact.js';
import { decodeSound, findFfmpeg, localFile, overRtsp } from './ffmpeg.js';
import { newestOf, type DropOldestRing } from './ring.js';

export interface SoundOptions {
  /** Samples a second to deliver; the source is resampled. Default 16000. */
  rate?: number;
  /** Samples of a chunk. Default a tenth of a second. */
  step?: number;
  /** Files: start again at the end. Default false. */
  loop?: boolean;
  /** Files: deliver chunks at their own pace, as a microphone does, and drop chunks if the consumer is too slow. Live sources always do. */
  realtime?: boolean;
  /** Live sources: fail if nothing arrives for this time, milliseconds. Default 5000. */
  stallMs?: number;
  /** Ends the iteration, without an error. */
  signal?: AbortSignal;
}

const soundOptionKinds: OptionKinds<Required<SoundOptions>> = { rate: aNumber, step: aNumber, loop: aBoolean, realtime: aBoolean, stallMs: aNumber, signal: anObject };

/** Chunks waiting for a live consumer; more would only be older than any deadline. */
const ringChunks = 3;
const usualRate = 16_000;

/** Formats of raw samples that `pcm:` takes, as ffmpeg names them. */
const pcmFormats = ['s16le', 's24le', 's32le', 'f32le', 'u8'] as const;

/** Files that hold sound and no pictures. */
const soundExtensions: ReadonlySet<string> = new Set(['.wav', '.flac', '.ogg', '.oga', '.opus', '.mp3', '.m4a', '.aac', '.aif', '.aiff', '.wma']);

/** How ffmpeg is to read an input. */
interface Plan {
  input: string[];
  live: boolean;
  stdin?: boolean;
  /** A sound card, which never ends by itself. */
  device?: boolean;
}

/** Whether an input is meant to be heard, by its name: `alsa:`, `pulse:`, `pcm:`, `sound:` and files of sound. */
export function isSoundInput(spec: string): boolean {
  return /^(alsa|pulse|pcm|sound):/i.test(spec) || soundExtensions.has(extname(spec).toLowerCase());
}

/**
 * Opens sound: a file (WAV, FLAC, Ogg, MP3 or the sound track of a video), `rtsp://...`, `alsa:DEVICE` (`alsa:default`), `pulse:SOURCE`, or
 * `pcm:FORMAT:RATE:CHANNELS` for raw samples on standard input. `sound:` may precede any of them. Channels are mixed to one.
 * Nothing is decoded before the iteration starts. The last chunk of a file is filled up with silence. A device that ends is an error, E_MEDIA; samples
 * that a card has lost leave a gap in the numbers of the chunks, and count as one that was dropped.
 * @throws RuntimeError E_OPTION, E_MEDIA when there is no such input, E_FFMPEG_MISSING
 */
export function openSoundSource(spec: string, options: SoundOptions = {}): SoundSource {
  checkOptions('openSoundSource', options, soundOptionKinds);
  const { rate = usualRate } = options;
  const { step = Math.round(rate / 10) } = options;
  for (const [name, value, most] of [['rate', rate, 192_000], ['step', step, 192_000]] as const) {
    if (!Number.isInteger(value) || value < 1 || value > most) throw new RuntimeError('E_OPTION', `Expected an integer of 1..${most} for the option "${name}" of openSoundSource but received ${value}`);
  }
  const plan = planOf(spec.replace(/^sound:/i, ''));
  findFfmpeg();
  return new FfmpegSound(spec, plan, { ...options, rate, step });
}

/** @throws RuntimeError E_MEDIA */
function planOf(spec: string): Plan {
  const [, scheme = '', rest = ''] = /^([a-z][a-z0-9+.-]*):(.*)$/is.exec(spec) ?? [];
  const live = (input: string[]): Plan => ({ input, live: true });
  switch (scheme.toLowerCase()) {
    case 'alsa': return { ...live(['-f', 'alsa', '-i', alsaName(rest)]), device: true };
    case 'pulse': return { ...live(['-f', 'pulse', '-i', rest === '' ? 'default' : rest]), device: true };
    case 'pcm': return { ...live(pcmInput(rest)), stdin: true };
    case 'rtsp':
    case 'rtsps': return live(['-fflags', 'nobuffer', ...overRtsp(spec)]);
    default: return fileOf(spec);
  }
}

/** ffmpeg asks for two channels of 16 bits, which many a microphone does not have: `plughw` is the same card, and converts. */
function alsaName(device: string): string {
  return device === '' ? 'default' : device.replace(/^hw(?=:|$)/, 'plughw');
}

function pcmInput(text: string): string[] {
  const [format = '', rate = '', channels = ''] = text.split(':');
  const known = pcmFormats.some((name) => name === format);
  if (!known || !/^\d{4,6}$/.test(rate) || !/^[1-8]$/.test(channels)) {
    throw new RuntimeError('E_MEDIA', `Expected pcm:FORMAT:RATE:CHANNELS with a format of ${pcmFormats.join(', ')}, such as pcm:s16le:16000:1, but received pcm:${text}`);
  }
  return ['-f', format, '-ar', rate, '-ac', channels, '-i', 'pipe:0'];
}

function fileOf(path: string): Plan {
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(path)) {
    throw new RuntimeError('E_MEDIA', `Expected a file of sound, rtsp://..., alsa:DEVICE, pulse:SOURCE or pcm:FORMAT:RATE:CHANNELS but received "${redact(path)}"`);
  }
  try {
    if (statSync(path).isDirectory()) throw new Error('it is a folder');
  } catch (cause) {
    throw new RuntimeError('E_MEDIA', `The sound ${path} cannot be opened: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  return { input: localFile(path), live: false };
}

/** Cuts bytes of floats into chunks of `step` samples, each copied once. */
class Chunker {
  readonly #step: number;
  #chunk: Float32Array;
  #bytes: Uint8Array;
  #filled = 0;

  constructor(step: number) {
    this.#step = step;
    this.#chunk = new Float32Array(step);
    this.#bytes = new Uint8Array(this.#chunk.buffer);
  }

  *push(bytes: Uint8Array): Generator<Float32Array, void, undefined> {
    for (let rest = bytes; rest.length > 0;) {
      const count = Math.min(rest.length, this.#bytes.length - this.#filled);
      this.#bytes.set(rest.subarray(0, count), this.#filled);
      this.#filled += count;
      rest = rest.subarray(count);
      if (this.#filled === this.#bytes.length) yield this.#take();
    }
  }

  /** What is left, filled up with silence. */
  rest(): Float32Array | undefined {
    return this.#filled < 4 ? undefined : this.#take();
  }

  #take(): Float32Array {
    const chunk = this.#chunk;
    this.#chunk = new Float32Array(this.#step);
    this.#bytes = new Uint8Array(this.#chunk.buffer);
    this.#filled = 0;
    return chunk;
  }
}

class FfmpegSound implements SoundSource {
  readonly #name: string;
  readonly #plan: Plan;
  readonly #options: SoundOptions & { rate: number; step: number };
  #dropped = 0;
  #clock: CaptureClock | null = null;

  constructor(name: string, plan: Plan, options: SoundOptions & { rate: number; step: number }) {
    this.#name = name;
    this.#plan = plan;
    this.#options = options;
  }

  get dropped(): number {
    return this.#dropped;
  }

  get clock(): ClockEstimate | null {
    return this.#clock?.estimate ?? null;
  }

  [Symbol.asyncIterator](): AsyncGenerator<AudioChunk, void, undefined> {
    return this.#plan.live || this.#options.realtime === true ? this.#play() : this.#pull();
  }

  /** Every chunk, when the consumer asks for it. */
  async *#pull(): AsyncGenerator<AudioChunk, void, undefined> {
    const { signal = new AbortController().signal } = this.#options;
    let sequence = 0;
    for await (const { samples } of this.#chunks(signal)) {
      yield this.#chunk(samples, sequence, { capturedMs: performance.now(), mediaMs: this.#msOf(sequence) });
      sequence++;
      if (signal.aborted) return;
    }
  }

  /** Chunks at the pace of a microphone or of a played file; a slow consumer loses the oldest. */
  async *#play(): AsyncGenerator<AudioChunk, void, undefined> {
    const before = this.#dropped;
    yield* newestOf<AudioChunk>(ringChunks, {
      produce: (ring, signal) => (this.#plan.live ? this.#capture(ring, signal) : this.#replay(ring, signal)),
      signal: this.#options.signal,
      onDropped: (count) => { this.#dropped = before + count; },
    });
  }

  async #capture(ring: DropOldestRing<AudioChunk>, signal: AbortSignal): Promise<void> {
    let clock = new CaptureClock(this.#options.rate);
    this.#clock = clock;
    const overruns = { dropped: 0 };
    let [sequence, known] = [0, 0];
    for await (const { samples, arrivedMs } of this.#chunks(signal, overruns)) {
      if (signal.aborted) return;
      if (overruns.dropped > known) {
        // Nobody knows how many samples are missing, so the clock cannot go on counting.
        sequence += overruns.dropped - known;
        ring.dropped += overruns.dropped - known;
        known = overruns.dropped;
        clock = new CaptureClock(this.#options.rate);
        this.#clock = clock;
      }
      ring.push(this.#chunk(samples, sequence++, { capturedMs: clock.arrived(samples.length, arrivedMs) }));
    }
  }

  /** A played file has a time-table: a chunk is there when its last sample has been heard. */
  async #replay(ring: DropOldestRing<AudioChunk>, signal: AbortSignal): Promise<void> {
    let sequence = 0;
    let started: number | undefined;
    for await (const { samples } of this.#chunks(signal)) {
      started ??= performance.now();
      const mediaMs = this.#msOf(sequence);
      const dueMs = started + this.#msOf(sequence + 1);
      const waitMs = dueMs - performance.now();
      if (waitMs > 0) await sleep(waitMs, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      ring.push(this.#chunk(samples, sequence++, { capturedMs: started + mediaMs, mediaMs }));
    }
  }

  async *#chunks(signal: AbortSignal, overruns?: { dropped: number }): AsyncGenerator<{ samples: Float32Array; arrivedMs: number }, void, undefined> {
    const { rate, step, loop = false, stallMs = 5000 } = this.#options;
    const { input, live, stdin = false, device = false } = this.#plan;
    const chunker = new Chunker(step);
    do {
      for await (const bytes of decodeSound({ input, name: this.#name, rate, stdin, strict: !live, ...(live ? { stallMs } : {}) }, signal, overruns)) {
        const arrivedMs = performance.now();
        for (const samples of chunker.push(bytes)) yield { samples, arrivedMs };
      }
    } while (loop && !live && !signal.aborted);
    // ffmpeg tells of an error of a device that it has read from, and ends as it does at the end of a file.
    if (device && !signal.aborted) throw new RuntimeError('E_MEDIA', `${redact(this.#name)} has ended: the device is gone, or the system of sound was stopped`, { details: { source: redact(this.#name) } });
    const rest = chunker.rest();
    if (rest !== undefined) yield { samples: rest, arrivedMs: performance.now() };
  }

  #msOf(chunks: number): number {
    return (chunks * this.#options.step * 1000) / this.#options.rate;
  }

  #chunk(samples: Float32Array, sequence: number, times: Pick<AudioChunk, 'capturedMs' | 'mediaMs'>): AudioChunk {
    return { samples, rate: this.#options.rate, sequence, ...times };
  }
}
