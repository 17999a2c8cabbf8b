/** Latencies of a fleet: the histograms of its devices, merged in slots of time. Buckets add up exactly, so the p99 of a slot, a day or a fleet is a real p99. */
import { Histogram, histogramSchema, type HistogramData, type TelemetryWindow } from '../../agent/contracts/index.js';
import type { Received } from './fleet-store.js';

export const SLOT_MS = 300_000;
/** Slots are kept this long; windows that are older when they arrive are in none. */
export const KEPT_MS = 31 * 86_400_000;

export interface LatencyKey {
  fleet: string;
  pipeline: string;
  /** Name and version of the package. */
  model: string;
  clock: string;
  kind: string;
  slotMs: number;
}

export interface LatencySlot extends LatencyKey {
  histogram: HistogramData;
}

/** Name and version of a package; empty without one. */
export const packageText = (model: { name: string; version: string } | null): string => (model === null ? '' : `${model.name} ${model.version}`);

export const keyText = ({ fleet, pipeline, model, clock, kind, slotMs }: LatencyKey): string => JSON.stringify([fleet, pipeline, model, clock, kind, slotMs]);

/**
 * When a window counts. What comes live counts when it arrives, so a clock that is years off does no harm; what waited in the outbox counts at its end, if the
 * device knew the time. Null: nobody knows when it was.
 */
export function slotOf(window: TelemetryWindow, receivedMs: number): number | null {
  const timeMs = window.backfill ? window.end_ms : receivedMs;
  if (window.backfill && (!window.clock_synchronized || timeMs > receivedMs || timeMs < receivedMs - KEPT_MS)) return null;
  return Math.floor(timeMs / SLOT_MS) * SLOT_MS;
}

/** The windows of a batch as one histogram a key, in an order that is the same for everybody who writes them. */
export function mergeLatencies(batch: readonly Received[]): LatencySlot[] {
  const merged = new Map<string, LatencyKey & { histogram: Histogram }>();
  for (const { message, receivedMs } of batch) {
    if (message.kind !== 'telemetry') continue;
    const slotMs = slotOf(message.value, receivedMs);
    if (slotMs === null) continue;
    for (const { name, model, end_to_end } of message.value.pipelines) {
      for (const { clock, kind, latency_ms } of end_to_end) {
        const key = { fleet: message.address.fleet, pipeline: name, model: packageText(model), clock, kind, slotMs };
        const text = keyText(key);
        const known = merged.get(text) ?? { ...key, histogram: new Histogram() };
        known.histogram.merge(latency_ms);
        merged.set(text, known);
      }
    }
  }
  return [...merged].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, { histogram, ...key }]) => ({ ...key, histogram: histogram.toData() }));
}

/** What stored texts hold together; null when they hold no value. @throws ZodError for what this program did not write */
export function mergedOf(texts: readonly string[]): HistogramData | null {
  const sum = new Histogram();
  for (const text of texts) sum.merge(histogramSchema.parse(JSON.parse(text)));
  return sum.count === 0 ? null : sum.toData();
}
