/** `telemetry`, up: one window of time. QoS 0 or 1 when live (`telemetry.qos` of the device), 1 when it waited in the outbox (`backfill`). */
import { z } from 'zod';
import { quality } from './caps.js';
import { bootId, bytes, count, epochMs, id, milliseconds, openSet, schemaVersion, shortText } from './codec.js';
import { histogramSchema, mergeHistograms, quantile, type HistogramData } from './histogram.js';
import { MAX_PIPELINES, ofPipeline } from './pipeline.js';

/**
 * Cold: the first frames of a pipeline. Pixels, features: frames that stopped at that gate. Partial: frames of which the
 * detector computed a part. Silence: pieces of sound with nothing to hear. Late: those whose results would have been late. `warm`
 * contains none of these.
 */
export const frameKind = openSet(['warm', 'cold', 'pixels', 'features', 'partial', 'silence', 'late']);
export type FrameKind = 'warm' | 'cold' | 'pixels' | 'features' | 'partial' | 'silence' | 'late';

/**
 * A latency distribution. `p50_ms` and `p99_ms` repeat two quantiles of the histogram in plain numbers, for readers that
 * cannot compute them (Home Assistant, Node-RED); null for a distribution without values. Only warm frames have them, and of
 * the times from end to end only the raw ones: the rest is for readers that can.
 */
const latencySeries = { p50_ms: milliseconds.nullable().optional(), p99_ms: milliseconds.nullable().optional(), latency_ms: histogramSchema };

const stageSeries = z.object({ stage: shortText, kind: frameKind, ...latencySeries });

/**
 * From the scheduled capture to the result. `raw`: of the frames that were processed. `corrected`: with the frames that
 * would have waited behind a slow one (coordinated omission), as HdrHistogram's recordCorrectedValue does.
 */
const endToEndSeries = z.object({ clock: openSet(['raw', 'corrected']), kind: frameKind, ...latencySeries });

const jitter = z.object({
  /** RFC 3550 section 6.4.1, inter-arrival jitter of completions against scheduled captures, monotonic clock. */
  rfc3550_ms: milliseconds,
  /** Packet-delay variation, RFC 5481: latency minus the window's minimum; null without a frame. */
  pdv_p50_ms: milliseconds.nullable(),
  pdv_p99_ms: milliseconds.nullable(),
  deadline_ms: milliseconds,
  deadlines_missed: count,
  deadlines: count,
});

