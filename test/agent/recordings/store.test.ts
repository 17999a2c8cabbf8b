import { existsSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openDatabase } from '../../../agent/platform/database.js';
import { RecordingStore, type NewRecording, type StoreLimits } from '../../../agent/recordings/store.js';
import { temporaryFolder } from '../support/tools.js';

const id = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
const recording = (n: number, more: Partial<NewRecording> = {}): NewRecording => ({
  id: id(n), timeMs: n * 1000, pipeline: 'main', camera: 'door', label: 'face', personId: null, width: 640, height: 480,
  findings: [{ type: 'detection', label: 'face', score: 0.9, box: [1, 2, 3, 4], identity: null }], ...more,
});
const picture = (bytes: number, fill = 7): Uint8Array => new Uint8Array(bytes).fill(fill);
const roomy: StoreLimits = { maxBytes: 10_000_000, maxAgeMs: Infinity };

interface Opened { store: RecordingStore; folder: string; files: () => string[]; reopen: () => Promise<Opened> }

async function open(limits: StoreLimits = roomy, folder = temporaryFolder(), now = (): number => 1e9): Promise<Opened> {
  const db = openDatabase(join(folder, 'recordings.db'), { durability: 'normal' });
  const files = join(folder, 'recordings');
  onTestFinished(() => void db.close());
  const store = await RecordingStore.open(db, files, { limits, now });
  return { store, folder, files: () => readdirSync(files).toSorted(), reopen: () => { db.close(); return open(limits, folder, now); } };
}

