import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { WireFinding } from '../../../agent/contracts/index.js';
import { openDatabase } from '../../../agent/platform/database.js';
import { EventRecorder, type RecorderOptions } from '../../../agent/recordings/event-recorder.js';
import { RecordingStore } from '../../../agent/recordings/store.js';
import type { Frame, Image } from '../../../runtime/frame.js';
import { PictureMemory, releasePicture } from '../../../runtime/picture-memory.js';
import { temporaryFolder } from '../support/tools.js';

const ID = '00000000-0000-4000-8000-000000000001';
const frameAt = (capturedMs: number, side = 4): Frame => ({ sequence: capturedMs, capturedMs, width: side, height: side, data: new Uint8Array(side * side * 3).fill(capturedMs / 100) });
const ann: WireFinding = { type: 'detection', label: 'face', score: 0.9, box: [1, 1, 2, 2], identity: { person_id: 5, name: 'Ann', similarity: 0.8 } };
const dog: WireFinding = { type: 'detection', label: 'dog', score: 0.7, box: [0, 0, 1, 1] };
const clips = { beforeMs: 500, afterMs: 400, fps: 5, maxWidth: 100 };

interface Bench { recorder: EventRecorder; store: RecordingStore; widths: number[]; failures: string[]; kept: () => number; set: (enabled: boolean) => void }

async function bench(options: RecorderOptions = { snapshots: { maxWidth: 1000 }, clips }, encode?: (image: Image) => Promise<Uint8Array>): Promise<Bench> {
  const folder = temporaryFolder();
  const db = openDatabase(join(folder, 'recordings.db'), { durability: 'normal' });
  onTestFinished(() => void db.close());
  const store = await RecordingStore.open(db, join(folder, 'recordings'), { limits: { maxBytes: 1e6, maxAgeMs: Infinity }, now: () => 1e6 });
  let [enabled, kept] = [true, 0];
  const [widths, failures]: [number[], string[]] = [[], []];
  const recorder = new EventRecorder({
    pipeline: 'main', camera: 'door', store: () => store, enabled: () => enabled, options,
    encode: encode ?? ((image, { maxWidth }) => { widths.push(maxWidth); return Promise.resolve(Uint8Array.of(image.data[0] ?? 0)); }),
    onFailure: ({ code }) => failures.push(code), onKept: () => { kept += 1; },
  });
  return { recorder, store, widths, failures, kept: () => kept, set: (value) => { enabled = value; } };
}

