import { describe, expect, it } from 'vitest';
import { mergeHistograms, quantile, QUANTILE_ERROR, telemetrySchema, encodePayload, Histogram, type HistogramData, type PipelineWindow } from '../../../agent/contracts/index.js';
import type { ProcessedFrame, Running } from '../../../agent/ground/frames.js';
import { Counters, deviceCounterNames, pipelineCounterNames } from '../../../agent/ground/counters.js';
import { Recorder } from '../../../agent/telemetry/recorder.js';
import { random } from '../../runtime/support/random.js';
import { telemetryWindow } from '../contracts/fixtures.js';

/** Of the face pipeline, with the medians of a small device in milliseconds. */
const stages: [string, number][] = [
  ['decode', 1.9], ['motion', 0.31], ['letterbox', 0.84], ['detect', 14.2], ['decode_boxes', 0.12], ['nms', 0.05], ['landmarks', 3.1], ['align', 0.4], ['embed', 21.7], ['match', 0.03],
];
/** A frame that stops at the motion gate runs these. */
const gate = new Set(['decode', 'motion']);
const running = { frames: 100, slot: { name: 'm', version: '1', digest: '', size_bytes: 0, since_ms: 0 }, model: null as never } satisfies Running;

/** Log-normal around a median, with one frame in fifty several times as slow, as a shared core gives it. */
function latencies(seed: number): (median: number) => number {
  const next = random(seed);
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  return (median) => median * Math.exp(0.12 * normal()) * (next() < 0.02 ? 1 + 3 * next() : 1);
}

/** The pipeline's part of a window of ten seconds at 15 frames a second. With `motion` a third of them stop at the motion gate. */
function pipelineWindow(seed: number, motion: boolean): PipelineWindow {
  const draw = latencies(seed);
  const recorder = new Recorder(250);
  for (let i = 0; i < 150; i++) {
    const exit = motion && i % 3 === 0 ? 'pixels' : 'full';
    const timed = stages.filter(([stage]) => exit === 'full' || gate.has(stage)).map(([stage, median]) => ({ stage, ms: draw(median) }));
    const totalMs = timed.reduce((sum, { ms }) => sum + ms, 0);
    const capturedMs = i * 66.7;
    recorder.record({
      frame: { sequence: i, capturedMs, width: 1, height: 1, data: new Uint8Array(3) },
      result: { sequence: i, capturedMs, findings: [], exit, cells: null, audit: false, stages: timed, totalMs },
      running, doneMs: capturedMs + totalMs + 2, droppedBefore: i % 40 === 39 ? 1 : 0, droppedBySwap: 0,
    } satisfies ProcessedFrame, 66.7);
  }
  const counters = new Counters(pipelineCounterNames);
  for (const name of Object.keys(pipelineCounterNames).slice(0, 6)) counters.set(name as keyof typeof pipelineCounterNames, 1_234_567);
  const { modelFrames: _, ...series } = recorder.close();
  return { name: 'main', input: 'camera', model: { name: 'door-faces', version: '1.12.0' }, memory_bytes: 21_234_567, counters: counters.counted(), ...series };
}

describe('a telemetry window on the wire', () => {
  const largest = (motion: boolean): number => {
    const device = new Counters(deviceCounterNames).counted();
    const sizes = Array.from({ length: 40 }, (_, seed) => encodePayload(telemetrySchema, telemetryWindow(123_456, {
      boot_id: '0b1f6f0e-4a2f-4b7e-9a52-0d3c1c9d8f11', stream_id: '5c0f6f0e-4a2f-4b7e-9a52-0d3c1c9d8f22', start_ms: 1_790_000_000_123, end_ms: 1_790_000_010_123,
      pipelines: [pipelineWindow(seed, motion)], counters: device,
      energy: {
        sources: [{ source: 'ina3221', scope: 'VDD_IN', quality: 'measured', joules: 41.2345, joules_total: 123_456.1234 }],
        inference: { source: 'ina3221', scope: 'VDD_IN', quality: 'measured', gross_joules: 0.4123, net_joules: 0.2123 },
      },
      thermal: {
        zones: [{ zone: 'cpu-thermal', celsius: 51.5, celsius_max: 53.1, trip_celsius: 95 }], cooling: [], throttled: false, throttled_since_boot: false,
        cpus: [{ policy: 'policy0', current_hertz: 1.5e9, cap_hertz: 1.8e9, max_hertz: 1.8e9 }],
      },
      memory: { rss_bytes: 112_345_678, rss_peak_bytes: 122_345_678, heap_bytes: 12_345_678, system_available_bytes: 312_345_678 },
    })).byteLength);
    return Math.max(...sizes);
  };

  it('of ten stages has at most 4000 bytes, with the counters and the sensors of a small device', () => {
    expect(largest(false)).toBeLessThanOrEqual(4000);
  });

  it('of ten stages, of which two are there twice because frames stop at the motion gate, has at most 4000 as well', () => {
    expect(largest(true)).toBeLessThanOrEqual(4000);
  });

  it('gives a fleet a p99 within 1.1 % of the exact one, from the windows of all its devices', () => {
    const draws = Array.from({ length: 50 }, (_, seed) => latencies(1000 + seed));
    const values = draws.map((draw, i) => Array.from({ length: 150 }, () => draw(5 + i)));
    const sent = values.map((list): HistogramData => {
      const histogram = new Histogram();
      for (const value of list) histogram.record(value);
      return JSON.parse(JSON.stringify(histogram.toData())) as HistogramData;
    });
    const fleet = sent.reduce(mergeHistograms);
    const sorted = values.flat().sort((a, b) => a - b);
    for (const q of [0.5, 0.9, 0.99, 0.999]) {
      const exact = sorted[Math.ceil(q * sorted.length) - 1] ?? NaN;
      expect(Math.abs((quantile(fleet, q) ?? NaN) / exact - 1)).toBeLessThanOrEqual(QUANTILE_ERROR + 1e-12);
    }
    expect(QUANTILE_ERROR).toBeLessThan(0.011);
  });
});
