import { connect, type Socket } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { MAX_PACKET_BYTES, PacketMeter } from '../../../agent/contracts/index.js';
import { EventSink } from '../../../agent/events/sink.js';
import { Faults } from '../../../agent/events/faults.js';
import { Downlink } from '../../../agent/mqtt/downlink.js';
import { MqttLink } from '../../../agent/mqtt/link.js';
import { Rate } from '../../../agent/mqtt/rate.js';
import type { CodedError } from '../../../agent/errors.js';
import { systemClock } from '../../../agent/platform/clock.js';
import { Counters, deviceCounterNames, type DeviceCounters } from '../../../agent/ground/counters.js';
import { connectLink } from '../../../deploy/mqtt/link.js';
import { aedesBroker } from '../support/brokers.js';
import { HostileBroker, pour, publishHead } from '../support/hostile-broker.js';
import { quietLog, until } from '../support/tools.js';

const ENORMOUS = 200 * 1024 * 1024;

describe('the meter of packets', () => {
  const packet = (bodyBytes: number): Buffer => {
    const head = publishHead('t', bodyBytes);
    return Buffer.concat([head, Buffer.alloc(bodyBytes, 0xff)]);
  };

  it('lets packets of the allowed size pass, however they are cut into pieces', () => {
    fc.assert(fc.property(fc.array(fc.nat(3000), { maxLength: 8 }), fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 50 }), (bodies, cuts) => {
      const bytes = Buffer.concat(bodies.map(packet));
      const meter = new PacketMeter(4000);
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const size = cuts[i % cuts.length] ?? 1;
        expect(meter.take(bytes.subarray(at, at + size))).toBeNull();
        at += size;
      }
    }));
  });

  it('knows a packet that is too large by its header alone, and a length that never ends', () => {
    const meter = new PacketMeter(4000);
    expect(meter.take(packet(100))).toBeNull();
    const head = publishHead('t', ENORMOUS);
    expect([...head].map((byte) => meter.take(Uint8Array.of(byte))).find((size) => size !== null)).toBe(ENORMOUS + head.length);
    expect(new PacketMeter(4000).take(Uint8Array.of(0x30, 0xff, 0xff, 0xff, 0xff))).toBe(Infinity);
  });
});

describe.each(['3.1.1', '5'] as const)('a broker that sends 200 MB in one message, MQTT %s', (protocol) => {
  it('is hung up on when its header has come, with a code, and the next connection waits its turn', async () => {
    const broker = await HostileBroker.start();
    const poured: number[] = [];
    broker.onOnline = (socket) => {
      socket.write(publishHead('sterna/v2/test/door/desired/main', ENORMOUS));
      void pour(socket, ENORMOUS).then((bytes) => poured.push(bytes));
    };
    const failures: CodedError[] = [];
    const messages: string[] = [];
    const link = new MqttLink({
      broker: { url: broker.url, protocol, keepalive_s: 5 }, clientId: 'device', statusTopic: 'status', subscriptions: ['down/#'], backoff: { baseMs: 10, capMs: 50 },
    }, {
      nextBirth: () => 1, status: (state) => Buffer.from(state), onConnected: () => undefined, onDisconnected: () => undefined,
      onFailed: (error) => failures.push(error), onMessage: (topic) => messages.push(topic),
    }, quietLog);
    onTestFinished(() => link.stop());
    link.start();
    await until('two connections were ended', () => poured.length >= 2);
    for (const bytes of poured) expect(bytes).toBeLessThan(32 * 1024 * 1024); // what the sockets of both ends hold
    expect(failures.every(({ code }) => code === 'E_PACKET_SIZE')).toBe(true);
    expect(failures[0]?.message).toContain(String(MAX_PACKET_BYTES));
    expect(messages).toEqual([]);
    if (protocol === '5') expect(broker.maximumPacketSize).toBe(MAX_PACKET_BYTES);
  });
});

