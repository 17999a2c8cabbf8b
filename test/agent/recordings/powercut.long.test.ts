import { spawnSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { openDatabase } from '../../../agent/platform/database.js';
import { RecordingStore } from '../../../agent/recordings/store.js';
import { bundleRecordings, recordingsScript } from '../support/bundle.js';
import { temporaryFolder } from '../support/tools.js';

beforeAll(bundleRecordings, 120_000);

const points = ['snapshot.written', 'snapshot.indexed', 'clip.written', 'clip.indexed', 'forgotten', 'snapshot.deleted'].flatMap((name) => [`recordings.${name}:1`, `recordings.${name}:3`]);

/** @returns whether it was killed */
function run(folder: string, fault = ''): boolean {
  const { signal, status, stderr } = spawnSync(process.execPath, [recordingsScript, folder], { env: { ...process.env, STERNA_FAULT: fault }, encoding: 'utf8' });
  if (signal === null && status !== 0) throw new Error(stderr);
  return signal === 'SIGKILL';
}

describe('when the power fails while recordings are kept or deleted', () => {
  it.each(points)('at %s, index and files agree at the next start, within the limit, and recording goes on', async (point) => {
    const folder = temporaryFolder();
    expect(run(folder)).toBe(false);
    expect(run(folder, point), `${point} was not reached`).toBe(true);
    const db = openDatabase(join(folder, 'recordings.db'), { durability: 'normal' });
    const store = await RecordingStore.open(db, join(folder, 'recordings'), { limits: { maxBytes: 6000, maxAgeMs: Infinity }, now: () => 1e9 });
    const wanted = new Map<string, number>();
    for (const { id, timeMs, snapshotBytes, clip } of store.list({}, 99)) {
      wanted.set(`${id}.jpg`, snapshotBytes);
      if (clip !== null) wanted.set(`${id}.mjpeg`, clip.bytes);
      expect(new Set(await store.snapshot(id))).toEqual(new Set([timeMs]));
    }
    const found = new Map(readdirSync(join(folder, 'recordings')).map((name) => [name, statSync(join(folder, 'recordings', name)).size]));
    expect(found).toEqual(wanted);
    expect(store.bytes).toBeLessThanOrEqual(6000);
    expect(store.count()).toBeGreaterThan(0);
    db.close();
    expect(run(folder)).toBe(false);
  });
});
