/** What is sent, read back by the published schemas: every bucket, label and time. */
import { ValueType } from '@opentelemetry/api';
import { AggregationTemporality, DataPointType } from '@opentelemetry/sdk-metrics';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { countOf, eachBucket, Histogram, histogramSchema, quantile, type HistogramData } from '../../../agent/contracts/index.js';
import { DeviceState } from '../../../deploy/export/device-state.js';
import { descriptorOf, OtlpReceiver, resourceMetrics } from '../../../deploy/export/otlp.js';
import type { DeviceExport } from '../../../deploy/export/receiver.js';
import { encodeWriteRequest } from '../../../deploy/export/remote-write.js';
import { DOOR, caps, telemetry } from '../fixtures.js';
import { named, NOW, readOtlp, readWriteRequest, scriptedServer, warm, type HistogramPoint, type OtlpMetric, type OtlpRequest } from './support.js';

function exported(count: number, over: Parameters<typeof telemetry>[2] = {}): DeviceExport {
  const state = new DeviceState();
  state.describe({ ...caps(), labels: { site: 'north' } });
  const moments = Array.from({ length: count }, (_, i) => state.take(DOOR, telemetry(i + 1, NOW + 5000 * (i + 1), over), { receivedMs: NOW + 60_000, sendLate: false }).moment);
  return { address: DOOR, host: state.host, moments: moments.flatMap((moment) => moment ?? []) };
}

async function sentByOtlp(...devices: DeviceExport[]): Promise<OtlpRequest> {
  const server = await scriptedServer();
  expect(await new OtlpReceiver({ url: server.url, headers: {} }).send(devices)).toEqual({ taken: true, rejectedPoints: 0, message: '' });
  return readOtlp(server.bodies[0] ?? new Uint8Array());
}

const metricOf = ({ resourceMetrics: [resource] }: OtlpRequest, name: string): OtlpMetric => {
  const metric = resource?.scopeMetrics[0]?.metrics.find((candidate) => candidate.name === name);
  if (metric === undefined) throw new Error(`${name} was not sent`);
  return metric;
};

/** By OpenTelemetry's definition, from the fields of the message alone: nearest rank, and the middle of its bucket by ratio. */
function quantileOf({ count, scale, zeroCount, positive, min, max }: HistogramPoint, q: number): number {
  const rank = Math.max(1, Math.ceil(q * count));
  if (rank <= zeroCount) return min;
  let seen = zeroCount;
  const at = positive.bucketCounts.findIndex((n) => (seen += n) >= rank);
  return Math.min(Math.max(2 ** ((positive.offset + at + 0.5) / 2 ** scale), min), max);
}

const counts = (histogram: HistogramData): Record<number, number> => {
  const found: Record<number, number> = {};
  eachBucket(histogram, (index, n) => { found[index] = n; });
  return found;
};
const pointCounts = ({ positive }: HistogramPoint): Record<number, number> => Object.fromEntries(positive.bucketCounts.flatMap((n, i) => (n === 0 ? [] : [[positive.offset + i, n]])));

