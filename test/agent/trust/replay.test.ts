/** Reports that a broker sends again: they change nothing on the device, and the fleet side knows that they are old. */
import { randomUUID } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { deviceTopic, encodePayload, reportedSchema, type Reported, type Response } from '../../../agent/contracts/index.js';
import { KnownDevices } from '../../../deploy/publish/devices.js';
import { until } from '../support/tools.js';
import { fakeItem, TrustBench } from './bench.js';
import { packageBytes } from '../support/fake-runtime.js';
import { ADDRESS, digestOf } from './fleet.js';

/** Without the fields that this side's helper has put beside those of the device. */
const payloadOf = (report: Reported): Buffer => encodePayload(reportedSchema, reportedSchema.parse(report));

describe('a replayed report', () => {
  it('OTA-046: changes nothing on a device, and is refused by the fleet side', async () => {
    const bench = await TrustBench.start();
    const good = bench.side.reported.at(-1);
    if (good === undefined) throw new Error('no report');
    await bench.install(fakeItem('2.0.0', 2));
    const fleet = new KnownDevices('test');
    const topic = { kind: 'reported' } as const;
    for (const report of bench.side.reported) fleet.note('door', topic, payloadOf(report));
    expect(fleet.get('door').reported?.pipelines[0]?.slots.active?.version).toBe('2.0.0');
    // The broker sends what the device said while it ran 1.0.0, to the fleet side and to the device itself.
    expect(() => fleet.note('door', topic, payloadOf(good))).toThrow(expect.objectContaining({ code: 'E_REPORT_REPLAYED' }) as Error);
    expect(fleet.get('door').reported?.pipelines[0]?.slots.active?.version).toBe('2.0.0');
    const runs = (): unknown => (bench.agent.status()['pipelines'] as { model: { version: string } | null }[])[0]?.model?.version;
    await until('the switch is done', () => runs() === '2.0.0'); // It is reported when it is decided.
    const frames = bench.frames;
    await bench.side.client.publishAsync(deviceTopic(bench.side.address, topic), payloadOf(good), { qos: 1, retain: true });
    await until('frames are processed', () => bench.frames > frames);
    expect(runs()).toBe('2.0.0');
  });

  it('OTA-046: is known also after a restart of the device, and the newest report may come twice', async () => {
    const bench = await TrustBench.start();
    const before = bench.side.reported.at(-1);
    await bench.agent.stop();
    await bench.boot();
    const after = bench.side.reported.at(-1);
    if (before === undefined || after === undefined) throw new Error('no report');
    expect(after.boot_id).not.toBe(before.boot_id);
    const fleet = new KnownDevices('test');
    for (const report of [after, after]) fleet.note('door', { kind: 'reported' }, payloadOf(report));
    expect(() => fleet.note('door', { kind: 'reported' }, payloadOf(before))).toThrow(expect.objectContaining({ code: 'E_REPORT_REPLAYED' }) as Error);
    // An agent that does not number its reports yet, after a downgrade.
    const { order: _, ...plain } = after;
    expect(fleet.note('door', { kind: 'reported' }, payloadOf({ ...plain, boot_id: 'boot-of-another' }))).not.toBeNull();
  });
});

describe('a fleet side that was killed and tells again what it may have told', () => {
  it('OTA-047: the same generation again, signed anew, changes nothing, whether the package was taken or refused', async () => {
    const bench = await TrustBench.start();
    const [good, poor] = [fakeItem('2.0.0', 2), { ...fakeItem('3.0.0', 3), bytes: packageBytes({ name: 'faces', version: '3.0.0', golden: false }) }];
    await bench.install(good);
    bench.offer(poor);
    bench.fleet.add(poor);
    const refused = bench.next();
    await bench.side.desire(bench.fleet.desired(refused, poor));
    await bench.side.untilReported('it is rejected', (r) => r.generation_seen === refused && r.ota.state === 'rejected');
    const before = bench.side.reported.at(-1);
    const [requests, opened] = [bench.side.requests.length, bench.runtime.opened.length];
    bench.fleet.nowMs += 5000;
    await bench.side.desire(bench.fleet.desired(refused, poor));
    // What follows is taken, so the repetition was read before.
    const next = bench.next();
    await bench.side.desire(bench.fleet.desired(next, null));
    await bench.side.untilReported('the next one is seen', (r) => r.generation_seen === next);
    await bench.side.desire(bench.fleet.desired(next, null));
    const frames = bench.frames;
    await until('frames are processed', () => bench.frames > frames);
    expect(bench.side.reported.at(-1)?.slots).toEqual(before?.slots);
    expect(bench.side.reported.at(-1)?.refused).toBeNull();
    expect({ requests: bench.side.requests.length, opened: bench.runtime.opened.length }).toEqual({ requests, opened });
  });

  it('OTA-056: a command to leave a package is carried out only while that package runs', async () => {
    const bench = await TrustBench.start();
    const two = fakeItem('2.0.0', 2);
    await bench.install(two);
    const back = async (args: Record<string, unknown>): Promise<Response> => {
      const statement = { ...ADDRESS, command: 'rollback', id: randomUUID(), pipeline: null, args, issued_ms: bench.nowMs, expires_ms: bench.nowMs + 60_000 };
      return bench.command(statement, bench.fleet.director.command(statement));
    };
    expect(await back({ from: 'ab'.repeat(32) })).toMatchObject({ ok: true, result: { active: { version: '2.0.0' } } });
    for (let i = 0; i < 2; i++) expect(await back({ from: digestOf(two.bytes) })).toMatchObject({ ok: true, result: { active: { version: '1.0.0' } } });
    expect(await back({ from: 'two' })).toMatchObject({ ok: false, code: 'E_COMMAND' });
    expect(await back({})).toMatchObject({ ok: false, code: 'E_OTA_NO_PREVIOUS' });
  });
});
