import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deserialize, serialize } from 'node:v8';
import type { Feeds } from './calibrate.js';

/** Calibration samples that can be read more than once. */
export interface Replay {
  /** All samples from the first; a pass ends before the next one begins. */
  pass(): AsyncIterable<Feeds>;
  /** Gives back the disk space of samples that had to be stored. */
  close(): Promise<void>;
}

async function* each(samples: AsyncIterable<Feeds> | Iterable<Feeds>): AsyncGenerator<Feeds> {
  yield* samples;
}

/** Whether each iteration starts again at the first sample, as with arrays; generators can be read once. */
function startsAgain(samples: AsyncIterable<Feeds> | Iterable<Feeds>): boolean {
  return Array.isArray(samples) || samples instanceof Set;
}

/**
 * Samples to be read several times, in memory that does not grow with their number: a stream is written to a temporary file during the first pass. The
 * file has no name as soon as it is open, so it disappears with the process.
 */
export async function replayable(samples: AsyncIterable<Feeds> | Iterable<Feeds>): Promise<Replay> {
  if (startsAgain(samples)) return { pass: () => each(samples), close: () => Promise.resolve() };
  const folder = await mkdtemp(join(tmpdir(), 'sterna-calibration-'));
  const file = await open(join(folder, 'samples'), 'w+').finally(() => rm(folder, { recursive: true, force: true }));
  const places: { offset: number; length: number }[] = [];
  let read = false;
  async function* first(): AsyncGenerator<Feeds> {
    let offset = 0;
    for await (const feeds of samples) {
      const bytes = serialize(feeds);
      await file.writev([bytes], offset);
      places.push({ offset, length: bytes.length });
      offset += bytes.length;
      yield feeds;
    }
    read = true;
  }
  async function* again(): AsyncGenerator<Feeds> {
    for (const { offset, length } of places) {
      const bytes = Buffer.alloc(length);
      await file.read(bytes, 0, length, offset);
      yield deserialize(bytes) as Feeds;
    }
  }
  return { pass: () => (read ? again() : first()), close: () => file.close() };
}
