import { describe, expect, it } from 'vitest';
import { StreamFaults } from '../../../agent/inference/stream-faults.js';
import type { Clock } from '../../../agent/platform/clock.js';
import { Counters, pipelineCounterNames } from '../../../agent/ground/counters.js';

function watched(): { stream: StreamFaults; active: Map<string, string>; at: (ms: number) => void; broken: () => number } {
  let now = 0;
  const active = new Map<string, string>();
  const counters = new Counters(pipelineCounterNames);
  const clock: Clock = { nowMs: () => now, monotonicMs: () => now, synchronized: () => true };
  const faults = { raise: (_: string, { code, message }: { code: string; message: string }) => void active.set(code, message), clear: (_: string, code?: string) => void active.delete(code ?? '') };
  return { stream: new StreamFaults({ faults, counters, clock }), active, at: (ms) => { now = ms; }, broken: () => counters.get('frames_broken_total') };
}

const size = (width: number, height: number): { width: number; height: number } => ({ width, height });

describe('what a camera does wrong while it delivers', () => {
  it('another size is a warning until it has been the same for a while', () => {
    const { stream, active, at } = watched();
    stream.note(size(640, 480), 0);
    expect([...active]).toEqual([]);
    stream.note(size(1280, 720), 0);
    expect(active.get('E_CAMERA_SIZE')).toBe('The camera changed from 640 x 480 to 1280 x 720 pixels; the pipeline goes on');
    at(9_999);
    stream.note(size(1280, 720), 0);
    expect(active.size).toBe(1);
    at(10_000);
    stream.note(size(1280, 720), 0);
    expect(active.size).toBe(0);
  });

  it('damaged frames are counted, and a warning until there were none for a while', () => {
    const { stream, active, at, broken } = watched();
    stream.note(size(4, 4), 2);
    expect([active.has('E_CAMERA_FRAMES'), broken()]).toEqual([true, 2]);
    at(8000);
    stream.note(size(4, 4), 3);
    at(15_000);
    stream.note(size(4, 4), 3);
    expect([active.has('E_CAMERA_FRAMES'), broken()]).toEqual([true, 3]);
    at(18_000);
    stream.note(size(4, 4), 3);
    expect(active.size).toBe(0);
  });

  it('a camera that was opened again counts from 0', () => {
    const { stream, broken } = watched();
    for (const count of [5, 0, 1, 1, 4]) stream.note(size(4, 4), count);
    expect(broken()).toBe(9);
  });
});
