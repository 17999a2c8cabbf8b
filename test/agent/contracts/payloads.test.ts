import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  commandSchema, ContractError, decodePayload, desiredSchema, encodePayload, jsonSchema, mergeable, mergeWindows, payloadSchemas, quantile, statusSchema,
  supersedes, telemetrySchema, withQuantiles, type PayloadName, type TelemetryWindow,
} from '../../../agent/contracts/index.js';
import { desired, histogram, status, telemetryWindow } from './fixtures.js';

const names = Object.keys(payloadSchemas) as PayloadName[];
const bytesOf = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

describe('payloads', () => {
  it('come back as they were sent', () => {
    expect(decodePayload(statusSchema, encodePayload(statusSchema, status()))).toEqual(status());
    expect(decodePayload(desiredSchema, encodePayload(desiredSchema, desired()))).toEqual(desired());
    expect(decodePayload(telemetrySchema, encodePayload(telemetrySchema, telemetryWindow(1)))).toEqual(telemetryWindow(1));
  });

  it('ignore unknown fields', () => {
    expect(decodePayload(statusSchema, bytesOf({ ...status(), later: { a: 1 } }))).toEqual(status());
  });

  it('refuse unknown schema versions with their own code', () => {
    expect(() => decodePayload(statusSchema, bytesOf({ ...status(), schema_version: 2 }))).toThrow(expect.objectContaining({ code: 'E_PAYLOAD_VERSION' }));
  });

  it('refuse a missing version, and name the field', () => {
    const { schema_version: _, ...rest } = status();
    expect(() => decodePayload(statusSchema, bytesOf(rest))).toThrow(/schema_version/);
  });

  it('refuse more than the protocol allows, before parsing', () => {
    expect(() => decodePayload(statusSchema, Buffer.alloc(128 * 1024 + 1, 0x20))).toThrow(expect.objectContaining({ code: 'E_PAYLOAD_SIZE' }));
  });

  it.each(names)('%s: hostile bytes cause only our errors', (name) => {
    const hostile = fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.json().map((json) => Buffer.from(json)), fc.constant(Buffer.from('['.repeat(60_000))));
    fc.assert(fc.property(hostile, (payload) => {
      expect(() => decodePayload<unknown>(payloadSchemas[name], payload)).toThrow(ContractError);
    }));
  });

  it('do not let a prototype in', () => {
    const command = decodePayload(commandSchema, Buffer.from('{"schema_version":1,"id":"a","args":{"__proto__":{"x":1}},"__proto__":{"y":1}}'));
    expect(Object.getPrototypeOf(command)).toBe(Object.prototype);
    expect('x' in {}).toBe(false);
  });

  it('are not sent when their own schema refuses them', () => {
    expect(() => encodePayload(statusSchema, status({ birth_seq: -1 }))).toThrow(expect.objectContaining({ code: 'E_PAYLOAD' }));
  });

  it.each(names)('%s: the published JSON Schema is the one in the code', async (name) => {
    // `npx vitest run test/agent/contracts -u` writes the files after an intended change.
    await expect(`${JSON.stringify(jsonSchema(name), null, 2)}\n`).toMatchFileSnapshot(`../../../agent/contracts/json-schema/${name}.json`);
  });
});

describe('status', () => {
  it('ignores the late will of an older connection', () => {
    const birth = status({ birth_seq: 4 });
    expect(supersedes(status({ state: 'offline', birth_seq: 3 }), birth)).toBe(false);
    expect(supersedes(status({ state: 'offline', birth_seq: 4 }), birth)).toBe(true);
    expect(supersedes(birth, null)).toBe(true);
  });
});

describe('telemetry windows', () => {
  it('merge without losing a frame', () => {
    const merged = mergeWindows(telemetryWindow(0), telemetryWindow(1));
    expect(telemetrySchema.parse(merged)).toEqual(merged);
    expect(merged).toMatchObject({ first_seq: 0, seq: 1, start_ms: 1_000_000, end_ms: 1_002_000, counters: { frames_total: 6 } });
    expect(merged.stages[0]?.latency_ms).toEqual(histogram(1, 2, 3, 1, 2, 4));
    expect(merged.jitter).toMatchObject({ deadlines: 6, deadlines_missed: 2 });
    expect(merged.energy.sources[0]).toMatchObject({ joules: 4, joules_total: 4 });
    expect(merged.thermal).toMatchObject({ throttled: true, zones: [{ celsius_max: 51 }] });
    expect(merged.memory.rss_peak_bytes).toBe(2000);
  });

  it('derive delay variation from the merged latencies', () => {
    const merged = mergeWindows(telemetryWindow(0), telemetryWindow(1));
    const latency = merged.end_to_end[0]?.latency_ms ?? histogram();
    expect(merged.jitter.pdv_p99_ms).toBeCloseTo((quantile(latency, 0.99) ?? NaN) - latency.min, 9);
  });

  it('carry p50 and p99 in plain numbers beside each histogram, also when merged, and are read without them', () => {
    const plain = (seq: number): TelemetryWindow => {
      const window = telemetryWindow(seq);
      return { ...window, stages: window.stages.map((s) => ({ ...s, ...withQuantiles(s.latency_ms) })), end_to_end: window.end_to_end.map((s) => ({ ...s, ...withQuantiles(s.latency_ms) })) };
    };
    expect(decodePayload(telemetrySchema, encodePayload(telemetrySchema, plain(7))).stages[0]).toMatchObject({ stage: 'detect', p50_ms: 1.978, p99_ms: 10 }); // the middle of the bucket of 2
    const merged = mergeWindows(plain(0), plain(50));
    for (const series of [...merged.stages, ...merged.end_to_end]) {
      expect(series.p50_ms).toBeCloseTo(quantile(series.latency_ms, 0.5) ?? NaN, 2);
      expect(series.p99_ms).toBeCloseTo(quantile(series.latency_ms, 0.99) ?? NaN, 1);
    }
    expect(decodePayload(telemetrySchema, encodePayload(telemetrySchema, telemetryWindow(1))).stages[0]).not.toHaveProperty('p50_ms');
  });

  it('are associative in everything that adds up', () => {
    const [a, b, c] = [telemetryWindow(0), telemetryWindow(1), telemetryWindow(2)];
    expect(mergeWindows(mergeWindows(a, b), c)).toEqual(mergeWindows(a, mergeWindows(b, c)));
  });

  it('of different lives or models stay apart', () => {
    expect(mergeable(telemetryWindow(0), telemetryWindow(1))).toBe(true);
    expect(mergeable(telemetryWindow(1), telemetryWindow(0))).toBe(false);
    expect(mergeable(telemetryWindow(0), telemetryWindow(1, { boot_id: 'another-boot' }))).toBe(false);
    expect(mergeable(telemetryWindow(0), telemetryWindow(1, { model: { name: 'faces', version: '2.0.0' } }))).toBe(false);
  });
});
