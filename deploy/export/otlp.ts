/**
 * OTLP/HTTP by OpenTelemetry's serializer. Histograms of devices are exponential histograms of scale 5 already, so they are sent as they are: no value is put into
 * another bucket on the way, and a quantile of the receiver is a quantile of the device.
 */
import { promisify } from 'node:util';
import { gzip as gzipCallback } from 'node:zlib';
import type { ValueType } from '@opentelemetry/api';
import type * as transformer from '@opentelemetry/otlp-transformer';
import type { AggregationTemporality, DataPoint, DataPointType, ExponentialHistogram, MetricData, MetricDescriptor, ResourceMetrics } from '@opentelemetry/sdk-metrics';
import { countOf, eachBucket, HISTOGRAM_SCALE, type HistogramData } from '../../agent/contracts/index.js';
import { requireOptional } from '../../runtime/optional-package.js';
import { DEVICE_PREFIX } from '../collector/device-samples.js';
import type { HostFacts } from './device-state.js';
import { isSuccess, Poster, refusal, type DeviceExport, type PostOptions, type Receiver, type Verdict } from './receiver.js';

const gzip = promisify(gzipCallback);

/** Numbers of OpenTelemetry's enumerations, whose packages only the serializer loads. A test compares them. */
const GAUGE = 2 as DataPointType.GAUGE, SUM = 3 as DataPointType.SUM, EXPONENTIAL_HISTOGRAM = 1 as DataPointType.EXPONENTIAL_HISTOGRAM;
const CUMULATIVE = 1 as AggregationTemporality.CUMULATIVE;
const DOUBLE = 1 as ValueType.DOUBLE;

/** Of OTLP/HTTP, "Retryable Response Codes": no others. */
const RETRYABLE: ReadonlySet<number> = new Set([429, 502, 503, 504]);

/** What is at the end of a name of Prometheus, as a unit of OpenTelemetry (UCUM). Receivers that make names of Prometheus of it arrive at the same ones. */
const UNITS: readonly [suffix: string, unit: string][] = [['_milliseconds', 'ms'], ['_seconds', 's'], ['_bytes', 'By'], ['_joules', 'J'], ['_celsius', 'Cel']];

/** Semantic conventions, host.arch. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm: 'arm32', ia32: 'x86' };

export class OtlpReceiver implements Receiver {
  readonly name = 'The OTLP receiver';
  readonly #poster: Poster;
  readonly #serializer: typeof transformer.ProtobufMetricsSerializer;

  /** @throws RuntimeError E_DEPENDENCY without the package @opentelemetry/otlp-transformer */
  constructor(options: PostOptions) {
    this.#serializer = (requireOptional('@opentelemetry/otlp-transformer', 'The export by OTLP') as typeof transformer).ProtobufMetricsSerializer;
    this.#poster = new Poster(this.name, options, (status) => RETRYABLE.has(status));
  }

  /** One request for all devices: protobuf messages one after another are one message, with the repeated fields of all. */
  async send(devices: readonly DeviceExport[]): Promise<Verdict> {
    const body = Buffer.concat(devices.map((device) => this.#serializer.serializeRequest(resourceMetrics(device)) ?? new Uint8Array()));
    const answer = await this.#poster.post(await gzip(body), { 'Content-Type': 'application/x-protobuf', 'Content-Encoding': 'gzip', 'User-Agent': 'sterna-fleet' });
    if (!isSuccess(answer.status)) return refusal(answer.status, answer.body);
    const partial = this.#partial(answer.body);
    return { taken: true, rejectedPoints: Number(partial?.rejectedDataPoints ?? 0), message: partial?.errorMessage ?? '' };
  }

  /** A success is a success, whatever its body is: some receivers answer with none, or in JSON. */
  #partial(body: Uint8Array): { rejectedDataPoints?: number; errorMessage?: string } | undefined {
    try {
      return this.#serializer.deserializeResponse(body).partialSuccess;
    } catch {
      return undefined;
    }
  }
}

