import type { Readable } from 'node:stream';
import { RuntimeError } from '../errors.js';
import type { Image } from '../frame.js';
import { videoFps, type Decoded, type Decoder, type Tally } from './decoded.js';
import { decodeImage } from './image.js';
import { JpegCutter } from './jpeg-cutter.js';
import { PpmReader } from './ppm.js';
import { parseStdin, RawReader, type StdinFormat } from './raw-frames.js';
import { Watchdog } from './watchdog.js';

interface Cutter {
  readonly pending: boolean;
  /** Damaged pictures so far, where the format shows them. */
  readonly broken?: number;
  push(chunk: Buffer): (Image | Buffer)[];
}

/** A stream on its way to pictures: what is left when a reader stops belongs to the next one. */
interface Reading {
  spec: string;
  cutter: Cutter;
  ready: (Image | Buffer)[];
}

const readings = new WeakMap<Readable, Reading>();

export interface StdinOptions {
  fps: number | undefined;
  /** Fail when no picture comes for so long; undefined: wait. */
  stallMs: number | undefined;
}

/** Pictures that another program writes to a stream of this one. @throws RuntimeError E_MEDIA for a format that does not exist */
export function stdinPictures(spec: string, stream: Readable, { fps, stallMs }: StdinOptions): Decoder {
  const format = parseStdin(spec);
  return async function* (signal, tally) {
    const reading = readingOf(stream, spec, format);
    const stop = new AbortController();
    const watchdog = new Watchdog(stallMs, () => stop.abort());
    try {
      for await (const item of items(stream, { reading, tally, signal: AbortSignal.any([signal, stop.signal]) })) {
        watchdog.pause();
        const started = performance.now();
        const image = Buffer.isBuffer(item) ? await decoded(item, tally) : item;
        if (image === null) continue;
        yield { ...image, fps: fps ?? videoFps, ...(Buffer.isBuffer(item) ? { decodeMs: performance.now() - started } : {}) } satisfies Decoded;
        watchdog.feed();
      }
      if (watchdog.fired) throw new RuntimeError('E_MEDIA', `Standard input delivered no picture for ${stallMs ?? 0} ms`);
      if (!signal.aborted && reading.cutter.pending) throw new RuntimeError('E_MEDIA', 'Standard input ended in the middle of a picture');
    } finally {
      watchdog.pause();
    }
  };
}

function readingOf(stream: Readable, spec: string, format: StdinFormat): Reading {
  const known = readings.get(stream);
  if (known !== undefined && known.spec !== spec) throw new RuntimeError('E_MEDIA', `Standard input is being read as ${known.spec} already, so it cannot be read as ${spec}`);
  if (known !== undefined) return known;
  const reading: Reading = { spec, ready: [], cutter: cutterOf(format) };
  readings.set(stream, reading);
  return reading;
}

function cutterOf(format: StdinFormat): Cutter {
  switch (format.type) {
    case 'raw': return new RawReader(format);
    case 'mjpeg': return new JpegCutter();
    case 'ppm': return new PpmCutter();
  }
}

async function* items(stream: Readable, { reading, tally, signal }: { reading: Reading; tally: Tally; signal: AbortSignal }): AsyncGenerator<Image | Buffer, void, undefined> {
  for (;;) {
    const next = reading.ready.shift();
    if (next !== undefined) {
      yield next;
      continue;
    }
    const chunk = await read(stream, signal);
    if (chunk === null || signal.aborted) return;
    const { cutter } = reading;
    const before = cutter.broken ?? 0;
    reading.ready.push(...cutter.push(chunk));
    tally.broken += (cutter.broken ?? 0) - before;
  }
}

/** The next piece; null at the end, and when the signal says so. Unlike an iterator it leaves the stream open. */
function read(stream: Readable, signal: AbortSignal): Promise<Buffer | null> {
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      for (const [name, listener] of Object.entries(listeners)) stream.off(name, listener);
      signal.removeEventListener('abort', onAbort);
      act();
    };
    const attempt = (): void => {
      const chunk = stream.read() as Buffer | null;
      if (chunk !== null) settle(() => resolve(chunk));
      else if (stream.readableEnded || stream.destroyed) settle(() => resolve(null));
    };
    const onAbort = (): void => settle(() => resolve(null));
    const listeners = {
      readable: attempt,
      end: () => settle(() => resolve(null)),
      close: () => settle(() => resolve(null)),
      error: (error: Error) => settle(() => reject(new RuntimeError('E_MEDIA', `Standard input cannot be read: ${error.message}`, { cause: error }))),
    };
    if (signal.aborted) return resolve(null);
    for (const [name, listener] of Object.entries(listeners)) stream.on(name, listener);
    signal.addEventListener('abort', onAbort, { once: true });
    attempt();
  });
}

class PpmCutter implements Cutter {
  readonly #reader = new PpmReader();

  get pending(): boolean {
    return this.#reader.pending;
  }

  push(chunk: Buffer): Image[] {
    return [...this.#reader.push(chunk)];
  }
}

async function decoded(jpeg: Buffer, tally: Tally): Promise<Image | null> {
  try {
    return await decodeImage(jpeg);
  } catch {
    tally.broken++;
    return null;
  }
}
