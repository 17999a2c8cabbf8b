/**
 * Single windows in VictoriaMetrics: the roll-up of a pipeline's window as samples at its end, one a figure and one a bucket of its latencies. Buckets add up, so
 * VictoriaMetrics itself gives the p99 of any devices over any time: `histogram_quantile(0.99, sum(sum_over_time(sterna_device_window_latency_bucket[1h])) by (vmrange))`.
 */
import { eachBucket, HISTOGRAM_SCALE, histogramFrom, ZERO_THRESHOLD, type DeviceAddress } from '../../../agent/contracts/index.js';
import { DEVICE_PREFIX } from '../device-samples.js';
import type { HistoryRow } from '../history-store.js';
import type { PastRange } from '../fleet-past.js';
import { rollupSchema, type Rollup } from '../rollup.js';
import { labelText, type Series, type VictoriaMetrics } from './victoria-metrics.js';

/** A window of one pipeline, at its end. */
export interface WindowPart extends DeviceAddress {
  pipeline: string;
  /** Name and version of the package; empty without one. */
  model: string;
  endMs: number;
  rollup: Rollup;
}

const PREFIX = `${DEVICE_PREFIX}window_`;
/** Figures of a roll-up, in its own units. One that is 0 is not sent; `windows` always is, and says that there is a window. */
const FIGURES = ['windows', 'span_ms', 'frames', 'dropped', 'joules', 'joules_span_ms', 'inferences', 'net_joules', 'net_inferences', 'celsius_ms', 'celsius_span_ms', 'rss_bytes'] as const;
const BUCKETS_PER_OCTAVE = 2 ** HISTOGRAM_SCALE;
const ZEROS = `0...${ZERO_THRESHOLD.toExponential(6)}`;
const boundOf = (index: number): string => (2 ** (index / BUCKETS_PER_OCTAVE)).toExponential(6);
/** The texts of buckets by their index: a window has some forty, and a fleet shares a few hundred. */
const ranges = new Map<number, string>();

function rangeOf(index: number): string {
  let range = ranges.get(index);
  if (range === undefined) ranges.set(index, range = `${boundOf(index)}...${boundOf(index + 1)}`);
  return range;
}

/** Lines of the Prometheus text format. */
export function windowLines({ fleet, device, pipeline, model, endMs, rollup }: WindowPart): string[] {
  const [own, timeMs] = [labelText({ fleet, device, pipeline, package: model }), Math.round(endMs)];
  const figures: [string, number][] = FIGURES.flatMap((name): [string, number][] => (rollup[name] === 0 ? [] : [[name, rollup[name]]]));
  if (rollup.celsius_max !== null) figures.push(['celsius_max', rollup.celsius_max]);
  if (rollup.audit !== null) figures.push(['audits', rollup.audit.audits], ['misses', rollup.audit.misses], ['audit_end_ms', rollup.audit.end_ms]);
  const { sum, min, max, zero_count: zeros = 0, buckets } = rollup.latency;
  if (buckets !== '' || zeros > 0) figures.push(['latency_sum', sum], ['latency_min', min], ['latency_max', max]);
  const lines = figures.map(([name, value]) => `${PREFIX}${name}${own} ${value} ${timeMs}`);
  const bucketName = `${PREFIX}latency_bucket${own.slice(0, -1)}`;
  const bucket = (vmrange: string, n: number): number => lines.push(`${bucketName},vmrange="${vmrange}"} ${n} ${timeMs}`);
  if (zeros > 0) bucket(ZEROS, zeros);
  eachBucket(rollup.latency, (index, n) => { bucket(rangeOf(index), n); });
  return lines;
}

interface Read {
  model: string;
  figures: Map<string, number>;
  counts: Map<number, number>;
  zeros: number;
}

/** The windows of a pipeline that ended in the range, oldest first. @throws DeployError E_STORE */
export async function readWindows(metrics: VictoriaMetrics, { fleet, device }: DeviceAddress, { pipeline, fromMs, toMs }: PastRange): Promise<HistoryRow[]> {
  const found = new Map<string, Read & { endMs: number }>();
  for (const series of await metrics.export(labelText({ fleet, device, pipeline }, [`__name__=~"${PREFIX}.+"`]), fromMs, toMs)) note(found, series);
  return [...found.values()].sort((a, b) => a.endMs - b.endMs).flatMap((read): HistoryRow[] => {
    const rollup = rollupFrom(read);
    return rollup === null ? [] : [{ stepMs: 0, slotMs: read.endMs, model: read.model, rollup }];
  });
}

/** A sample that is there twice, because its batch was written again, counts once. */
function note(found: Map<string, Read & { endMs: number }>, { metric, values, timestamps }: Series): void {
  const { __name__: full = '', package: model = '', vmrange } = metric;
  const name = full.slice(PREFIX.length);
  timestamps.forEach((endMs, i) => {
    const value = values[i];
    if (typeof value !== 'number') return;
    const key = `${endMs} ${model}`;
    const read = found.get(key) ?? { endMs, model, figures: new Map<string, number>(), counts: new Map<number, number>(), zeros: 0 };
    found.set(key, read);
    if (name !== 'latency_bucket') read.figures.set(name, value);
    else if (vmrange === ZEROS) read.zeros = value;
    else read.counts.set(Math.round(Math.log2(Number.parseFloat(vmrange ?? '')) * BUCKETS_PER_OCTAVE), value);
  });
}

/** Null for what is no window: somebody else may write series of this name. */
function rollupFrom({ figures, counts, zeros }: Read): Rollup | null {
  const of = (name: string): number => figures.get(name) ?? 0;
  try {
    const latency = histogramFrom(counts, { sum: of('latency_sum'), min: of('latency_min'), max: of('latency_max'), zeros });
    const audit = figures.has('audits') ? { end_ms: of('audit_end_ms'), audits: of('audits'), misses: of('misses') } : null;
    if (!(of('windows') > 0)) return null;
    return rollupSchema.parse({ ...Object.fromEntries(FIGURES.map((name) => [name, of(name)])), latency, audit, celsius_max: figures.get('celsius_max') ?? null });
  } catch {
    return null;
  }
}
