/** A recording that is played as a camera would deliver it, by a clock that stands still unless the decoder takes time. */
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Frame } from '../../../runtime/frame.js';
import type { Decoder } from '../../../runtime/media/decoded.js';
import { LiveSource } from '../../../runtime/media/playing.js';
import { TimeTable } from '../../../runtime/media/timetable.js';

const fps = 10;
const periodMs = 1000 / fps;

interface Shown { frame: Frame; lateMs: number }

/** Plays a recording whose frames take these times to decode, milliseconds; each of them at least its period or late already, so that nothing waits. */
async function play(decodeMs: readonly number[]): Promise<{ shown: Shown[]; dropped: number }> {
  let nowMs = 1000;
  vi.spyOn(performance, 'now').mockImplementation(() => nowMs);
  const decoder: Decoder = async function* () {
    for (const ms of decodeMs) {
      nowMs += ms;
      yield { width: 1, height: 1, data: new Uint8Array(3), fps };
      await turn(); // the consumer takes it
    }
  };
  const source = new LiveSource(decoder, { camera: false, fps: undefined, signal: undefined });
  const shown: Shown[] = [];
  for await (const frame of source) shown.push({ frame, lateMs: nowMs - frame.capturedMs });
  return { shown, dropped: source.dropped };
}

describe('a recording that is played', () => {
  afterEach(() => { vi.restoreAllMocks(); });

  it('leaves out what is late after the machine was busy, counts it, and keeps the capture times of the rest', async () => {
    // Two seconds without a frame, then frames that are decoded ten times as fast as they are due.
    const { shown, dropped } = await play([0, ...Array.from({ length: 4 }, () => periodMs), 2000, ...Array.from({ length: 20 }, () => periodMs / 10)]);
    const [first] = shown;
    expect(Math.max(...shown.map(({ lateMs }) => lateMs))).toBeLessThanOrEqual(2 * periodMs);
    expect(dropped).toBeGreaterThan(10);
    expect(shown.length + dropped).toBe(26);
    expect(shown.at(-1)?.frame.sequence).toBe(25);
    for (const { frame } of shown) {
      expect(frame.mediaMs).toBe(frame.sequence * periodMs);
      expect(frame.capturedMs - (first?.frame.capturedMs ?? 0)).toBeCloseTo(frame.sequence * periodMs, 6);
    }
  });

  it('is played more slowly when its decoder is slower than it: the delay stays bounded, and pictures keep coming', async () => {
    const { shown } = await play(Array.from({ length: 300 }, () => 1.5 * periodMs));
    expect(Math.max(...shown.map(({ lateMs }) => lateMs))).toBeLessThanOrEqual(2 * periodMs);
    expect(shown.length).toBeGreaterThan(250);
    const captured = shown.map(({ frame }) => frame.capturedMs);
    expect(captured.every((ms, i) => i === 0 || ms > (captured[i - 1] ?? 0))).toBe(true);
  });
});

describe('TimeTable', () => {
  it('forgives a few periods, and at least a tenth of a second', () => {
    const table = new TimeTable();
    expect([table.due(0, 10, 500), table.due(10, 10, 605), table.due(20, 10, 621)]).toEqual([500, 510, null]);
    const slow = new TimeTable();
    expect([slow.due(0, 200, 0), slow.due(200, 200, 600), slow.due(400, 200, 801)]).toEqual([0, 200, null]);
  });

  it('leaves frames out again once a slow decoder has caught up', () => {
    const table = new TimeTable();
    table.due(0, 100, 0);
    expect([table.due(100, 100, 1000), table.due(200, 100, 1500), table.due(300, 100, 2000)]).toEqual([null, null, 2000]); // moved to the present
    expect(table.due(400, 100, 2500)).toBe(2500); // and moved on while nothing is early
    expect(table.due(500, 100, 2550)).toBe(2600); // early
    expect(table.due(600, 100, 3500)).toBeNull();
  });
});