/** A device as OpenTelemetry's resource, with its metrics. */
export function resourceMetrics({ address, host, moments }: DeviceExport): ResourceMetrics {
  const attributes = attributesOf(address, host);
  const [gauges, counters, histograms] = [new Points<number>(), new Points<number>(), new Points<ExponentialHistogram>()];
  for (const { timeMs, countersSinceMs, samples, latencies } of moments) {
    for (const { name, kind, labels, value } of samples) {
      if (kind === 'gauge') gauges.add(name, labels, { sinceMs: timeMs, timeMs, value });
      else counters.add(name, labels, { sinceMs: countersSinceMs, timeMs, value });
    }
    for (const { name, labels, histogram, sinceMs } of latencies) histograms.add(name, labels, { sinceMs, timeMs, value: exponential(histogram) });
  }
  const metrics: MetricData[] = [
    ...gauges.map((descriptor, dataPoints) => ({ descriptor, dataPoints, aggregationTemporality: CUMULATIVE, dataPointType: GAUGE })),
    ...counters.map((descriptor, dataPoints) => ({ descriptor, dataPoints, aggregationTemporality: CUMULATIVE, dataPointType: SUM, isMonotonic: true })),
    ...histograms.map((descriptor, dataPoints) => ({ descriptor, dataPoints, aggregationTemporality: CUMULATIVE, dataPointType: EXPONENTIAL_HISTOGRAM })),
  ];
  const resource: ResourceMetrics['resource'] = { attributes, merge: () => resource, getRawAttributes: () => Object.entries(attributes) };
  return { resource, scopeMetrics: [{ scope: { name: 'sterna' }, metrics }] };
}

/** Points of one kind, by the name of their metric. */
class Points<T> {
  readonly #byName = new Map<string, DataPoint<T>[]>();

  add(name: string, labels: Readonly<Record<string, string>>, { sinceMs, timeMs, value }: { sinceMs: number; timeMs: number; value: T }): void {
    const points = this.#byName.get(name) ?? [];
    this.#byName.set(name, points);
    points.push({ startTime: hrTime(sinceMs), endTime: hrTime(timeMs), attributes: attributesFrom(labels), value });
  }

  map<M>(make: (descriptor: MetricDescriptor, points: DataPoint<T>[]) => M): M[] {
    return [...this.#byName].map(([name, points]) => make(descriptorOf(name), points));
  }
}

/** By the semantic conventions: service.*, device.*, host.arch, os.type; labels of the configuration as `sterna.label.*`. */
function attributesOf({ fleet, device }: DeviceExport['address'], host: HostFacts | null): Record<string, string> {
  return {
    'service.name': 'sterna', 'service.namespace': fleet, 'service.instance.id': device, 'device.id': device,
    ...(host === null ? {} : {
      'service.version': host.version, 'host.arch': ARCHITECTURES[host.machine.arch] ?? host.machine.arch, 'os.type': host.machine.os, 'device.model.name': host.machine.model,
      ...Object.fromEntries(Object.entries(host.labels ?? {}).map(([name, value]) => [`sterna.label.${name}`, value])),
    }),
  };
}

/** The address of a device is in the resource already. */
const attributesFrom = ({ fleet: _fleet, device: _device, ...labels }: Readonly<Record<string, string>>): Record<string, string> => labels;

/** `temperature_celsius` is `sterna.device.temperature` in `Cel`; the end of a counter, `_total`, belongs to Prometheus only. */
export function descriptorOf(name: string): MetricDescriptor {
  const base = name.replace(/_total$/, '');
  const [suffix, unit] = UNITS.find(([end]) => base.endsWith(end)) ?? ['', ''];
  return { name: DEVICE_PREFIX.replaceAll('_', '.') + base.slice(0, base.length - suffix.length), description: '', unit, valueType: DOUBLE };
}

function exponential(histogram: HistogramData): ExponentialHistogram {
  let offset: number | null = null;
  const bucketCounts: number[] = [];
  eachBucket(histogram, (index, n) => {
    offset ??= index;
    while (bucketCounts.length < index - offset) bucketCounts.push(0);
    bucketCounts.push(n);
  });
  return {
    scale: HISTOGRAM_SCALE, count: countOf(histogram), sum: histogram.sum, min: histogram.min, max: histogram.max, zeroCount: histogram.zero_count ?? 0,
    positive: { offset: offset ?? 0, bucketCounts }, negative: { offset: 0, bucketCounts: [] },
  };
}

/** OpenTelemetry's time: seconds, and nanoseconds of the second. */
const hrTime = (ms: number): [number, number] => [Math.floor(ms / 1000), (ms % 1000) * 1e6];
