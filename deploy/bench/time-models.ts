import { openEntry, summarize, takeTurns } from './measure.js';

/** Enough turns for a median on a busy machine. */
const turns = { least: 15, most: 200, milliseconds: 1500 } as const;

/**
 * Time of a run of two models on the native engine with one thread, in turns: medians of CPU time, which neighbours stretch least.
 * @returns milliseconds of each, and the second's as a share of the first's
 * @throws as `createSession`
 */
export async function timesOf(before: Uint8Array, after: Uint8Array): Promise<{ before_ms: number; after_ms: number; ratio: number }> {
  const entries = [await openEntry(before, { engine: 'native' }, 1), await openEntry(after, { engine: 'native' }, 1)] as const;
  try {
    await takeTurns(entries, turns);
    const [a, b] = entries.map((entry) => summarize(entry).cpu_ms) as [number, number];
    return { before_ms: a, after_ms: b, ratio: b / a };
  } finally {
    for (const { session } of entries) await session.close();
  }
}
