import { afterEach, describe, expect, it, vi } from 'vitest';
import { Health } from '../../agent/health.js';
import { Journal } from '../../agent/ota/journal.js';
import { systemClock } from '../../agent/platform/clock.js';
import { openDatabase } from '../../agent/platform/database.js';
import { join } from 'node:path';
import { temporaryFolder } from './support/tools.js';

afterEach(() => { vi.useRealTimers(); });

describe('the watchdog', () => {
  it('is not fed while a frame hangs, and the journal knows before it strikes', () => {
    vi.useFakeTimers();
    const db = openDatabase(join(temporaryFolder(), 'state.db'), { durability: 'full' });
    const journal = new Journal(db);
    const loop = { camera: 'running' as const, busySinceMs: null as number | null };
    const watchdog = vi.fn();
    let nowMs = 0;
    const health = new Health({
      pipelines: [{ name: 'main', loop }], faults: { active: [] }, service: { watchdog, watchdogMs: 3000 }, clock: { ...systemClock(), monotonicMs: () => nowMs },
      onHung: (hung) => journal.noteHung(hung),
    });
    const record = { pid: 7, kernel_boot: 'one', opening: {}, hung: [] };
    journal.markRunning(record);
    health.start();
    vi.advanceTimersByTime(3000);
    expect(watchdog).toHaveBeenCalledTimes(3);
    loop.busySinceMs = 0;
    nowMs = 31_000;
    vi.advanceTimersByTime(3000);
    expect(watchdog).toHaveBeenCalledTimes(3);
    expect(new Journal(db).markRunning(record)).toMatchObject({ hung: ['main'] });
    loop.busySinceMs = null;
    vi.advanceTimersByTime(1000);
    expect(watchdog).toHaveBeenCalledTimes(4);
    expect(new Journal(db).markRunning(record)).toMatchObject({ hung: [] });
    health.stop();
    db.close();
  });
});
