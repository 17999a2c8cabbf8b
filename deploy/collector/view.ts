import {
  countOf, lineageOf, mergeable, mergeHistograms, mergeWindows, ofPipeline, quantile,
  type EnergyReport, type HistogramData, type JitterReport, type MemoryReport, type PipelineWindow, type TelemetryWindow, type ThermalReport,
} from '../../agent/contracts/index.js';

/** A latency distribution, ready to be shown. Milliseconds. */
export interface LatencyView {
  count: number;
  p50_ms: number;
  p99_ms: number;
  max_ms: number;
}

export interface StageView extends LatencyView {
  stage: string;
  kind: string;
}

/** One pipeline in one or several telemetry windows, in figures that a page can print, with those of the device beside them. */
export interface TelemetryView {
  start_ms: number;
  end_ms: number;
  boot_id: string;
  seq: number;
  pipeline: string;
  memory_bytes: number;
  model: { name: string; version: string } | null;
  /** In the order of the pipeline, as the device lists them. */
  stages: StageView[];
  /** Frames that ran in full, by clock; null without one. */
  raw: LatencyView | null;
  corrected: LatencyView | null;
  frames_per_second: number | null;
  jitter: JitterReport;
  energy: EnergyReport;
  /** Watts of each source over the window. */
  power_watts: { source: string; scope: string; quality: string; watts: number }[];
  thermal: ThermalReport;
  memory: MemoryReport;
  /** Of the pipeline and of the device; one that is absent is 0. */
  counters: Record<string, number>;
  /** Frames by how far they went, of this span: every `frames_total{...}`-like exit counter of the device. */
  exits: Record<string, number>;
}

/**
 * The newest windows that are one life of one model, at most `spanMs` long, merged. Histograms add exactly, so the p99 is
 * that of the whole span and not a mean of p99s. Null when there is none.
 */
export function recentWindow(windows: readonly TelemetryWindow[], spanMs: number): TelemetryWindow | null {
  const last = windows.at(-1);
  if (last === undefined) return null;
  let merged = last;
  for (let i = windows.length - 2; i >= 0; i--) {
    const earlier = windows[i];
    if (earlier === undefined || last.end_ms - earlier.start_ms > spanMs || !mergeable(earlier, merged)) break;
    merged = mergeWindows(earlier, merged);
  }
  return merged;
}

/** Null when the window knows no such pipeline. */
export function telemetryView(window: TelemetryWindow, name: string): TelemetryView | null {
  const pipeline = ofPipeline(window, name);
  if (pipeline === null) return null;
  const seconds = (window.end_ms - window.start_ms) / 1000;
  const raw = allKinds(pipeline, 'raw');
  return {
    start_ms: window.start_ms,
    end_ms: window.end_ms,
    boot_id: window.boot_id,
    seq: window.seq,
    pipeline: name,
    memory_bytes: pipeline.memory_bytes,
    model: pipeline.model,
    stages: pipeline.stages.flatMap(({ stage, kind, latency_ms }) => {
      const latency = latencyView(latency_ms);
      return latency === null ? [] : [{ stage, kind, ...latency }];
    }),
    raw: ofKind(pipeline, 'raw', 'warm'),
    corrected: ofKind(pipeline, 'corrected', 'warm'),
    frames_per_second: raw === null || seconds <= 0 ? null : countOf(raw) / seconds,
    jitter: pipeline.jitter,
    energy: window.energy,
    power_watts: seconds <= 0 ? [] : window.energy.sources.flatMap(({ source, scope, quality, joules }) => (joules === null ? [] : [{ source, scope, quality, watts: joules / seconds }])),
    thermal: window.thermal,
    memory: window.memory,
    counters: { ...window.counters, ...pipeline.counters },
    exits: exitCounts(pipeline),
  };
}

function ofKind(window: PipelineWindow, clock: 'raw' | 'corrected', kind: string): LatencyView | null {
  const series = window.end_to_end.find((s) => s.clock === clock && s.kind === kind);
  return series === undefined ? null : latencyView(series.latency_ms);
}

