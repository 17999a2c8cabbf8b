import { describe, expect, it } from 'vitest';
import type { LiveSample, ProcessedFrame } from '../../../agent/ground/frames.js';
import { FrameObserver, type ObserverParts } from '../../../agent/inference/observer.js';
import { Counters, pipelineCounterNames } from '../../../agent/ground/counters.js';
import { Recorder } from '../../../agent/telemetry/recorder.js';
import { exitKinds, type PipelineResult } from '../../../runtime/stages/types.js';

const mask = { width: 3, height: 3, bits: Uint8Array.of(0b101, 1) };

function processed(over: Partial<PipelineResult>): ProcessedFrame {
  const result: PipelineResult = { sequence: 0, capturedMs: 0, findings: [], exit: 'full', cells: null, audit: false, stages: [], totalMs: 1, ...over };
  return {
    frame: { sequence: 0, capturedMs: 0, width: 24, height: 24, data: new Uint8Array(0) }, result, doneMs: 2, droppedBefore: 0, droppedBySwap: 0,
    running: { model: { pipeline: { embeddingSpaceId: null } }, slot: { name: 'm', version: '1' }, frames: 9 } as unknown as ProcessedFrame['running'],
  };
}

function setUp(faults: Pick<ObserverParts['faults'], 'raise' | 'clear'> = { raise: () => undefined, clear: () => undefined }): { observer: FrameObserver; counters: ObserverParts['counters'] } {
  const counters = new Counters(pipelineCounterNames);
  const observer = new FrameObserver({
    pipeline: 'main', recorder: new Recorder(100), observe: () => undefined, counters, presence: { appearFrames: 1, unknownFrames: 1, leaveMs: 1 },
    clock: { monotonicMs: () => 0, nowMs: () => 0 } as unknown as ObserverParts['clock'],
    events: { emit: () => undefined } as unknown as ObserverParts['events'], faults,
    onFailing: () => undefined,
  });
  return { observer, counters };
}

describe('what a frame leaves behind', () => {
  it('counts the frames by how far they went', () => {
    const { observer, counters } = setUp();
    for (const [i, exit] of exitKinds.entries()) for (let n = 0; n <= i; n++) observer.frame(processed({ exit }));
    expect(exitKinds.map((exit) => counters.get(`frames_exit_${exit}_total`))).toEqual(exitKinds.map((_, i) => i + 1));
  });

  it('shows the exit, the active cells and the audit on live frames', () => {
    const { observer } = setUp();
    const seen: LiveSample[] = [];
    observer.listen((frame) => seen.push(frame));
    observer.frame(processed({ exit: 'features', cells: mask, audit: true }));
    observer.frame(processed({}));
    expect(seen).toMatchObject([{ exit: 'features', cells: { width: 3, height: 3, bits: 'BQE=' }, audit: true }, { exit: 'full', cells: null, audit: false }]);
  });
});

describe('gates that miss too much', () => {
  it('raise one warning for each step, and it ends with the gates that caused it', () => {
    const raised: string[] = [];
    const { observer, counters } = setUp({ raise: (_, { code }) => raised.push(code), clear: (_, code) => raised.push(`-${code}`) });
    const withGates = (strictness: 'set' | 'tight' | 'off' | undefined): ProcessedFrame => {
      const frame = processed({});
      const gates = strictness === undefined ? undefined : { strictness, audits: 40, misses: 7, unsure: 2, skipped: 1, missRate: { audits: 40, misses: 7, rate: 0.175, lower: 0.1, upper: 0.3 } };
      return { ...frame, running: { ...frame.running, model: { pipeline: { embeddingSpaceId: null, gates } } as unknown as ProcessedFrame['running']['model'] } };
    };
    for (const strictness of ['set', 'tight', 'tight', 'off', 'off', undefined] as const) observer.frame(withGates(strictness));
    expect(raised).toEqual(['E_GATE_TIGHTENED', '-E_GATE_TIGHTENED', 'E_GATE_OFF', '-E_GATE_TIGHTENED', '-E_GATE_OFF']);
    expect(['gate_audits_total', 'gate_misses_total', 'gate_unsure_total', 'gate_audits_skipped_total'].map((name) => counters.get(name as 'gate_audits_total'))).toEqual([40, 7, 2, 1]);
  });
});
