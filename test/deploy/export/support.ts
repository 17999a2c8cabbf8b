/** Receivers that tests decide about, and readers of what they got that know nothing of what wrote it: the published schemas, read by protobufjs's reflection. */
import { createServer } from 'node:http';
import { gunzipSync } from 'node:zlib';
import { createRequire } from 'node:module';
import protobuf from 'protobufjs';
import { onTestFinished } from 'vitest';
import { Histogram, type HistogramData, type TelemetryWindow } from '../../../agent/contracts/index.js';
import type { Received } from '../../../deploy/collector/fleet-store.js';
import { DOOR, caps, listenOn, telemetry } from '../fixtures.js';

export const NOW = 1_700_000_000_000;
export const windowOf = (seq: number, over: Parameters<typeof telemetry>[2] = {}, { device = DOOR.device, receivedMs = NOW }: { device?: string; receivedMs?: number } = {}): Received =>
  ({ message: { kind: 'telemetry', address: { fleet: DOOR.fleet, device }, value: telemetry(seq, over.end_ms ?? NOW + 1000 * seq, over) }, receivedMs });
export const capsOf = (device = DOOR.device): Received => ({ message: { kind: 'caps', address: { fleet: DOOR.fleet, device }, value: { ...caps(), labels: { site: 'north' } } }, receivedMs: NOW });

/** Of all windows: the raw warm latencies from end to end. */
export function warm(windows: readonly TelemetryWindow[]): HistogramData {
  const sum = new Histogram();
  for (const { pipelines } of windows) for (const { end_to_end } of pipelines) for (const { clock, kind, latency_ms } of end_to_end) if (clock === 'raw' && kind === 'warm') sum.merge(latency_ms);
  return sum.toData();
}

/** opentelemetry-proto 1.x: metrics/v1/metrics.proto, resource, common and collector/metrics/v1, as far as metrics of ours reach. */
const OTLP = `
syntax = "proto3";
message ExportMetricsServiceRequest { repeated ResourceMetrics resource_metrics = 1; }
message ResourceMetrics { Resource resource = 1; repeated ScopeMetrics scope_metrics = 2; string schema_url = 3; }
message Resource { repeated KeyValue attributes = 1; uint32 dropped_attributes_count = 2; }
message KeyValue { string key = 1; AnyValue value = 2; }
message AnyValue { oneof value { string string_value = 1; bool bool_value = 2; int64 int_value = 3; double double_value = 4; } }
message ScopeMetrics { InstrumentationScope scope = 1; repeated Metric metrics = 2; string schema_url = 3; }
message InstrumentationScope { string name = 1; string version = 2; }
message Metric { string name = 1; string description = 2; string unit = 3; oneof data { Gauge gauge = 5; Sum sum = 7; ExponentialHistogram exponential_histogram = 10; } }
message Gauge { repeated NumberDataPoint data_points = 1; }
enum AggregationTemporality { UNSPECIFIED = 0; DELTA = 1; CUMULATIVE = 2; }
message Sum { repeated NumberDataPoint data_points = 1; AggregationTemporality aggregation_temporality = 2; bool is_monotonic = 3; }
message ExponentialHistogram { repeated ExponentialHistogramDataPoint data_points = 1; AggregationTemporality aggregation_temporality = 2; }
message NumberDataPoint { repeated KeyValue attributes = 7; fixed64 start_time_unix_nano = 2; fixed64 time_unix_nano = 3; oneof value { double as_double = 4; sfixed64 as_int = 6; } uint32 flags = 8; }
message ExponentialHistogramDataPoint {
  repeated KeyValue attributes = 1; fixed64 start_time_unix_nano = 2; fixed64 time_unix_nano = 3; fixed64 count = 4; optional double sum = 5; sint32 scale = 6; fixed64 zero_count = 7;
  Buckets positive = 8; Buckets negative = 9; uint32 flags = 10; optional double min = 12; optional double max = 13; double zero_threshold = 14;
  message Buckets { sint32 offset = 1; repeated uint64 bucket_counts = 2; }
}
message ExportMetricsServiceResponse { ExportMetricsPartialSuccess partial_success = 1; }
message ExportMetricsPartialSuccess { int64 rejected_data_points = 1; string error_message = 2; }`;