function allKinds(window: PipelineWindow, clock: 'raw' | 'corrected'): HistogramData | null {
  return window.end_to_end.filter((s) => s.clock === clock).map((s) => s.latency_ms)
    .reduce<HistogramData | null>((sum, h) => (sum === null ? h : mergeHistograms(sum, h)), null);
}

/** How many frames of this span ended how: the raw end-to-end series count them. */
function exitCounts(window: PipelineWindow): Record<string, number> {
  const exits: Record<string, number> = {};
  for (const { clock, kind, latency_ms } of window.end_to_end) {
    if (clock === 'raw') exits[kind] = (exits[kind] ?? 0) + countOf(latency_ms);
  }
  return exits;
}

function latencyView(histogram: HistogramData): LatencyView | null {
  const p50 = quantile(histogram, 0.5);
  const p99 = quantile(histogram, 0.99);
  return p50 === null || p99 === null ? null : { count: countOf(histogram), p50_ms: p50, p99_ms: p99, max_ms: histogram.max };
}

/** Energy of an inference, over many windows. Joules. */
export interface InferenceEnergy {
  source: string;
  scope: string;
  quality: EnergyReport['sources'][number]['quality'];
  gross_joules: number;
  /** Above the idle power; null while that is not known. */
  net_joules: number | null;
  inferences: number;
  span_ms: number;
}

/**
 * The mean over the newest windows of one life, model and source, by inference: a window with two of them, whose joules are mostly those of an idle
 * machine, does not count as much as one with a hundred. Null when no window has any.
 */
export function inferenceEnergy(windows: readonly TelemetryWindow[]): InferenceEnergy | null {
  const last = windows.at(-1);
  const same = windows.filter((w) => w.boot_id === last?.boot_id && lineageOf(w) === lineageOf(last));
  const newest = same.findLast((w) => w.energy.inference !== null)?.energy.inference;
  if (newest == null || last === undefined) return null;
  const sum = { inferences: 0, gross: 0, net: 0, netInferences: 0 };
  for (const { energy } of same) {
    const { inference } = energy;
    const joules = energy.sources.find((s) => s.source === newest.source && s.scope === newest.scope)?.joules;
    if (inference?.source !== newest.source || inference.scope !== newest.scope || !(inference.gross_joules > 0) || joules == null) continue;
    const inferences = joules / inference.gross_joules;
    sum.inferences += inferences;
    sum.gross += joules;
    if (inference.net_joules === null) continue;
    sum.net += inference.net_joules * inferences;
    sum.netInferences += inferences;
  }
  if (sum.inferences === 0) return null;
  const { source, scope, quality } = newest;
  return {
    source, scope, quality, gross_joules: sum.gross / sum.inferences, net_joules: sum.netInferences === 0 ? null : sum.net / sum.netInferences,
    inferences: Math.round(sum.inferences), span_ms: last.end_ms - (same[0]?.start_ms ?? last.start_ms),
  };
}

/** One point of each of the page's charts. */
export interface HistoryPoint {
  end_ms: number;
  p50_ms: number | null;
  p99_ms: number | null;
  fps: number | null;
  rfc3550_ms: number | null;
  rss_bytes: number;
  celsius: number | null;
  watts: number | null;
}

export function historyPoint(window: TelemetryWindow, pipeline: string): HistoryPoint {
  const view = telemetryView(window, pipeline);
  const zones = window.thermal.zones;
  return {
    end_ms: window.end_ms,
    p50_ms: view?.raw?.p50_ms ?? null,
    p99_ms: view?.raw?.p99_ms ?? null,
    fps: view?.frames_per_second ?? null,
    rfc3550_ms: view?.jitter.rfc3550_ms ?? null,
    rss_bytes: window.memory.rss_bytes,
    celsius: zones.length === 0 ? null : Math.max(...zones.map((z) => z.celsius)),
    watts: view?.power_watts[0]?.watts ?? null,
  };
}
