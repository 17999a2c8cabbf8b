import { describe, expect, it } from 'vitest';
import { countOf, quantile } from '../../../agent/contracts/index.js';
import { COLD_FRAMES, type ProcessedFrame, type Running } from '../../../agent/ground/frames.js';
import { Counters, pipelineCounterNames } from '../../../agent/ground/counters.js';
import { initialJitter, stepJitter } from '../../../agent/telemetry/jitter.js';
import { Recorder } from '../../../agent/telemetry/recorder.js';

const running = { frames: 100, slot: { name: 'm', version: '1', digest: '', size_bytes: 0, since_ms: 0 }, model: null as never } satisfies Running;
const frame = (captured: number, done: number, over: Partial<ProcessedFrame> = {}, exit: ProcessedFrame['result']['exit'] = 'full'): ProcessedFrame => ({
  frame: { sequence: 0, capturedMs: captured, width: 1, height: 1, data: new Uint8Array(3) },
  result: { sequence: 0, capturedMs: captured, findings: [], exit, cells: null, audit: false, stages: [{ stage: 'detect', ms: 2 }, { stage: 'embed', ms: 4 }], totalMs: 6 },
  running, doneMs: done, droppedBefore: 0, droppedBySwap: 0, ...over,
});

describe('RFC 3550 jitter', () => {
  it('is zero for an even stream, and follows the definition', () => {
    let state = initialJitter;
    for (let i = 0; i < 10; i++) state = stepJitter(state, i * 100, i * 100 + 7);
    expect(state.jitterMs).toBe(0);
    state = stepJitter(state, 1000, 1023);
    expect(state.jitterMs).toBe(1);
    expect(stepJitter(state, 1100, 1107).jitterMs).toBe(1 + (16 - 1) / 16);
  });
});

describe('the recorder', () => {
  it('keeps stages, cold, warm and stopped frames apart', () => {
    const recorder = new Recorder(100);
    recorder.record(frame(0, 10, { running: { ...running, frames: COLD_FRAMES } }), null);
    recorder.record(frame(100, 110), null);
    recorder.record(frame(200, 201, {}, 'pixels'), null);
    const { stages, end_to_end, modelFrames } = recorder.close();
    expect(stages.map((s) => `${s.stage}/${s.kind}`)).toEqual(['detect/cold', 'embed/cold', 'detect/warm', 'embed/warm', 'detect/pixels', 'embed/pixels']);
    expect(end_to_end.map((s) => `${s.clock}/${s.kind}`)).toEqual(['raw/cold', 'raw/warm', 'raw/pixels', 'corrected/cold', 'corrected/warm', 'corrected/pixels']);
    expect(modelFrames).toBe(2);
  });

  it('corrects for frames that were dropped behind a slow one', () => {
    const recorder = new Recorder(100);
    recorder.record(frame(0, 10), 100);
    recorder.record(frame(500, 510, { droppedBefore: 4 }), 100);
    const { end_to_end } = recorder.close();
    const of = (clock: string): { count: number; max: number } => {
      const { latency_ms: histogram } = end_to_end.find((s) => s.clock === clock) ?? never();
      return { count: countOf(histogram), max: histogram.max };
    };
    expect(of('raw')).toMatchObject({ count: 2, max: 10 });
    expect(of('corrected')).toMatchObject({ count: 6, max: 410 });
  });

  it('counts deadlines and gives delay variation over the minimum', () => {
    const recorder = new Recorder(50);
    for (const latency of [10, 20, 60]) recorder.record(frame(0, latency), null);
    const { jitter, end_to_end } = recorder.close();
    expect(jitter).toMatchObject({ deadline_ms: 50, deadlines: 3, deadlines_missed: 1 });
    expect(jitter.pdv_p99_ms).toBeCloseTo((quantile(end_to_end[0]?.latency_ms ?? never(), 0.99) ?? NaN) - 10, 9);
  });

  it('begins anew with every window, and an empty one is empty', () => {
    const recorder = new Recorder(50);
    recorder.record(frame(0, 60), null);
    recorder.close();
    expect(recorder.close()).toMatchObject({ stages: [], end_to_end: [], modelFrames: 0, jitter: { deadlines: 0, deadlines_missed: 0, pdv_p50_ms: null } });
  });

  it('bears a clock that went backwards', () => {
    const recorder = new Recorder(50);
    recorder.record(frame(100, 90), 100);
    expect(recorder.close().end_to_end[0]?.latency_ms).toMatchObject({ min: 0, zero_count: 1 });
  });
});

describe('counters', () => {
  it('begin at zero, so that a missing event is a zero and not a gap', () => {
    const counters = new Counters(pipelineCounterNames);
    expect(counters.toRecord()).toMatchObject({ frames_dropped_by_swap_total: 0 });
    counters.add('frames_failed_total');
    counters.set('frames_total', 7);
    expect(counters.counted()).toEqual({ frames_failed_total: 1, frames_total: 7 });
    expect([counters.get('frames_failed_total'), counters.get('frames_total')]).toEqual([1, 7]);
  });
});

function never(): never {
  throw new Error('no series');
}
