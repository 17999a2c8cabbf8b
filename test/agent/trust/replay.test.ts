/** Reports that a broker sends again: they change nothing on the device, and the fleet side knows that they are old. */
import { describe, expect, it } from 'vitest';
import { deviceTopic, encodePayload, reportedSchema, type Reported } from '../../../agent/contracts/index.js';
import { KnownDevices } from '../../../deploy/publish/devices.js';
import { until } from '../support/tools.js';
import { fakeItem, TrustBench } from './bench.js';

/** Without the fields that this side's helper has put beside those of the device. */
const payloadOf = (report: Reported): Buffer => encodePayload(reportedSchema, reportedSchema.parse(report));

describe('a replayed report', () => {
  it('OTA-046: changes nothing on a device, and is refused by the fleet side', async () => {
    const bench = await TrustBench.start();
    const good = bench.side.reported.at(-1);
    if (good === undefined) throw new Error('no report');
    await bench.install(fakeItem('2.0.0', 2));
    const fleet = new KnownDevices();
    const topic = { kind: 'reported' } as const;
    for (const report of bench.side.reported) fleet.note('door', topic, payloadOf(report));
    expect(fleet.get('door').reported?.pipelines[0]?.slots.active?.version).toBe('2.0.0');
    // The broker sends what the device said while it ran 1.0.0, to the fleet side and to the device itself.
    expect(() => fleet.note('door', topic, payloadOf(good))).toThrow(expect.objectContaining({ code: 'E_REPORT_REPLAYED' }) as Error);
    expect(fleet.get('door').reported?.pipelines[0]?.slots.active?.version).toBe('2.0.0');
    const frames = bench.frames;
    await bench.side.client.publishAsync(deviceTopic(bench.side.address, topic), payloadOf(good), { qos: 1, retain: true });
    await until('frames are processed', () => bench.frames > frames);
    expect(bench.agent.status()).toMatchObject({ pipelines: [{ model: { version: '2.0.0' } }] });
  });

  it('OTA-046: is known also after a restart of the device, and the newest report may come twice', async () => {
    const bench = await TrustBench.start();
    const before = bench.side.reported.at(-1);
    await bench.agent.stop();
    await bench.boot();
    const after = bench.side.reported.at(-1);
    if (before === undefined || after === undefined) throw new Error('no report');
    expect(after.boot_id).not.toBe(before.boot_id);
    const fleet = new KnownDevices();
    for (const report of [after, after]) fleet.note('door', { kind: 'reported' }, payloadOf(report));
    expect(() => fleet.note('door', { kind: 'reported' }, payloadOf(before))).toThrow(expect.objectContaining({ code: 'E_REPORT_REPLAYED' }) as Error);
    // An agent that does not number its reports yet, after a downgrade.
    const { order: _, ...plain } = after;
    expect(fleet.note('door', { kind: 'reported' }, payloadOf({ ...plain, boot_id: 'boot-of-another' }))).not.toBeNull();
  });
});
