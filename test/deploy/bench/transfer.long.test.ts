import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { throughputBars } from '../../../deploy/bench/transfer/throughput.js';
import { BAD_LINK, installOver } from '../../../deploy/bench/transfer/link.js';
import { PacketSplitter, publishOf } from '../../../deploy/bench/transfer/packets.js';
import { captureCli } from '../cli/capture.js';
import { nativeMissing } from '../../runtime/support/native.js';

/** A PUBLISH as in MQTT 3.1.1, section 3.3. */
function publish(topic: string, qos: 0 | 1, id: number, payload: Uint8Array): Buffer {
  const name = Buffer.from(topic);
  const body = Buffer.concat([Buffer.from([name.length >> 8, name.length & 0xff]), name, qos === 0 ? Buffer.alloc(0) : Buffer.from([id >> 8, id & 0xff]), payload]);
  const length: number[] = [];
  for (let rest = body.length; length.length === 0 || rest > 0; rest >>= 7) length.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0));
  return Buffer.concat([Buffer.from([0x30 | (qos << 1), ...length]), body]);
}

describe('packets on a link', () => {
  it('are found whole, however the stream is cut', () => {
    const packets = [publish('a/ota/block/1', 1, 513, new Uint8Array(70_000)), Buffer.from([0xc0, 0]), publish('b', 0, 0, new Uint8Array(200))];
    const stream = Buffer.concat(packets);
    fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: stream.length - 1 }), { maxLength: 8 }), (cuts) => {
      const splitter = new PacketSplitter();
      const places = [0, ...cuts.sort((x, y) => x - y), stream.length];
      const found = places.slice(1).flatMap((end, i) => splitter.push(stream.subarray(places[i], end)));
      expect(found.map((packet) => packet.toString('hex'))).toEqual(packets.map((packet) => packet.toString('hex')));
    }), { numRuns: 30 });
    expect(packets.map((packet) => publishOf(packet))).toEqual([{ topic: 'a/ota/block/1', qos: 1, id: 513 }, null, { topic: 'b', qos: 0, id: 0 }]);
  });
});

describe.skipIf(nativeMissing !== undefined)('a bad link to a real daemon', () => {
  it('brings a package of 5 MB, and sends again only what was lost or was on the way at a cut', async () => {
    const link = { ...BAD_LINK, roundTripMs: 60, cutEveryMs: 4000, cutMs: 200, seed: 2 };
    const { state, packageBytes, missingBytes, stats } = await installOver(link, AbortSignal.timeout(100_000), { baseMs: 50, capMs: 200 });
    expect(state).toBe('committed');
    expect(packageBytes).toBeGreaterThan(5_000_000);
    expect(stats.lost).toBeGreaterThan(0);
    expect(stats.cuts).toBeGreaterThan(0);
    const window = 512 * 1024;
    expect(stats.blockBytes - stats.lostBlockBytes).toBeLessThanOrEqual(1.1 * missingBytes + stats.cuts * window);
  }, 120_000);
});

describe.skipIf(nativeMissing !== undefined)('the bench of transfers', () => {
  it('measures throughput and memory of a daemon in a process of its own', async () => {
    const [rate, memory] = await throughputBars(AbortSignal.timeout(100_000), { bytes: 2e6, rounds: 1 });
    expect(rate).toMatchObject({ id: 'transfer.throughput', unit: 'MB/s', bar: '>= 20' });
    expect(rate?.value).toBeGreaterThan(0);
    expect(memory).toMatchObject({ id: 'transfer.memory', unit: 'MiB' });
    expect(memory?.what).toMatch(/while 4 MB arrive \([1-9][\d.]+ MiB\), above that of 2 MB \([1-9][\d.]+ MiB\), medians of 1/);
  }, 120_000);

  it('refuses a section that does not exist', async () => {
    const { code, err } = await captureCli(['bench-transfer', '--only', 'nothing']);
    expect(code).not.toBe(0);
    expect(err).toContain('throughput, link, delta but received nothing');
  });
});
