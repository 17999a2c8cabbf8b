/** What the windows of one pipeline and one package add up to over any time. Everything in it adds up exactly, so a quantile is that of all frames and never a mean of quantiles. */
import { z } from 'zod';
import { countOf, Histogram, histogramSchema, mergeHistograms, quantile, type HistogramData, type PipelineWindow, type TelemetryWindow } from '../../agent/contracts/index.js';
import { rateBounds } from '../../runtime/vision/gates/binomial.js';

const amount = z.number().nonnegative();

export const rollupSchema = z.object({
  windows: amount,
  /** Time that the windows cover, milliseconds. */
  span_ms: amount,
  /** Frames, however far they went, and those that were lost. */
  frames: amount,
  dropped: amount,
  /** Of warm frames, from the scheduled capture to the result, milliseconds. */
  latency: histogramSchema,
  /** Of the device's best source: energy, the time in which it was known, and the inferences of all pipelines that took it. Joules, milliseconds. */
  joules: amount,
  joules_span_ms: amount,
  inferences: amount,
  /** Above the idle power, and the inferences for which that was known. */
  net_joules: amount,
  net_inferences: amount,
  /** Of the hottest zone: the mean times `celsius_span_ms`, and the highest. */
  celsius_ms: z.number(),
  celsius_span_ms: amount,
  celsius_max: z.number().nullable(),
  rss_bytes: amount,
  /** The newest audit of the gates. It counts on by itself, so of two the newer one is kept. */
  audit: z.object({ end_ms: z.number(), audits: amount, misses: amount }).nullable(),
});
export type Rollup = z.infer<typeof rollupSchema>;

/** Frames that a pipeline lost since its agent started: while it was busy, and while packages changed. */
export function lostFrames({ counters }: Pick<PipelineWindow, 'counters'>): number {
  return Math.round((counters['frames_dropped_total'] ?? 0) + (counters['frames_dropped_by_swap_total'] ?? 0));
}

/** Of a window without counters of its past. @param pipeline one of the window's. @param dropped frames lost since the window before */
export function rollupOf(window: TelemetryWindow, pipeline: PipelineWindow, dropped: number): Rollup {
  const spanMs = Math.max(0, window.end_ms - window.start_ms);
  const raw = pipeline.end_to_end.filter(({ clock }) => clock === 'raw');
  const { zones } = window.thermal;
  const hottest = zones.length === 0 ? null : Math.max(...zones.map(({ celsius }) => celsius));
  const { gates } = pipeline;
  return {
    windows: window.seq - window.first_seq + 1, span_ms: spanMs, frames: raw.reduce((sum, { latency_ms }) => sum + countOf(latency_ms), 0), dropped, latency: warmLatency(raw), ...energyOf(window, spanMs),
    celsius_ms: hottest === null ? 0 : hottest * spanMs, celsius_span_ms: hottest === null ? 0 : spanMs,
    celsius_max: zones.length === 0 ? null : Math.max(...zones.map(({ celsius_max }) => celsius_max)), rss_bytes: window.memory.rss_bytes,
    audit: gates?.miss_rate == null || gates.audits === 0 ? null : { end_ms: window.end_ms, audits: gates.audits, misses: Math.round(gates.miss_rate * gates.audits) },
  };
}

/** Nearly always one series, which is taken as it is. */
function warmLatency(raw: PipelineWindow['end_to_end']): HistogramData {
  const warm = raw.filter(({ kind }) => kind === 'warm');
  const [only] = warm;
  if (warm.length === 1 && only !== undefined && countOf(only.latency_ms) > 0) return only.latency_ms;
  const latency = new Histogram();
  for (const { latency_ms } of warm) latency.merge(latency_ms);
  return latency.toData();
}

/** The source is that of the inferences, else the first that is valid. */
function energyOf({ energy: { sources, inference } }: TelemetryWindow, spanMs: number): Pick<Rollup, 'joules' | 'joules_span_ms' | 'inferences' | 'net_joules' | 'net_inferences'> {
  const source = sources.find((one) => one.source === inference?.source && one.scope === inference.scope) ?? sources.find(({ joules }) => joules !== null);
  const joules = source?.joules ?? null;
  if (joules === null) return { joules: 0, joules_span_ms: 0, inferences: 0, net_joules: 0, net_inferences: 0 };
  const inferences = inference === null || !(inference.gross_joules > 0) ? 0 : joules / inference.gross_joules;
  const net = inference?.net_joules ?? null;
  return { joules, joules_span_ms: spanMs, inferences, net_joules: net === null ? 0 : net * inferences, net_inferences: net === null ? 0 : inferences };
}

const SUMS = ['windows', 'span_ms', 'frames', 'dropped', 'joules', 'joules_span_ms', 'inferences', 'net_joules', 'net_inferences', 'celsius_ms', 'celsius_span_ms'] as const;

