/**
 * Prometheus remote write 1.0 (https://prometheus.io/docs/specs/prw/remote_write_spec/): a WriteRequest of prometheus/prompb in snappy's block format. Fields are
 * written by protobufjs's writer, as the runtime writes ONNX: the messages are few, and reflection would load and compile for longer than they take to send.
 */
import { createRequire } from 'node:module';
import protobuf from 'protobufjs/minimal.js';
import { countOf, eachBucket, HISTOGRAM_SCALE, ZERO_THRESHOLD } from '../../agent/contracts/index.js';
import { DEVICE_PREFIX, seriesKey } from '../collector/device-samples.js';
import { isSuccess, Poster, refusal, type DeviceExport, type PostOptions, type Receiver, type Verdict } from './receiver.js';
import type { LatencyTotal } from './device-state.js';

export interface RemoteWriteOptions extends PostOptions {
  /** Whether latencies are also sent as native histograms, which the receiver has to know. */
  nativeHistograms: boolean;
}

interface TimeSeries {
  name: string;
  labels: Readonly<Record<string, string>>;
  samples: { value: number; timeMs: number }[];
  histograms: { total: LatencyTotal; timeMs: number }[];
}

/** Fields of prompb/types.proto and prompb/remote.proto. */
const FIELD = {
  timeSeries: 1, labels: 1, samples: 2, histograms: 4, labelName: 1, labelValue: 2, sampleValue: 1, sampleTime: 2,
  count: 1, sum: 3, schema: 4, zeroThreshold: 5, zeroCount: 6, positiveSpans: 11, positiveDeltas: 12, histogramTime: 15, spanOffset: 1, spanLength: 2,
} as const;
const [VARINT, FIXED64, BYTES] = [0, 1, 2];
const tag = (field: number, wire: number): number => (field << 3) | wire;

export class RemoteWriteReceiver implements Receiver {
  readonly name = 'The receiver of remote write';
  readonly #poster: Poster;
  readonly #native: boolean;
  readonly #compress = (createRequire(import.meta.url)('snappyjs') as { compress(input: Uint8Array): Uint8Array }).compress;

  constructor(options: RemoteWriteOptions) {
    // The specification: retry on 5xx, on 429 if one likes, and on nothing else.
    this.#poster = new Poster(this.name, options, (status) => status >= 500 || status === 429);
    this.#native = options.nativeHistograms;
  }

  async send(devices: readonly DeviceExport[]): Promise<Verdict> {
    const body = this.#compress(encodeWriteRequest(devices, this.#native));
    const answer = await this.#poster.post(body, {
      'Content-Type': 'application/x-protobuf', 'Content-Encoding': 'snappy', 'X-Prometheus-Remote-Write-Version': '0.1.0', 'User-Agent': 'sterna-fleet',
    });
    return isSuccess(answer.status) ? { taken: true, rejectedPoints: 0, message: '' } : refusal(answer.status, answer.body);
  }
}

/** A WriteRequest: a series has its samples in the order of their times, and its labels in the order of their names, as the specification wants. */
export function encodeWriteRequest(devices: readonly DeviceExport[], nativeHistograms: boolean): Uint8Array {
  const writer = protobuf.Writer.create();
  for (const series of devices.flatMap((device) => seriesOf(device, nativeHistograms))) {
    writer.uint32(tag(FIELD.timeSeries, BYTES)).fork();
    const labels = Object.entries({ ...series.labels, __name__: DEVICE_PREFIX + series.name }).filter(([, value]) => value !== '');
    for (const [name, value] of labels.sort(([a], [b]) => (a < b ? -1 : 1))) {
      writer.uint32(tag(FIELD.labels, BYTES)).fork().uint32(tag(FIELD.labelName, BYTES)).string(name).uint32(tag(FIELD.labelValue, BYTES)).string(value).ldelim();
    }
    for (const { value, timeMs } of series.samples) {
      writer.uint32(tag(FIELD.samples, BYTES)).fork().uint32(tag(FIELD.sampleValue, FIXED64)).double(value).uint32(tag(FIELD.sampleTime, VARINT)).int64(timeMs).ldelim();
    }
    for (const { total, timeMs } of series.histograms) {
      writer.uint32(tag(FIELD.histograms, BYTES)).fork();
      writeHistogram(writer, total, timeMs);
      writer.ldelim();
    }
    writer.ldelim();
  }
  return writer.finish();
}

function seriesOf({ moments }: DeviceExport, nativeHistograms: boolean): TimeSeries[] {
  const found = new Map<string, TimeSeries>();
  const of = (named: Pick<TimeSeries, 'name' | 'labels'>): TimeSeries => {
    const key = seriesKey(named);
    const series = found.get(key) ?? { name: named.name, labels: named.labels, samples: [], histograms: [] };
    found.set(key, series);
    return series;
  };
  for (const { timeMs, samples, latencies } of moments) {
    for (const sample of samples) of(sample).samples.push({ value: sample.value, timeMs });
    if (nativeHistograms) for (const total of latencies) of(total).histograms.push({ total, timeMs });
  }
  return [...found.values()];
}

/**
 * A native histogram. Its bucket i holds (base^(i-1), base^i], where OpenTelemetry and this project say (base^i, base^(i+1)]: the same buckets, one number on.
 * Counts are differences to the bucket before, and runs of buckets are spans with the gap before them.
 */
function writeHistogram(writer: protobuf.Writer, { histogram }: LatencyTotal, timeMs: number): void {
  const spans: { offset: number; length: number }[] = [];
  const deltas: number[] = [];
  let [end, before] = [0, 0];
  eachBucket(histogram, (bucket, n) => {
    const index = bucket + 1;
    const last = spans.at(-1);
    if (last !== undefined && index === end) last.length += 1;
    else spans.push({ offset: index - end, length: 1 });
    end = index + 1;
    deltas.push(n - before);
    before = n;
  });
  writer.uint32(tag(FIELD.count, VARINT)).uint64(countOf(histogram)).uint32(tag(FIELD.sum, FIXED64)).double(histogram.sum);
  writer.uint32(tag(FIELD.schema, VARINT)).sint32(HISTOGRAM_SCALE).uint32(tag(FIELD.zeroThreshold, FIXED64)).double(ZERO_THRESHOLD);
  writer.uint32(tag(FIELD.zeroCount, VARINT)).uint64(histogram.zero_count ?? 0);
  for (const { offset, length } of spans) {
    writer.uint32(tag(FIELD.positiveSpans, BYTES)).fork().uint32(tag(FIELD.spanOffset, VARINT)).sint32(offset).uint32(tag(FIELD.spanLength, VARINT)).uint32(length).ldelim();
  }
  writer.uint32(tag(FIELD.positiveDeltas, BYTES)).fork();
  for (const delta of deltas) writer.sint64(delta);
  writer.ldelim().uint32(tag(FIELD.histogramTime, VARINT)).int64(timeMs);
}
