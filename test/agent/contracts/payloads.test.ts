import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  commandSchema, ContractError, decodePayload, desiredSchema, encodePayload, jsonSchema, mergeable, mergeWindows, payloadSchemas, quantile, statusSchema,
  countOf, supersedes, telemetrySchema, withQuantiles, type PayloadName, type TelemetryWindow,
} from '../../../agent/contracts/index.js';
import { BOOT, desired, histogram, status, telemetryWindow } from './fixtures.js';

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
    expect(() => decodePayload(statusSchema, bytesOf({ ...status(), schema_version: 3 }))).toThrow(expect.objectContaining({ code: 'E_PAYLOAD_VERSION' }));
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
    const command = decodePayload(commandSchema, Buffer.from('{"schema_version":2,"id":"a","args":{"__proto__":{"x":1}},"__proto__":{"y":1}}'));
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

describe('an older reader', () => {
  const samples: Record<'status' | 'desired' | 'reported' | 'telemetry' | 'event', object> = {
    status: status(), desired: desired(), telemetry: telemetryWindow(1),
    reported: {
      schema_version: 2, boot_id: BOOT, time_ms: 1, clock_synchronized: true, last_error: null,
      faults: [{ pipeline: 'lidar', component: 'hologram', code: 'E_NEW', message: 'new' }],
      pipelines: [{
        name: 'lidar', input: 'lidar', generation_seen: 1, generation_applied: null, slots: { active: null, previous: null }, probation: false, settings: {},
        ota: { state: 'rehearsing', package: null, blocks_done: 0, blocks_total: 0, error: null },
      }],
    },
    event: {
      schema_version: 2, event_id: 'e1', boot_id: BOOT, time_ms: 1, clock_synchronized: true, backfill: false, pipeline: 'lidar', type: 'gesture', hand: { left: true },
    },
  };
  const names2 = Object.keys(samples) as (keyof typeof samples)[];

  it.each(names2)('%s: refuses version 1 with a code, and says which side is to be updated', (name) => {
    expect(() => decodePayload<unknown>(payloadSchemas[name], bytesOf({ ...samples[name], schema_version: 1 }))).toThrow(expect.objectContaining({ code: 'E_PAYLOAD_VERSION' }));
    expect(() => decodePayload<unknown>(payloadSchemas[name], bytesOf({ ...samples[name], schema_version: 1 }))).toThrow('Expected schema_version 2 but received 1; update the side that sent it');
    expect(() => decodePayload<unknown>(payloadSchemas[name], bytesOf({ ...samples[name], schema_version: 3 }))).toThrow('received 3; update this side');
  });

  it.each(names2)('%s: takes words that it does not know', (name) => {
    expect(decodePayload<unknown>(payloadSchemas[name], bytesOf(samples[name]))).toMatchObject(samples[name]);
  });

  it('takes states, kinds, stages, qualities, sensors and findings of newer devices, and passes them on', () => {
    expect(decodePayload(statusSchema, bytesOf({ ...status(), state: 'asleep' })).state).toBe('asleep');
    const window = telemetryWindow(1, {
      stages: [{ stage: 'depth_from_stereo', kind: 'tiled', ...withQuantiles(histogram(1)) }], end_to_end: [{ clock: 'wall', kind: 'tiled', ...withQuantiles(histogram(1)) }],
      energy: { sources: [{ source: 'usb_pd', scope: 'board', quality: 'guessed', joules: 1, joules_total: 1 }], inference: null },
    });
    expect(decodePayload(telemetrySchema, bytesOf(window))).toEqual(window);
    const finding = { type: 'pose', label: 'person', score: 0.5, joints: [[1, 2]] };
    const event = {
      ...samples.event, type: 'finding', action: 'waved', finding, frame: { sequence: 1, captured_ms: 1 }, stages_ms: {}, total_ms: 1, latency_ms: 1, model: { name: 'm', version: '1' },
    };
    expect(decodePayload(payloadSchemas.event, bytesOf(event))).toMatchObject({ action: 'waved', finding });
  });

  it('still refuses an event of a known type without its fields', () => {
    expect(() => decodePayload(payloadSchemas.event, bytesOf({ ...samples.event, type: 'fault' }))).toThrow(expect.objectContaining({ code: 'E_PAYLOAD' }));
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
    expect(merged).toMatchObject({ first_seq: 0, seq: 1, start_ms: 1_000_000, end_ms: 1_002_000, pipelines: [{ counters: { frames_total: 6 } }] });
    expect(merged.pipelines[0]?.stages[0]?.latency_ms).toEqual(histogram(1, 2, 3, 1, 2, 4));
    expect(merged.pipelines[0]?.jitter).toMatchObject({ deadlines: 6, deadlines_missed: 2 });
    expect(merged.energy.sources[0]).toMatchObject({ joules: 4, joules_total: 4 });
    expect(merged.thermal).toMatchObject({ throttled: true, zones: [{ celsius_max: 51 }] });
    expect(merged.memory.rss_peak_bytes).toBe(2000);
  });

  it('derive delay variation from the merged latencies', () => {
    const merged = mergeWindows(telemetryWindow(0), telemetryWindow(1));
    const latency = merged.pipelines[0]?.end_to_end[0]?.latency_ms ?? histogram();
    expect(merged.pipelines[0]?.jitter.pdv_p99_ms).toBeCloseTo((quantile(latency, 0.99) ?? NaN) - latency.min, 4);
  });

  it('carry p50 and p99 in plain numbers beside each histogram, also when merged', () => {
    expect(decodePayload(telemetrySchema, encodePayload(telemetrySchema, telemetryWindow(7))).pipelines[0]?.stages[0]).toMatchObject({ stage: 'detect', p50_ms: 1.978, p99_ms: 10 }); // the middle of the bucket of 2
    const [merged] = mergeWindows(telemetryWindow(0), telemetryWindow(50)).pipelines;
    for (const series of [...merged?.stages ?? [], ...merged?.end_to_end ?? []]) {
      expect(series.p50_ms).toBeCloseTo(quantile(series.latency_ms, 0.5) ?? NaN, 2);
      expect(series.p99_ms).toBeCloseTo(quantile(series.latency_ms, 0.99) ?? NaN, 1);
    }
    expect(withQuantiles(histogram())).toMatchObject({ p50_ms: null, p99_ms: null });
  });

  it('merge pipeline by pipeline, and stay apart when one of them runs another package', () => {
    const two = (seq: number, version = '1.0.0'): TelemetryWindow => {
      const [front] = telemetryWindow(seq, { name: 'front' }).pipelines;
      const [back] = telemetryWindow(seq + 10, { name: 'back', model: { name: 'people', version } }).pipelines;
      if (front === undefined || back === undefined) throw new Error('the fixture has a pipeline');
      return { ...telemetryWindow(seq), pipelines: [front, back] };
    };
    expect(mergeWindows(two(0), two(1)).pipelines.map(({ name, end_to_end: [first] }) => [name, first === undefined ? 0 : countOf(first.latency_ms), first?.latency_ms.max])).toEqual([['front', 4, 20], ['back', 4, 21]]);
    expect([mergeable(two(0), two(1)), mergeable(two(0), two(1, '2.0.0')), mergeable(two(0), telemetryWindow(1))]).toEqual([true, false, false]);
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
