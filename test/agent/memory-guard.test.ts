import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { Counters, pipelineCounterNames } from '../../agent/ground/counters.js';
import { isShort, MemoryGuard, readMemoryState, type MemoryState } from '../../agent/memory-guard.js';
import { hostFiles } from '../../agent/platform/host-files.js';
import { temporaryFolder } from './support/tools.js';

const GiB = 2 ** 30;
const roomy: MemoryState = { resident: 1 * GiB, limit: 2 * GiB, available: 2 * GiB, total: 4 * GiB };

/** A pipeline that keeps maps until it is told to drop them. */
function fakePipeline(bytes: number): { slot: { running: { model: { pipeline: { keptBytes: number; dropKept: () => void } } } | null }; counters: Counters<keyof typeof pipelineCounterNames> } {
  const pipeline = { keptBytes: bytes, dropKept: () => { pipeline.keptBytes = 0; } };
  return { slot: { running: { model: { pipeline } } }, counters: new Counters(pipelineCounterNames) };
}

const faults = { raise: vi.fn(), clear: vi.fn() };

describe('the guard of the memory', () => {
  it.each<[string, Partial<MemoryState>, boolean]>([
    ['there is room', {}, false],
    ['the service is at nine tenths of its limit', { resident: 1.9 * GiB }, true],
    ['the machine has less than a twentieth left', { available: 0.1 * GiB }, true],
    ['nobody says what there is', { limit: null, available: null, total: null }, false],
    ['there is no limit and the machine has room', { resident: 3 * GiB, limit: null }, false],
  ])('says when memory is short: %s', (_, state, short) => expect(isShort({ ...roomy, ...state })).toBe(short));

  it('drops kept maps while memory is short, of the pipelines that hold some, and counts it', async () => {
    const state = { ...roomy };
    const [holding, empty] = [fakePipeline(1000), fakePipeline(0)];
    const without = { slot: { running: null }, counters: new Counters(pipelineCounterNames) };
    const guard = new MemoryGuard({ pipelines: [holding, empty, without], read: () => Promise.resolve(state), faults });
    await guard.look();
    expect(holding.slot.running?.model.pipeline.keptBytes).toBe(1000);
    state.available = 0;
    await guard.look();
    await guard.look();
    expect(holding.slot.running?.model.pipeline.keptBytes).toBe(0);
    expect([holding, empty, without].map(({ counters }) => counters.get('kept_maps_dropped_total'))).toEqual([1, 0, 0]);
  });

  it('looks every few seconds until it is stopped', async () => {
    vi.useFakeTimers();
    const read = vi.fn(() => Promise.resolve(roomy));
    const guard = new MemoryGuard({ pipelines: [], read, faults });
    guard.start();
    guard.start();
    await vi.advanceTimersByTimeAsync(11_000);
    expect(read).toHaveBeenCalledTimes(2);
    guard.stop();
    await vi.advanceTimersByTimeAsync(11_000);
    expect(read).toHaveBeenCalledTimes(2);
    vi.useRealTimers();
  });

  it('reads the limit of its control group, and what the machine has', async () => {
    const root = temporaryFolder();
    const write = (path: string, text: string): void => {
      mkdirSync(join(root, path, '..'), { recursive: true });
      writeFileSync(join(root, path), text);
    };
    expect(await readMemoryState(hostFiles(root))).toMatchObject({ limit: null, available: null, total: null });
    write('proc/self/cgroup', '0::/system.slice/sternad.service\n');
    write('sys/fs/cgroup/system.slice/sternad.service/memory.max', '536870912\n');
    write('proc/meminfo', 'MemTotal:        1000 kB\nMemFree:          10 kB\nMemAvailable:    500 kB\n');
    expect(await readMemoryState(hostFiles(root))).toMatchObject({ limit: 536_870_912, available: 512_000, total: 1_024_000 });
    write('sys/fs/cgroup/system.slice/sternad.service/memory.max', 'max\n');
    expect((await readMemoryState(hostFiles(root))).limit).toBeNull();
  });
});
