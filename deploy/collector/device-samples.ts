/** Figures of one window of a device, by the names and units of `/metrics` of the fleet. What stores and receivers of metrics are sent begins here. */
import { quantile, type DeviceAddress, type HistogramData, type TelemetryWindow } from '../../agent/contracts/index.js';
import { packageText } from './latency-slots.js';

/** Names of metrics of one device begin with it. */
export const DEVICE_PREFIX = 'sterna_device_';

export interface Sample {
  /** Without the prefix. */
  name: string;
  /** A counter is a total since the agent started. */
  kind: 'gauge' | 'counter';
  labels: Readonly<Record<string, string>>;
  value: number;
}

/** Milliseconds of one window, as a base-2 exponential histogram of scale 5. */
export interface LatencySample {
  name: 'latency_milliseconds' | 'corrected_latency_milliseconds' | 'stage_latency_milliseconds';
  labels: Readonly<Record<string, string>>;
  histogram: HistogramData;
}

/** Gauges and totals of a window. The device cannot name another one by a label of a counter: its address is written last. */
export function samplesOf({ fleet, device }: DeviceAddress, window: TelemetryWindow): Sample[] {
  const [samples, own]: [Sample[], DeviceAddress] = [[], { fleet, device }];
  const add = (name: string, kind: Sample['kind'], value: number | null, labels: Readonly<Record<string, string>> = {}): void => {
    if (value !== null) samples.push({ name, kind, value, labels: { ...own, ...labels, ...own } });
  };
  const addCounters = (counters: Readonly<Record<string, number>>, labels: Readonly<Record<string, string>>): void => {
    for (const [key, value] of Object.entries(counters)) add(key.replace(/\{.*$/, ''), 'counter', value, { ...labelsIn(key), ...labels });
  };
  add('temperature_celsius', 'gauge', window.thermal.zones.length === 0 ? null : Math.max(...window.thermal.zones.map(({ celsius }) => celsius)));
  add('resident_memory_bytes', 'gauge', window.memory.rss_bytes);
  for (const { source, scope, quality, joules_total } of window.energy.sources) add('energy_joules_total', 'counter', joules_total, { source, scope, quality });
  addCounters(window.counters, {});
  for (const pipeline of window.pipelines) {
    for (const { clock, kind, latency_ms } of pipeline.end_to_end) {
      if (clock !== 'raw') continue;
      for (const percent of [50, 99]) add(`latency_p${percent}_seconds`, 'gauge', toSeconds(quantile(latency_ms, percent / 100)), { ...labelsOf(pipeline), kind });
    }
    addCounters(pipeline.counters, { pipeline: pipeline.name });
  }
  return samples;
}

/** The latencies of a window: of frames from end to end, raw and corrected for coordinated omission, and of each stage. */
export function latenciesOf({ fleet, device }: DeviceAddress, window: TelemetryWindow): LatencySample[] {
  return window.pipelines.flatMap((pipeline): LatencySample[] => {
    const labels = { fleet, device, ...labelsOf(pipeline) };
    const ends = pipeline.end_to_end.flatMap(({ clock, kind, latency_ms: histogram }): LatencySample[] => {
      const name = clock === 'raw' ? 'latency_milliseconds' : clock === 'corrected' ? 'corrected_latency_milliseconds' : null;
      return name === null ? [] : [{ name, labels: { ...labels, kind }, histogram }];
    });
    return [...ends, ...pipeline.stages.map(({ stage, kind, latency_ms: histogram }): LatencySample => ({ name: 'stage_latency_milliseconds', labels: { ...labels, stage, kind }, histogram }))];
  });
}

/** A series by name and labels, whatever the order of these. */
export const seriesKey = ({ name, labels }: Pick<Sample, 'name' | 'labels'>): string => JSON.stringify([name, ...Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))]);

const labelsOf = ({ name, model }: TelemetryWindow['pipelines'][number]): { pipeline: string; package: string } => ({ pipeline: name, package: packageText(model) });

/** Labels that begin with `_` are left out: to readers, `__name__` is another metric. */
const labelsIn = (counter: string): Record<string, string> => Object.fromEntries([...counter.matchAll(/[{,]([a-z][a-z0-9_]*)="([^"]*)"/g)].map(([, label = '', text = '']) => [label, text]));

const toSeconds = (ms: number | null): number | null => (ms === null ? null : ms / 1000);
