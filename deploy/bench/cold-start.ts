import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { medianOf } from '../../runtime/percentile.js';
import { createSession, type SessionOptions } from '../../runtime/session.js';

const loads = 9;

/**
 * How long a model takes to open when its compiled program is cached: median of several loads, milliseconds, hash of the model included.
 * The cache is a folder of its own, and gone afterwards. Null: nothing is kept of a model that is compiled for the values that it is fed.
 * @throws RuntimeError, KernelError when native cannot run the model
 */
export async function cachedLoadMs(model: Uint8Array, options: Pick<SessionOptions, 'threads' | 'isa' | 'shapes'>): Promise<number | null> {
  const dir = await mkdtemp(join(tmpdir(), 'sterna-bench-'));
  const times: number[] = [];
  try {
    for (let load = -1; load < loads; load++) {
      const session = await createSession(model, { ...options, cache: { dir, onWarning: (warning) => { throw warning; } } });
      await session.close();
      if (session.stats.cached === true) times.push(session.stats.loadMs);
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
  return medianOf(times);
}