describe('the other ends of a broker', () => {
  it('the fleet side hangs up on such a broker as well', async () => {
    const broker = await HostileBroker.start();
    let poured: number | null = null;
    broker.onOnline = (socket) => {
      socket.write(publishHead('sterna/v2/test/door/telemetry', ENORMOUS));
      void pour(socket, ENORMOUS).then((bytes) => { poured ??= bytes; });
    };
    const client = await connectLink({ url: broker.url, clientId: 'fleet' });
    onTestFinished(() => void client.end(true));
    client.publish('hello', 'x', { qos: 1 });
    await until('hung up', () => poured !== null);
    expect(poured).toBeLessThan(32 * 1024 * 1024);
  });

  it('the embedded broker hangs up on such a client, and serves the others', async () => {
    const broker = await aedesBroker();
    const socket: Socket = connect(broker.port, '127.0.0.1');
    onTestFinished(() => void socket.destroy());
    socket.on('error', () => undefined);
    socket.write(Buffer.from([0x10, 13, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 60, 0, 1, 0x61]));
    await new Promise<void>((resolve) => { socket.once('data', () => resolve()); });
    socket.write(publishHead('a', ENORMOUS));
    expect(await pour(socket, ENORMOUS)).toBeLessThan(32 * 1024 * 1024);
    const other = await connectLink({ url: broker.url, clientId: 'other' });
    await other.publishAsync('still', 'here', { qos: 1 });
    await other.endAsync();
  });
});

describe('messages of the broker', () => {
  function downlink(): { downlink: Downlink; generations: number[]; commands: string[]; blocks: number[]; counters: DeviceCounters; faults: Faults; atMs: { now: number } } {
    const atMs = { now: 1000 };
    const clock = { ...systemClock(), monotonicMs: () => atMs.now };
    const counters = new Counters(deviceCounterNames);
    const faults = new Faults(clock, quietLog, counters);
    faults.connect(new EventSink({ put: () => undefined }, clock, 'boot', quietLog));
    const generations: number[] = [];
    const commands: string[] = [];
    const blocks: number[] = [];
    const made = new Downlink({
      address: { fleet: 'test', device: 'door' }, pipelines: ['main'], counters, faults, clock,
      onDesired: (_pipeline, { generation }) => generations.push(generation), onCommand: (name) => commands.push(name), onBlock: (_digest, index) => blocks.push(index),
    });
    onTestFinished(() => made.stop());
    return { downlink: made, generations, commands, blocks, counters, faults, atMs };
  }
  const desired = (generation: number): Buffer => Buffer.from(JSON.stringify({ schema_version: 2, generation, settings: {}, package: null }));

  it('`desired` in a burst: the first and the newest are read, the others are counted', async () => {
    const { downlink: down, generations, counters } = downlink();
    for (let i = 1; i <= 10_000; i++) down.receive('sterna/v2/test/door/desired/main', desired(i), false);
    await until('the newest', () => generations.length >= 2);
    expect(generations).toEqual([1, 10_000]);
    expect(counters.get('messages_coalesced_total')).toBe(9998);
  });

  it('commands and blocks beyond their rate are refused, and counted; later ones are taken again', () => {
    const { downlink: down, commands, blocks, counters, faults, atMs } = downlink();
    for (let i = 0; i < 1000; i++) down.receive('sterna/v2/test/door/cmd/bench', Buffer.from('{}'), false);
    expect(commands).toHaveLength(64);
    expect(faults.active).toMatchObject([{ error: { code: 'E_COMMAND' } }]);
    for (let i = 0; i < 5000; i++) down.receive(`sterna/v2/test/door/ota/block/0badcafe/${i}`, Buffer.from('x'), false);
    expect(blocks).toHaveLength(4000);
    expect(counters.get('messages_refused_total')).toBe(936 + 1000);
    atMs.now += 1000;
    down.receive('sterna/v2/test/door/cmd/bench', Buffer.from('{}'), false);
    expect(commands).toHaveLength(65);
  });

  it('a rate never lets more pass than its burst and what the time brought', () => {
    fc.assert(fc.property(fc.array(fc.nat(200), { maxLength: 200 }), (steps) => {
      const rate = new Rate({ perSecond: 10, burst: 5 });
      let now = 0;
      let taken = 0;
      for (const step of steps) { now += step; if (rate.take(now)) taken += 1; }
      expect(taken).toBeLessThanOrEqual(5 + now / 100);
    }));
  });
});