/** Totals since the agent started, by Prometheus-style name. A counter that is absent is 0. */
const counters = z.record(z.string().regex(/^[a-z][a-z0-9_]*(\{[a-z0-9_=",.-]*\})?$/).max(128), z.number().nonnegative());

const pipelineWindow = z.object({
  name: id,
  /** Name of the input that it looks at. */
  input: shortText,
  /** Null while no package runs. */
  model: z.object({
    name: shortText,
    version: shortText,
    /** Cheaper networks of the package that run at the governor's wish; absent: its own. */
    variant: shortText.optional(),
  }).nullable(),
  /** Of the sessions of that package. */
  memory_bytes: bytes,
  stages: z.array(stageSeries).max(128),
  end_to_end: z.array(endToEndSeries).max(16),
  jitter,
  /** How strict the gates are, and what they miss; absent when they are not audited. */
  gates: z.object({
    strictness: openSet(['set', 'tight', 'tightest', 'off']),
    /** Share of the frames that stop in which a full run finds something new; null before the first audit. */
    miss_rate: z.number().min(0).max(1).nullable(),
    /** Its upper bound, which holds with 95 % confidence (Clopper and Pearson, one-sided). */
    miss_rate_upper: z.number().min(0).max(1),
    /** Audits that these two rest on. */
    audits: count,
  }).optional(),
  /** Of this pipeline: `frames_total`, `frames_dropped_by_swap_total`, ... */
  counters,
});

const energy = z.object({
  sources: z.array(z.object({
    source: shortText,
    scope: shortText,
    quality,
    /** Why the newest reading is invalid, with quality `invalid`. */
    reason: shortText.optional(),
    /** Number of invalid readings in this window; no sum contains them. */
    invalid_readings: count.optional(),
    /** Energy within this window, from valid readings; null if there were none. */
    joules: z.number().nonnegative().nullable(),
    /** Since the agent started. */
    joules_total: z.number().nonnegative(),
  })).max(32),
  /** Of the best source, divided by the frames that ran a model, of all pipelines together; net is what exceeds the idle power measured before. Null when unknown. */
  inference: z.object({
    source: shortText,
    scope: shortText,
    quality,
    gross_joules: z.number().nonnegative(),
    net_joules: z.number().nonnegative().nullable(),
  }).nullable(),
});

const thermal = z.object({
  zones: z.array(z.object({
    zone: shortText,
    celsius: z.number(),
    /** Highest of the window. */
    celsius_max: z.number(),
    /** The lowest passive, hot or critical trip point. */
    trip_celsius: z.number().nullable(),
  })).max(64),
  /** Sensors of temperature and clock frequency with impossible readings; all other fields exclude them. */
  invalid: z.array(z.object({ sensor: shortText, reason: shortText, readings: count })).max(64).optional(),
  cooling: z.array(z.object({ device: shortText, state: count, state_max: count })).max(64),
  /** Frequency cap below the hardware's maximum, or a passive trip point reached. */
  throttled: z.boolean(),
  throttled_since_boot: z.boolean(),
  cpus: z.array(z.object({ policy: shortText, current_hertz: z.number().nonnegative(), cap_hertz: z.number().nonnegative(), max_hertz: z.number().nonnegative() })).max(64),
});

const memory = z.object({
  rss_bytes: bytes,
  rss_peak_bytes: bytes,
  heap_bytes: bytes,
  system_available_bytes: bytes.nullable(),
});

export const telemetrySchema = z.object({
  schema_version: schemaVersion,
  boot_id: bootId,
  /**
   * Names the sequence that `seq` belongs to, which continues after restarts. It changes only when the device could not keep its
   * place (a new or read-only disk).
   */
  stream_id: bootId,
  /**
   * Of this window; of the last of them when windows were merged. A number is never used twice within a stream. Missing ones
   * were dropped by the device, which counts them in `outbox_dropped_total{class="summary",reason="..."}`.
   */
  seq: count,
  /** Number of the first merged window; equal to `seq` if none were merged. */
  first_seq: count,
  backfill: z.boolean(),
  start_ms: epochMs,
  end_ms: epochMs,
  clock_synchronized: z.boolean(),
  pipelines: z.array(pipelineWindow).max(MAX_PIPELINES),
  energy,
  thermal,
  memory,
  /** How much the governor lets the pipelines do; absent while it has no limit to keep. */
  governor: z.object({
    /** 0: all of it; the last of `rungs`: the least. */
    rung: count,
    rungs: count,
    limit_celsius: z.number().nullable(),
    /** At the present trend; null when the temperature does not rise. */
    seconds_to_limit: z.number().nonnegative().nullable(),
    celsius_per_minute: z.number().nullable(),
  }).optional(),
  /** Of the device: `faults_total`, `mqtt_reconnects_total`, ... */
  counters,
}).refine((window) => window.first_seq <= window.seq, { message: 'first_seq is larger than seq', path: ['first_seq'] });
export type TelemetryWindow = z.infer<typeof telemetrySchema>;
export type EnergyReport = z.infer<typeof energy>;
export type ThermalReport = z.infer<typeof thermal>;
export type MemoryReport = z.infer<typeof memory>;
export type GovernorReport = NonNullable<TelemetryWindow['governor']>;
export type JitterReport = z.infer<typeof jitter>;
export type PipelineWindow = z.infer<typeof pipelineWindow>;
type LatencySeries = Pick<PipelineWindow['stages'][number], 'latency_ms' | 'p50_ms' | 'p99_ms'>;

/** Whether two windows may become one: same life of the agent, same models, and one before the other. */
export function mergeable(a: TelemetryWindow, b: TelemetryWindow): boolean {
  return a.boot_id === b.boot_id && a.seq < b.first_seq && lineageOf(a) === lineageOf(b);
}

/** The pipelines and what they run, as text. Latencies of two packages must not mix in one window. */
export function lineageOf({ pipelines }: Pick<TelemetryWindow, 'pipelines'>): string {
  return JSON.stringify(pipelines.map(({ name, model }) => [name, model?.name, model?.version, model?.variant]));
}

/** Windows `a` then `b` as one. Histograms add up exactly; gauges keep the newest or the extreme; totals the newest. */
export function mergeWindows(a: TelemetryWindow, b: TelemetryWindow): TelemetryWindow {
  return {
    ...b,
    first_seq: a.first_seq,
    backfill: a.backfill || b.backfill,
    start_ms: a.start_ms,
    clock_synchronized: a.clock_synchronized && b.clock_synchronized,
    pipelines: b.pipelines.map((later) => {
      const earlier = ofPipeline(a, later.name);
      return earlier === null ? later : mergePipelines(earlier, later);
    }),
    energy: mergeEnergy(a.energy, b.energy),
    thermal: mergeThermal(a.thermal, b.thermal),
    memory: { ...b.memory, rss_peak_bytes: Math.max(a.memory.rss_peak_bytes, b.memory.rss_peak_bytes) },
  };
}

function mergePipelines(a: PipelineWindow, b: PipelineWindow): PipelineWindow {
  const endToEnd = mergeSeries(a.end_to_end, b.end_to_end, (s) => `${s.clock}/${s.kind}`);
  return {
    ...b,
    stages: mergeSeries(a.stages, b.stages, (s) => `${s.stage}/${s.kind}`),
    end_to_end: endToEnd,
    jitter: {
      rfc3550_ms: b.jitter.rfc3550_ms,
      ...delayVariation(endToEnd.filter((s) => s.clock === 'raw').map((s) => s.latency_ms)),
      deadline_ms: b.jitter.deadline_ms,
      deadlines_missed: a.jitter.deadlines_missed + b.jitter.deadlines_missed,
      deadlines: a.jitter.deadlines + b.jitter.deadlines,
    },
  };
}

/** RFC 5481's variation from a latency histogram: quantile minus minimum, so merged windows give the merged answer. */
export function delayVariation(histograms: readonly HistogramData[]): { pdv_p50_ms: number | null; pdv_p99_ms: number | null } {
  const all = histograms.reduce<HistogramData | null>((sum, h) => (sum === null ? h : mergeHistograms(sum, h)), null);
  const above = (q: number): number | null => {
    const value = all === null ? null : quantile(all, q);
    return all === null || value === null ? null : Number(Math.max(0, value - all.min).toPrecision(6));
  };
  return { pdv_p50_ms: above(0.5), pdv_p99_ms: above(0.99) };
}

/** A histogram without quantiles beside it. Its sum has six digits, because every digit is sent again with every series. */
export function onlyHistogram(latency: HistogramData): LatencySeries {
  return { latency_ms: { ...latency, sum: Number(latency.sum.toPrecision(6)) } };
}

/**
 * A histogram with its median and 99th percentile beside it, in milliseconds. Both have four digits, because the histogram
 * knows them within 1.1 %.
 */
export function withQuantiles(latency: HistogramData): LatencySeries {
  const at = (q: number): number | null => {
    const value = quantile(latency, q);
    return value === null ? null : Number(value.toPrecision(4));
  };
  return { p50_ms: at(0.5), p99_ms: at(0.99), ...onlyHistogram(latency) };
}

function mergeSeries<S extends LatencySeries>(a: readonly S[], b: readonly S[], keyOf: (s: S) => string): S[] {
  const merged = new Map(a.map((s) => [keyOf(s), s]));
  for (const series of b) {
    const key = keyOf(series);
    const known = merged.get(key);
    const described = series.p50_ms === undefined ? onlyHistogram : withQuantiles;
    merged.set(key, known === undefined ? series : { ...series, ...described(mergeHistograms(known.latency_ms, series.latency_ms)) });
  }
  return [...merged.values()];
}

function mergeEnergy(a: EnergyReport, b: EnergyReport): EnergyReport {
  const earlier = new Map(a.sources.map((s) => [`${s.source}/${s.scope}`, s]));
  return {
    sources: b.sources.map((s) => {
      const before = earlier.get(`${s.source}/${s.scope}`);
      const joules = before?.joules == null ? s.joules : before.joules + (s.joules ?? 0);
      const invalid = (before?.invalid_readings ?? 0) + (s.invalid_readings ?? 0);
      return { ...s, joules, ...(invalid > 0 ? { invalid_readings: invalid } : {}) };
    }),
    inference: b.inference ?? a.inference,
  };
}

function mergeThermal(a: ThermalReport, b: ThermalReport): ThermalReport {
  const earlier = new Map(a.zones.map((z) => [z.zone, z.celsius_max]));
  const invalid = new Map((a.invalid ?? []).map((i) => [i.sensor, i]));
  for (const now of b.invalid ?? []) invalid.set(now.sensor, { ...now, readings: now.readings + (invalid.get(now.sensor)?.readings ?? 0) });
  return {
    ...b,
    ...(invalid.size > 0 ? { invalid: [...invalid.values()].slice(0, 64) } : {}),
    zones: b.zones.map((z) => ({ ...z, celsius_max: Math.max(z.celsius_max, earlier.get(z.zone) ?? z.celsius_max) })),
    throttled: a.throttled || b.throttled,
    throttled_since_boot: a.throttled_since_boot || b.throttled_since_boot,
  };
}