describe('OTLP', () => {
  it('uses the numbers of OpenTelemetry', () => {
    const types = resourceMetrics(exported(1)).scopeMetrics[0]?.metrics.map(({ dataPointType, aggregationTemporality, descriptor: { name, valueType } }) => ({ name, dataPointType, aggregationTemporality, valueType }));
    const common = { aggregationTemporality: AggregationTemporality.CUMULATIVE, valueType: ValueType.DOUBLE };
    expect(types).toContainEqual({ name: 'sterna.device.temperature', dataPointType: DataPointType.GAUGE, ...common });
    expect(types).toContainEqual({ name: 'sterna.device.energy', dataPointType: DataPointType.SUM, ...common });
    expect(types).toContainEqual({ name: 'sterna.device.latency', dataPointType: DataPointType.EXPONENTIAL_HISTOGRAM, ...common });
  });

  it('describes a device by the semantic conventions', async () => {
    const { resourceMetrics: resources } = await sentByOtlp(exported(1), { ...exported(1), address: { fleet: 'demo', device: 'door-2' }, host: null });
    expect(resources.map(({ resource }) => named(resource.attributes))).toEqual([
      { 'service.name': 'sterna', 'service.namespace': 'demo', 'service.instance.id': 'door-1', 'device.id': 'door-1', 'service.version': '0.1.0', 'host.arch': 'amd64', 'os.type': 'linux', 'device.model.name': 'Test bench', 'sterna.label.site': 'north' },
      { 'service.name': 'sterna', 'service.namespace': 'demo', 'service.instance.id': 'door-2', 'device.id': 'door-2' },
    ]);
  });

  it('has gauges and totals with their units, times and temporality', async () => {
    const request = await sentByOtlp(exported(2));
    const temperature = metricOf(request, 'sterna.device.temperature');
    expect(temperature).toMatchObject({ unit: 'Cel', gauge: { dataPoints: [{ asDouble: 51.5, timeUnixNano: (NOW + 5000) * 1e6 }, { asDouble: 51.5, timeUnixNano: (NOW + 10_000) * 1e6 }] } });
    const energy = metricOf(request, 'sterna.device.energy');
    expect(energy).toMatchObject({ unit: 'J', sum: { aggregationTemporality: 'CUMULATIVE', isMonotonic: true } });
    expect(energy.sum?.dataPoints.map(({ asDouble, startTimeUnixNano }) => [asDouble, startTimeUnixNano])).toEqual([[4.1, NOW * 1e6], [8.2, NOW * 1e6]]);
    expect(named(energy.sum?.dataPoints[0]?.attributes ?? [])).toEqual({ source: 'cpu_model', scope: 'process', quality: 'modelled' });
    expect(metricOf(request, 'sterna.device.frames').sum?.dataPoints.map(({ asDouble }) => asDouble)).toEqual([75, 150]);
  });

  it('loses nothing of a histogram: buckets and quantiles are those of the merged windows', async () => {
    const request = await sentByOtlp(exported(3));
    const metric = metricOf(request, 'sterna.device.latency');
    expect(metric).toMatchObject({ unit: 'ms', exponentialHistogram: { aggregationTemporality: 'CUMULATIVE' } });
    const points = metric.exponentialHistogram?.dataPoints.filter(({ attributes }) => named(attributes)['kind'] === 'warm') ?? [];
    const windows = [1, 2, 3].map((seq) => telemetry(seq, NOW + 5000 * seq));
    expect(points).toHaveLength(3);
    points.forEach((point, i) => {
      const sum = warm(windows.slice(0, i + 1));
      expect(point).toMatchObject({ count: countOf(sum), scale: 5, min: sum.min, max: sum.max, startTimeUnixNano: NOW * 1e6, timeUnixNano: (NOW + 5000 * (i + 1)) * 1e6 });
      expect(point.sum).toBeCloseTo(sum.sum, 9);
      expect(pointCounts(point)).toEqual(counts(sum));
      for (const q of [0, 0.01, 0.5, 0.9, 0.99, 0.999, 1]) expect(quantileOf(point, q)).toBe(quantile(sum, q));
    });
    expect(metricOf(request, 'sterna.device.stage_latency').exponentialHistogram?.dataPoints).toHaveLength(30);
  });

  it('does the same for any values, also zeros and counts beyond 32 bits', async () => {
    await fc.assert(fc.asyncProperty(fc.array(fc.tuple(fc.double({ min: 0, max: 1e8, noNaN: true }), fc.integer({ min: 1, max: 2 ** 40 })), { minLength: 1, maxLength: 40 }), async (values) => {
      const histogram = new Histogram();
      for (const [value, times] of values) histogram.record(value, times);
      const data = histogram.toData();
      const series = { clock: 'raw', kind: 'warm', latency_ms: data } as const;
      const request = await sentByOtlp(exported(1, { end_to_end: [series], stages: [] }));
      const [point] = metricOf(request, 'sterna.device.latency').exponentialHistogram?.dataPoints ?? [];
      if (point === undefined) throw new Error('no histogram was sent');
      expect({ count: point.count, zeros: point.zeroCount, counts: pointCounts(point) }).toEqual({ count: countOf(data), zeros: data.zero_count ?? 0, counts: counts(data) });
      for (const q of [0.5, 0.99]) expect(quantileOf(point, q)).toBe(quantile(data, q));
    }), { numRuns: 20 });
  });

  it('makes names of which Prometheus makes ours', () => {
    expect(['temperature_celsius', 'energy_joules_total', 'frames_total', 'latency_p99_seconds', 'resident_memory_bytes', 'latency_milliseconds', 'odd'].map((name) => [descriptorOf(name).name, descriptorOf(name).unit])).toEqual([
      ['sterna.device.temperature', 'Cel'], ['sterna.device.energy', 'J'], ['sterna.device.frames', ''], ['sterna.device.latency_p99', 's'], ['sterna.device.resident_memory', 'By'], ['sterna.device.latency', 'ms'], ['sterna.device.odd', ''],
    ]);
  });
});