type Sums = Omit<Rollup, 'latency'>;

/** Adds all but the latencies to `known`. */
function addSums(known: Sums, rest: Sums): void {
  for (const name of SUMS) known[name] += rest[name];
  known.celsius_max = known.celsius_max === null ? rest.celsius_max : Math.max(known.celsius_max, rest.celsius_max ?? -Infinity);
  known.rss_bytes = Math.max(known.rss_bytes, rest.rss_bytes);
  if (rest.audit !== null && rest.audit.end_ms >= (known.audit?.end_ms ?? -Infinity)) known.audit = rest.audit;
}

/** Adds roll-ups one by one; of one device, `mergeDevices` adds up the audits of several. */
export class RollupSum {
  readonly #latency = new Histogram();
  #rest: Sums | null = null;

  add({ latency, ...rest }: Rollup): void {
    this.#latency.merge(latency);
    if (this.#rest === null) this.#rest = { ...rest };
    else addSums(this.#rest, rest);
  }

  /** Null before anything was added. */
  get total(): Rollup | null {
    return this.#rest === null ? null : { ...this.#rest, latency: this.#latency.toData() };
  }
}

/** Null for sums that no number can hold any more: a device may send windows of any size, and a store cannot keep these. */
export function mergeRollups(a: Rollup, b: Rollup): Rollup | null {
  const sum = { ...a, latency: mergeHistograms(a.latency, b.latency) };
  addSums(sum, b);
  return isFiniteRollup(sum) ? sum : null;
}

/** Whether JSON can hold it. */
export const isFiniteRollup = (rollup: Rollup): boolean => SUMS.every((name) => Number.isFinite(rollup[name]));

/** A stored roll-up. Null for sums that no number can hold any more: a device may send windows of any size, and its row must not keep those of others from being written. */
export function readRollup(text: string): Rollup | null {
  const result = rollupSchema.safeParse(JSON.parse(text));
  return result.success ? result.data : null;
}

/** Of several devices: their audits are of different gates, so all of them count. */
export function mergeDevices(devices: readonly Rollup[]): Rollup | null {
  const [sum, audit] = [new RollupSum(), { end_ms: 0, audits: 0, misses: 0 }];
  for (const one of devices) {
    sum.add({ ...one, audit: null });
    audit.end_ms = Math.max(audit.end_ms, one.audit?.end_ms ?? 0);
    audit.audits += one.audit?.audits ?? 0;
    audit.misses += one.audit?.misses ?? 0;
  }
  const { total } = sum;
  return total === null ? null : { ...total, audit: audit.audits === 0 ? null : audit };
}

/** A roll-up in the figures that a page shows; null: not known. */
export interface RollupFigures {
  windows: number;
  frames: number;
  dropped: number;
  p50_ms: number | null;
  p95_ms: number | null;
  p99_ms: number | null;
  max_ms: number | null;
  frames_per_second: number | null;
  watts: number | null;
  /** Of an inference, gross and above the idle power, and of a frame, however far it went. */
  inference_millijoules: number | null;
  net_millijoules: number | null;
  frame_millijoules: number | null;
  celsius: number | null;
  celsius_max: number | null;
  rss_bytes: number;
  /** Share of the frames that stopped at a gate in which a full run found something new, and its bound with 95 % confidence. */
  audit: { audits: number; misses: number; miss_rate: number; miss_rate_upper: number } | null;
}

const ratio = (sum: number, of: number, times = 1): number | null => (of > 0 ? (sum / of) * times : null);

export function figuresOf(rollup: Rollup): RollupFigures {
  const { latency, audit } = rollup;
  return {
    windows: rollup.windows, frames: rollup.frames, dropped: rollup.dropped,
    p50_ms: quantile(latency, 0.5), p95_ms: quantile(latency, 0.95), p99_ms: quantile(latency, 0.99), max_ms: countOf(latency) === 0 ? null : latency.max,
    frames_per_second: ratio(rollup.frames, rollup.span_ms, 1000), watts: ratio(rollup.joules, rollup.joules_span_ms, 1000),
    inference_millijoules: rollup.inferences > 0 ? ratio(rollup.joules, rollup.inferences, 1000) : null, net_millijoules: ratio(rollup.net_joules, rollup.net_inferences, 1000),
    frame_millijoules: rollup.joules_span_ms > 0 ? ratio(rollup.joules, rollup.frames, 1000) : null,
    celsius: ratio(rollup.celsius_ms, rollup.celsius_span_ms), celsius_max: rollup.celsius_max, rss_bytes: rollup.rss_bytes,
    audit: audit === null ? null : { audits: audit.audits, misses: audit.misses, miss_rate: audit.misses / audit.audits, miss_rate_upper: rateBounds(audit.misses, audit.audits).upper },
  };
}