/** prometheus/prompb: remote.proto and types.proto, as far as series of ours reach. */
const PROMPB = `
syntax = "proto3";
message WriteRequest { repeated TimeSeries timeseries = 1; }
message TimeSeries { repeated Label labels = 1; repeated Sample samples = 2; repeated Histogram histograms = 4; }
message Label { string name = 1; string value = 2; }
message Sample { double value = 1; int64 timestamp = 2; }
message Histogram {
  oneof count { uint64 count_int = 1; double count_float = 2; } double sum = 3; sint32 schema = 4; double zero_threshold = 5;
  oneof zero_count { uint64 zero_count_int = 6; double zero_count_float = 7; }
  repeated BucketSpan negative_spans = 8; repeated sint64 negative_deltas = 9; repeated BucketSpan positive_spans = 11; repeated sint64 positive_deltas = 12; int64 timestamp = 15;
}
message BucketSpan { sint32 offset = 1; uint32 length = 2; }`;

interface Attribute { key: string; value: { stringValue: string } }
export interface NumberPoint { attributes: Attribute[]; startTimeUnixNano: number; timeUnixNano: number; asDouble: number }
export interface HistogramPoint extends Omit<NumberPoint, 'asDouble'> { count: number; sum: number; scale: number; zeroCount: number; min: number; max: number; positive: { offset: number; bucketCounts: number[] } }
export interface OtlpMetric {
  name: string; unit: string;
  gauge?: { dataPoints: NumberPoint[] }; sum?: { dataPoints: NumberPoint[]; aggregationTemporality: string; isMonotonic: boolean };
  exponentialHistogram?: { dataPoints: HistogramPoint[]; aggregationTemporality: string };
}
export interface OtlpRequest { resourceMetrics: { resource: { attributes: Attribute[] }; scopeMetrics: { scope: { name: string }; metrics: OtlpMetric[] }[] }[] }
export interface WriteRequest {
  timeseries: {
    labels: { name: string; value: string }[]; samples: { value: number; timestamp: number }[];
    histograms: { countInt: number; sum: number; schema: number; zeroThreshold: number; zeroCountInt: number; positiveSpans: { offset: number; length: number }[]; positiveDeltas: number[]; timestamp: number }[];
  }[];
}

const decode = (schema: string, message: string, body: Uint8Array): unknown => {
  const type = protobuf.parse(schema).root.lookupType(message);
  return type.toObject(type.decode(body), { longs: Number, enums: String, arrays: true, defaults: true, oneofs: false });
};
export const readOtlp = (body: Uint8Array): OtlpRequest => decode(OTLP, 'ExportMetricsServiceRequest', body) as OtlpRequest;
export const readWriteRequest = (body: Uint8Array): WriteRequest => decode(PROMPB, 'WriteRequest', body) as WriteRequest;
const encodeAnswer = (fields: object): Uint8Array => {
  const type = protobuf.parse(OTLP).root.lookupType('ExportMetricsServiceResponse');
  return type.encode(type.fromObject(fields)).finish();
};

export const named = (attributes: readonly Attribute[]): Record<string, string> => Object.fromEntries(attributes.map(({ key, value }) => [key, value.stringValue]));

export interface Answer { status: number; headers?: Record<string, string>; partial?: { rejected: number; message: string } }

/** A receiver on loopback that answers as it is told, 200 otherwise. */
export async function scriptedServer(): Promise<{ url: string; answers: Answer[]; bodies: Uint8Array[]; requests: { path: string; headers: Record<string, unknown> }[] }> {
  const [answers, bodies, requests]: [Answer[], Uint8Array[], { path: string; headers: Record<string, unknown> }[]] = [[], [], []];
  const uncompress = (createRequire(import.meta.url)('snappyjs') as { uncompress(input: Uint8Array): Uint8Array }).uncompress;
  const server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part)).on('end', () => {
      const body = Buffer.concat(parts);
      bodies.push(request.headers['content-encoding'] === 'gzip' ? gunzipSync(body) : uncompress(body));
      requests.push({ path: request.url ?? '', headers: request.headers });
      const { status, headers = {}, partial } = answers.shift() ?? { status: 200 };
      response.writeHead(status, headers).end(partial === undefined ? '' : encodeAnswer({ partialSuccess: { rejectedDataPoints: partial.rejected, errorMessage: partial.message } }));
    });
  });
  const port = await listenOn(server);
  onTestFinished(() => { server.closeAllConnections(); server.close(); });
  return { url: `http://127.0.0.1:${port}/in`, answers, bodies, requests };
}