describe('remote write', () => {
  const seriesOf = (device: DeviceExport, native: boolean): Map<string, ReturnType<typeof readWriteRequest>['timeseries'][number]> => {
    const { timeseries } = readWriteRequest(encodeWriteRequest([device], native));
    return new Map(timeseries.map((series) => [series.labels.map(({ name, value }) => `${name}=${value}`).join(','), series]));
  };

  it('has sorted labels without empty ones, and the samples of a series in the order of their times', () => {
    const all = seriesOf(exported(2, { model: null, counters: { 'outbox_dropped_total{class="summary"}': 3 } }), false);
    expect(all.get('__name__=sterna_device_temperature_celsius,device=door-1,fleet=demo')?.samples).toEqual([{ value: 51.5, timestamp: NOW + 5000 }, { value: 51.5, timestamp: NOW + 10_000 }]);
    expect(all.get('__name__=sterna_device_outbox_dropped_total,class=summary,device=door-1,fleet=demo')?.samples).toHaveLength(2);
    expect([...all.keys()].some((labels) => labels.includes('package='))).toBe(false);
    expect([...all.values()].every(({ labels }) => labels.every(({ name }, i) => i === 0 || (labels[i - 1]?.name ?? '') < name))).toBe(true);
    expect([...all.values()].every(({ histograms }) => histograms.length === 0)).toBe(true);
  });

  it('lets no counter of a device name another metric or another device', () => {
    const all = seriesOf(exported(1, { counters: { 'frames_total{__name__="up",device="door-9",fleet="other"}': 1 } }), false);
    expect([...all.keys()].filter((labels) => labels.includes('frames_total'))).toEqual(['__name__=sterna_device_frames_total,device=door-1,fleet=demo', '__name__=sterna_device_frames_total,device=door-1,fleet=demo,pipeline=main']);
    expect([...all.keys()].some((labels) => labels.includes('door-9') || labels.includes('other') || labels.includes('=up'))).toBe(false);
  });

  it('has every bucket of a native histogram, numbered as Prometheus does', () => {
    const series = [...seriesOf(exported(2), true)].find(([labels]) => labels.includes('=sterna_device_latency_milliseconds') && labels.includes('kind=warm'))?.[1];
    const sum = warm([1, 2].map((seq) => telemetry(seq, NOW)));
    const histogram = series?.histograms[1];
    expect(histogram).toMatchObject({ countInt: countOf(sum), schema: 5, zeroThreshold: 1e-6, zeroCountInt: 0, timestamp: NOW + 10_000 });
    const found: Record<number, number> = {};
    let [index, n, delta] = [0, 0, 0];
    for (const { offset, length } of histogram?.positiveSpans ?? []) {
      index += offset;
      for (let i = 0; i < length; i++) found[index++ - 1] = n += histogram?.positiveDeltas[delta++] ?? NaN;
    }
    expect(found).toEqual(counts(histogramSchema.parse(sum)));
    expect(delta).toBe(histogram?.positiveDeltas.length);
  });
});
