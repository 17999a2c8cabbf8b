import { countOf, Histogram, withQuantiles, type Desired, type PipelineWindow, type Status, type TelemetryWindow } from '../../../agent/contracts/index.js';

export const BOOT = 'boot-0000-1111';

export function histogram(...values: number[]): ReturnType<Histogram['toData']> {
  const h = new Histogram();
  for (const v of values) h.record(v);
  return h.toData();
}

export function telemetryWindow(seq: number, over: Partial<Omit<TelemetryWindow, 'counters'>> & Partial<PipelineWindow> = {}): TelemetryWindow {
  const { name, input, model, memory_bytes, stages, end_to_end, jitter, counters, ...device } = over;
  return {
    schema_version: 2, boot_id: BOOT, stream_id: 'stream-0000-1111', seq, first_seq: seq, backfill: false,
    start_ms: 1_000_000 + seq * 1000, end_ms: 1_001_000 + seq * 1000, clock_synchronized: true,
    pipelines: [{
      name: name ?? 'main', input: input ?? 'camera', model: model === undefined ? { name: 'faces', version: '1.0.0' } : model, memory_bytes: memory_bytes ?? 10,
      stages: stages ?? [{ stage: 'detect', kind: 'warm', ...withQuantiles(histogram(1, 2, 3 + seq)) }],
      end_to_end: end_to_end ?? [{ clock: 'raw', kind: 'warm', ...withQuantiles(histogram(10 + seq, 20)) }],
      counters: counters ?? { frames_total: 3 * (seq + 1) },
      jitter: jitter ?? { rfc3550_ms: 0.5, pdv_p50_ms: 1, pdv_p99_ms: 2, deadline_ms: 100, deadlines_missed: 1, deadlines: 3 },
    }],
    energy: { sources: [{ source: 'rapl', scope: 'package-0', quality: 'measured', joules: 2, joules_total: 2 * (seq + 1) }], inference: null },
    thermal: {
      zones: [{ zone: 'cpu', celsius: 50, celsius_max: 50 + seq, trip_celsius: 95 }], cooling: [], throttled: seq === 0, throttled_since_boot: true, cpus: [],
    },
    memory: { rss_bytes: 1000, rss_peak_bytes: 2000 - seq, heap_bytes: 10, system_available_bytes: null },
    counters: {},
    ...device,
  };
}

export function status(over: Partial<Status> = {}): Status {
  return { schema_version: 2, state: 'online', boot_id: BOOT, birth_seq: 3, version: '0.1.0', time_ms: 1, clock_synchronized: false, ...over };
}

export function desired(over: Partial<Desired> = {}): Desired {
  return {
    schema_version: 2, generation: 1, settings: {},
    package: { name: 'faces', version: '1.0.0', digest: 'ab'.repeat(32), size_bytes: 1000, block_bytes: 256 }, ...over,
  };
}

/** Frames in a pipeline's first series from end to end. */
export function framesOf(pipeline: PipelineWindow | null | undefined): number {
  const series = pipeline?.end_to_end[0];
  return series === undefined ? 0 : countOf(series.latency_ms);
}