describe('recording an event', () => {
  it('keeps its picture with what was found in it, and a clip of frames before and after', async () => {
    const { recorder, store, widths, kept } = await bench();
    for (let ms = 0; ms <= 2000; ms += 100) {
      recorder.frame(frameAt(ms));
      if (ms === 1000) recorder.event({ id: ID, timeMs: 77_000, finding: ann }, frameAt(ms), [dog, ann]);
    }
    await recorder.idle();
    const [kept_] = store.list({}, 9);
    expect(kept_).toMatchObject({ id: ID, timeMs: 77_000, pipeline: 'main', camera: 'door', label: 'face', personId: 5, width: 4, height: 4 });
    // The event's own finding comes first, and names are left to the gallery.
    expect(kept_?.findings.map(({ label, identity }) => [label, identity?.name])).toEqual([['face', ''], ['dog', undefined]]);
    expect(await store.snapshot(ID)).toEqual(Uint8Array.of(10));
    expect(kept_?.clip?.frames.map(({ offsetMs }) => offsetMs)).toEqual([-400, -200, 0, 200, 400]);
    expect([...await store.clip(ID)]).toEqual([6, 8, 10, 12, 14]);
    expect([widths[0], new Set(widths.slice(1)), kept()]).toEqual([1000, new Set([100]), 1]);
  });

  it('keeps the pictures that it will encode, while the source writes over all others', async () => {
    const { recorder, store } = await bench();
    const memory = new PictureMemory();
    const [seen, buffers]: [Frame[], Set<ArrayBufferLike>] = [[], new Set()];
    for (let ms = 0; ms <= 2000; ms += 100) {
      const frame = { ...frameAt(ms), data: memory.take(4 * 4 * 3).fill(ms / 100) };
      buffers.add(frame.data.buffer);
      recorder.frame(frame);
      if (ms === 1000) recorder.event({ id: ID, timeMs: 77_000, finding: ann }, frame, [ann]);
      seen.push(frame);
      const before = seen.at(-2);
      if (before !== undefined) releasePicture(before);
    }
    await recorder.idle();
    expect(buffers.size).toBeLessThan(seen.length);
    expect(await store.snapshot(ID)).toEqual(Uint8Array.of(10));
    expect([...await store.clip(ID)]).toEqual([6, 8, 10, 12, 14]);
  });

  it('keeps nothing while it is switched off, and forgets the frames before', async () => {
    const { recorder, store, set } = await bench();
    recorder.frame(frameAt(0));
    set(false);
    recorder.frame(frameAt(200));
    recorder.event({ id: ID, timeMs: 1, finding: ann }, frameAt(200), [ann]);
    set(true);
    recorder.frame(frameAt(400));
    recorder.event({ id: ID.replace(/1$/, '2'), timeMs: 2, finding: ann }, frameAt(400), [ann]);
    recorder.ended();
    await recorder.idle();
    expect(store.list({}, 9).map(({ timeMs, clip }) => [timeMs, clip?.frames.length])).toEqual([[2, 1]]);
  });

  it('encodes nothing while nothing happens', async () => {
    const { recorder, widths } = await bench();
    for (let ms = 0; ms < 5000; ms += 40) recorder.frame(frameAt(ms));
    await recorder.idle();
    expect(widths).toEqual([]);
  });

  it('makes no clips where none are wanted, and ends one when the camera goes', async () => {
    const without = await bench({ snapshots: { maxWidth: 10 }, clips: null });
    without.recorder.frame(frameAt(0));
    without.recorder.event({ id: ID, timeMs: 1, finding: dog }, frameAt(0), [dog]);
    await without.recorder.idle();
    expect(without.store.get(ID)?.clip).toBeNull();
    const { recorder, store } = await bench();
    recorder.frame(frameAt(0));
    recorder.event({ id: ID, timeMs: 1, finding: dog }, frameAt(0), [dog]);
    recorder.ended();
    await recorder.idle();
    expect(store.get(ID)).toMatchObject({ personId: null, clip: { frames: [{ offsetMs: 0 }] } });
  });

  it('says what it could not keep, and goes on', async () => {
    let fails = true;
    const { recorder, store, failures } = await bench({ snapshots: { maxWidth: 10 }, clips: null }, () => (fails ? Promise.reject(new Error('no encoder')) : Promise.resolve(Uint8Array.of(1))));
    recorder.event({ id: ID, timeMs: 1, finding: dog }, frameAt(0), [dog]);
    await recorder.idle();
    fails = false;
    recorder.event({ id: ID, timeMs: 1, finding: dog }, frameAt(0), [dog]);
    await recorder.idle();
    expect([failures, store.count()]).toEqual([['E_INTERNAL'], 1]);
  });

  it('does not let more events wait for the encoder than it has room for', async () => {
    let release = (): void => undefined;
    const gate = new Promise<void>((resolve) => { release = resolve; });
    const { recorder, store, failures } = await bench({ snapshots: { maxWidth: 10 }, clips: null }, async () => { await gate; return Uint8Array.of(1); });
    for (let n = 0; n < 12; n++) recorder.event({ id: ID.replace(/..$/, String(10 + n)), timeMs: n, finding: dog }, frameAt(n), [dog]);
    release();
    await recorder.idle();
    expect([store.count(), failures]).toEqual([8, ['E_BUSY', 'E_BUSY', 'E_BUSY', 'E_BUSY']]);
  });
});