describe('recordings', () => {
  it('are found by time, pipeline, camera, kind and person, newest first', async () => {
    const { store } = await open();
    await store.add(recording(1), picture(10));
    await store.add(recording(2, { camera: 'yard', pipeline: 'back', label: 'car' }), picture(10));
    await store.add(recording(3, { personId: 7 }), picture(10));
    const ids = (...args: Parameters<RecordingStore['list']>): number[] => store.list(...args).map(({ timeMs }) => timeMs / 1000);
    expect(ids({}, 10)).toEqual([3, 2, 1]);
    expect(ids({}, 2)).toEqual([3, 2]);
    expect([ids({ sinceMs: 2000 }, 9), ids({ untilMs: 2000 }, 9), ids({ camera: 'yard' }, 9), ids({ pipeline: 'main' }, 9), ids({ label: 'car' }, 9), ids({ personId: 7 }, 9)]).toEqual([[3, 2], [1], [2], [3, 1], [2], [3]]);
    expect(ids({ camera: 'yard', label: 'face' }, 9)).toEqual([]);
    expect(store.get(id(1))).toMatchObject({ width: 640, findings: [{ label: 'face' }], clip: null });
  });

  it('give back pictures, whole clips and their frames', async () => {
    const { store, files } = await open();
    await store.add(recording(1), picture(5, 1));
    await store.addClip(id(1), [{ offsetMs: -250, jpeg: picture(3, 2) }, { offsetMs: 0, jpeg: picture(4, 3) }]);
    expect(await store.snapshot(id(1))).toEqual(picture(5, 1));
    expect(await store.clip(id(1))).toEqual(Uint8Array.of(2, 2, 2, 3, 3, 3, 3));
    expect(await store.clip(id(1), 1)).toEqual(picture(4, 3));
    expect(store.get(id(1))?.clip?.frames.map(({ offsetMs }) => offsetMs)).toEqual([-250, 0]);
    expect(files()).toEqual([`${id(1)}.jpg`, `${id(1)}.mjpeg`]);
    for (const asked of [store.snapshot(id(2)), store.clip(id(2)), store.clip(id(1), 2)]) await expect(asked).rejects.toMatchObject({ code: 'E_NOT_FOUND' });
    await store.addClip(id(9), [{ offsetMs: 0, jpeg: picture(4) }]);
    expect(files()).toHaveLength(2);
  });

  it('are private files', async () => {
    const { store, folder } = await open();
    await store.add(recording(1), picture(5));
    expect(statSync(store.snapshotPath(id(1))).mode & 0o777).toBe(0o600);
    expect(statSync(join(folder, 'recordings')).mode & 0o777).toBe(0o700);
  });

  it('never take more than the limit; the oldest go first', async () => {
    await fc.assert(fc.asyncProperty(fc.array(fc.record({ bytes: fc.integer({ min: 1, max: 4000 }), clip: fc.option(fc.integer({ min: 1, max: 3000 })), time: fc.nat(50) }), { maxLength: 8 }), async (events) => {
      const { store, folder, files } = await open({ maxBytes: 10_000, maxAgeMs: Infinity });
      const kept: { n: number; time: number }[] = [];
      for (const [n, { bytes, clip, time }] of events.entries()) {
        await store.add(recording(n, { timeMs: time }), picture(bytes));
        kept.push({ n, time });
        if (clip !== null) await store.addClip(id(n), [{ offsetMs: 0, jpeg: picture(clip) }]);
        expect(store.bytes).toBeLessThanOrEqual(10_000);
        const left = new Set(store.list({}, 99).map((one) => one.id));
        kept.sort((a, b) => a.time - b.time || a.n - b.n);
        while (kept[0] !== undefined && !left.has(id(kept[0].n))) kept.shift();
        expect(left).toEqual(new Set(kept.map((one) => id(one.n))));
        const onDisk = files().reduce((sum, name) => sum + statSync(join(folder, 'recordings', name)).size, 0);
        expect(onDisk).toBeLessThanOrEqual(store.bytes);
      }
    }), { numRuns: 6 });
  });

  it('refuse what is larger than everything together', async () => {
    const { store, files } = await open({ maxBytes: 2000, maxAgeMs: Infinity });
    await store.add(recording(1), picture(100));
    await expect(store.add(recording(2), picture(3000))).rejects.toMatchObject({ code: 'E_DISK_FULL' });
    expect(files()).toEqual([`${id(1)}.jpg`]);
  });

  it('go when they are old, and when somebody deletes them', async () => {
    let now = 10_000;
    const { store, files } = await open({ maxBytes: 1e6, maxAgeMs: 5000 }, temporaryFolder(), () => now);
    for (const n of [6, 7, 8, 9]) await store.add(recording(n, n === 8 ? { personId: 3 } : {}), picture(10));
    now = 12_000;
    await store.trim();
    expect(files()).toEqual([7, 8, 9].map((n) => `${id(n)}.jpg`));
    expect(await store.remove({ personId: 3 })).toBe(1);
    expect(await store.remove({ id: id(7) })).toBe(1);
    expect(await store.remove({ id: id(7) })).toBe(0);
    expect(files()).toEqual([`${id(9)}.jpg`]);
    expect(await store.remove({})).toBe(1);
    expect([store.bytes, store.count(), files()]).toEqual([0, 0, []]);
  });

  it('agree with their files at the next start, whatever was left or lost', async () => {
    const { store, folder, reopen } = await open();
    for (const n of [1, 2, 3, 4]) await store.add(recording(n), picture(10));
    await store.addClip(id(3), [{ offsetMs: 0, jpeg: picture(8) }]);
    await store.addClip(id(4), [{ offsetMs: 0, jpeg: picture(8) }]);
    const at = (name: string): string => join(folder, 'recordings', name);
    writeFileSync(at(`${id(8)}.jpg`), 'without a row');
    writeFileSync(at(`${id(1)}.jpg.123.1.tmp`), 'half a file');
    writeFileSync(at(`${id(2)}.jpg`), 'another size');
    rmSync(at(`${id(3)}.mjpeg`));
    const again = await reopen();
    expect(again.store.list({}, 9).map(({ timeMs, clip }) => [timeMs / 1000, clip !== null])).toEqual([[4, true], [3, false], [1, false]]);
    expect(again.files()).toEqual([`${id(1)}.jpg`, `${id(3)}.jpg`, `${id(4)}.jpg`, `${id(4)}.mjpeg`]);
    const { bytes } = again.store;
    expect((await again.reopen()).store.bytes).toBe(bytes);
    expect(existsSync(at(`${id(2)}.jpg`))).toBe(false);
  });
});
