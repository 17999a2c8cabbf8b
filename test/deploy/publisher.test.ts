import { createHash } from 'node:crypto';
import { MqttClient } from 'mqtt';
import { afterEach, describe, expect, it, vi } from 'vitest';
import {
  decodeBlock, decodePayload, desiredSchema, deviceTopic, encodeBitmap, parseTopic, type Block, type OtaGet,
} from '../../agent/contracts/index.js';
import { EmbeddedBroker } from '../../deploy/broker/broker.js';
import { connectLink } from '../../deploy/mqtt/link.js';
import { endOf } from '../../deploy/publish/outcome.js';
import { ServedPackage, type HeldPackage } from '../../deploy/publish/packages.js';
import { Publisher } from '../../deploy/publish/publisher.js';
import { DOOR, json, pipelineReport, reported, topic } from './fixtures.js';

const BLOCK = 1024;
const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const stop of stops.splice(0).reverse()) await stop();
});

function held(size: number): HeldPackage {
  const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 31 + (i >> 8)) & 0xff);
  return { name: 'faces', version: '1.0.0', releaseCounter: 0, digest: createHash('sha256').update(bytes).digest('hex'), bytes };
}

interface Bench {
  broker: EmbeddedBroker;
  publisher: Publisher;
  device: MqttClient;
  /** Block messages as the device received them. */
  blocks: { digest8: string; block: Block }[];
}

async function bench(options: { maxInFlight?: number; blocksPerSecond?: number } = {}): Promise<Bench> {
  const broker = new EmbeddedBroker();
  await broker.start();
  stops.push(() => broker.stop());
  const publisher = new Publisher({ url: broker.url, fleet: DOOR.fleet, blockBytes: BLOCK, blocksPerSecond: 5000, ...options });
  await publisher.start();
  stops.push(() => publisher.stop());
  const device = await connectLink({ url: broker.url, clientId: 'device' });
  stops.push(() => device.endAsync(true));
  const blocks: Bench['blocks'] = [];
  device.on('message', (text, payload) => {
    const parsed = parseTopic(text);
    if (parsed?.topic.kind === 'ota_block') blocks.push({ digest8: parsed.topic.digest8, block: decodeBlock(payload) });
  });
  await device.subscribeAsync([topic('ota/block/+/+'), topic('desired/main')], { qos: 1 });
  return { broker, publisher, device, blocks };
}

function request(of: HeldPackage, wanted: number[], over: Partial<OtaGet> = {}): Buffer {
  const first = Math.min(...wanted);
  return json({ schema_version: 2, digest: of.digest, size_bytes: of.bytes.length, block_bytes: BLOCK, first_block: first, bitmap: encodeBitmap(first, wanted), window: 16, ...over });
}

async function ask({ device }: Bench, payload: Buffer): Promise<void> {
  await device.publishAsync(deviceTopic(DOOR, { kind: 'ota_get' }), payload, { qos: 1 });
}

/** A bench whose publisher holds a package of so many blocks. */
async function holding(blocks: number, ...options: Parameters<typeof bench>): Promise<{ b: Awaited<ReturnType<typeof bench>>; pack: ReturnType<typeof held> }> {
  const b = await bench(...options);
  const pack = held(BLOCK * blocks);
  b.publisher.hold(pack);
  return { b, pack };
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 400 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 10));
  expect(condition()).toBe(true);
}

describe('the blocks of a package', () => {
  it('give the package back, and only the last says so', () => {
    const pack = held(BLOCK * 3 + 17);
    const pieces = new ServedPackage(pack).pieces({ digest: pack.digest, size_bytes: pack.bytes.length, block_bytes: BLOCK });
    const decoded = Array.from({ length: pieces?.count ?? 0 }, (_, i) => decodeBlock(pieces?.message(i) ?? new Uint8Array(0)));
    expect(Buffer.concat(decoded.map(({ payload }) => payload)).equals(pack.bytes)).toBe(true);
    expect(decoded.map(({ last }) => last)).toEqual([false, false, false, true]);
    expect(decoded.map(({ payload }) => payload.length)).toEqual([BLOCK, BLOCK, BLOCK, 17]);
  });
});

describe('a publisher', () => {
  it('states what a device should run, retained, with a generation that grows across publishers', async () => {
    const b = await bench();
    const seen: number[] = [];
    b.device.on('message', (text, payload) => {
      if (text !== topic('desired/main')) return;
      const desired = decodePayload(desiredSchema, payload);
      expect(desired.package).toMatchObject({ name: 'faces', version: '1.0.0', digest: held(5000).digest, size_bytes: 5000, block_bytes: BLOCK });
      seen.push(desired.generation);
    });
    const first = await b.publisher.publish(DOOR.device, held(5000));
    const second = await b.publisher.publish(DOOR.device, held(5000), { match_threshold: 0.5 });
    const other = new Publisher({ url: b.broker.url, fleet: DOOR.fleet, blockBytes: BLOCK });
    await other.start();
    stops.push(() => other.stop());
    await until(() => seen.length === 2);
    const third = await other.publish(DOOR.device, held(5000));
    await until(() => seen.length === 3);
    expect(second).toBeGreaterThan(first);
    expect(third).toBeGreaterThanOrEqual(second);
    expect(seen).toEqual([first, second, third]);
  });

  it('exceeds a generation that the device has seen from a clock ahead of ours', async () => {
    const b = await bench();
    await b.device.publishAsync(topic('reported'), json(reported({ generation_seen: 9_000_000_000_000 })), { qos: 1, retain: true });
    await until(() => b.publisher.reported(DOOR.device) !== null);
    expect(await b.publisher.publish(DOOR.device, held(5000))).toBe(9_000_000_000_001);
  });

  it('sends the wanted blocks in order, no more than the window', async () => {
    const { b, pack } = await holding(40);
    await ask(b, request(pack, [2, 3, 5, 8, 13, 21], { window: 4 }));
    await until(() => b.blocks.length === 4);
    await ask(b, request(pack, [39]));
    await until(() => b.blocks.length === 5);
    expect(b.blocks.map(({ block }) => block.index)).toEqual([2, 3, 5, 8, 39]);
    expect(b.blocks.every(({ digest8 }) => digest8 === pack.digest.slice(0, 8))).toBe(true);
    expect(b.publisher.stats).toMatchObject({ requests: 2, requestsRefused: 0, blocksSent: 5 });
  });

  it('is silent about a package that it does not hold, and says unavailable for another size', async () => {
    const b = await bench();
    const [pack, unknown] = [held(BLOCK * 4), held(BLOCK * 5)];
    b.publisher.hold(pack);
    await ask(b, request(unknown, [0]));
    await ask(b, request(pack, [1], { size_bytes: 1 }));
    await until(() => b.blocks.length === 1);
    expect(b.blocks[0]?.block).toMatchObject({ index: 1, unavailable: true });
    expect(b.publisher.stats.requestsRefused).toBe(2);
    b.publisher.release(pack.digest);
    await ask(b, request(pack, [0]));
    await until(() => b.publisher.stats.requestsRefused === 3);
    expect(b.blocks).toHaveLength(1);
  });

  it('counts hostile requests and goes on', async () => {
    const { b, pack } = await holding(2);
    for (const payload of ['', '{', '[]', 'null', '{"schema_version":2}', '{"schema_version":2,"digest":"x"}', '\u0000\u0001']) await ask(b, Buffer.from(payload));
    await ask(b, request(pack, [0], { window: 99 }));
    await ask(b, request(pack, [0]));
    await until(() => b.blocks.length === 1);
    expect(b.publisher.stats.malformedPayloads).toBe(8);
  });

  it('keeps within the number in flight', async () => {
    const { b, pack } = await holding(16, { maxInFlight: 2 });
    await ask(b, request(pack, [...Array(16).keys()]));
    await until(() => b.blocks.length === 16);
    expect(b.publisher.stats.blocksSent).toBe(16);
  });

  it('sends blocks with QoS 0, so that none waits for acknowledgements', async () => {
    const { b, pack } = await holding(4);
    const qos: number[] = [];
    b.device.on('message', (_topic, _payload, packet) => { qos.push(packet.qos); });
    await ask(b, request(pack, [0, 1, 2, 3]));
    await until(() => b.blocks.length === 4);
    expect(qos).toEqual([0, 0, 0, 0]);
  });

  it('goes on after a connection that ended while it was taking a block', async () => {
    const { b, pack } = await holding(4, { maxInFlight: 1 });
    const publish = MqttClient.prototype.publish;
    let taken = 0;
    // A socket that is full takes no more, and when the connection ends, MQTT.js never calls back.
    vi.spyOn(MqttClient.prototype, 'publish').mockImplementation(function stuck(this: MqttClient, ...args: unknown[]): MqttClient {
      if (String(args[0]).includes('/ota/block/') && taken++ === 0) return this;
      return Reflect.apply(publish, this, args) as MqttClient;
    });
    await ask(b, request(pack, [0, 1, 2, 3]));
    await until(() => taken === 1);
    b.broker.dropConnections();
    await until(() => !b.device.connected);
    const deadline = Date.now() + 60_000;
    while (b.blocks.length === 0 && Date.now() < deadline) {
      if (b.device.connected) await ask(b, request(pack, [0, 1, 2, 3]));
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    expect(b.blocks.length).toBeGreaterThan(0);
  }, 90_000);

  it('resumes from the bitmap after the broker dropped every connection', async () => {
    const { b, pack } = await holding(64, { blocksPerSecond: 100 });
    const have = (): Set<number> => new Set(b.blocks.map(({ block }) => block.index));
    const missing = (): number[] => [...Array(64).keys()].filter((index) => !have().has(index));
    await ask(b, request(pack, missing()));
    await until(() => b.blocks.length >= 3);
    b.broker.dropConnections();
    await until(() => !b.device.connected);
    const before = have().size;
    expect(before).toBeLessThan(64);
    // What a device does: asks again for what is missing, until nothing is.
    for (let i = 0; i < 60 && missing().length > 0; i++) {
      if (b.device.connected) await ask(b, request(pack, missing()));
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    expect(missing()).toEqual([]);
    const received = new Map(b.blocks.map(({ block }) => [block.index, block.payload]));
    expect(Buffer.concat([...Array(64).keys()].map((i) => received.get(i) ?? Buffer.alloc(0))).equals(pack.bytes)).toBe(true);
  });

  it('tells how a deployment ended, and when it did not', async () => {
    const b = await bench();
    const pack = held(5000);
    const generation = await b.publisher.publish(DOOR.device, pack);
    const outcome = b.publisher.outcome(DOOR.device, pack.digest, generation, { timeoutMs: 5000 });
    const candidate = { name: 'faces', version: '1.0.0', releaseCounter: 0, digest: pack.digest, size_bytes: 5000 };
    const say = (state: 'downloading' | 'rejected', generationSeen: number): Promise<unknown> => b.device.publishAsync(topic('reported'), json(reported({
      generation_seen: generationSeen, generation_applied: 4, slots: { active: null, previous: null },
      ota: { state, package: candidate, blocks_done: 1, blocks_total: 5, error: state === 'rejected' ? { code: 'E_DIGEST', message: 'wrong' } : null },
    })), { qos: 1, retain: true });
    await say('rejected', 1); // of an earlier deployment
    await say('downloading', generation);
    await say('rejected', generation);
    expect(await outcome).toMatchObject({ state: 'rejected', address: DOOR });
    await expect(b.publisher.outcome('nobody', pack.digest, 1, { timeoutMs: 30 })).rejects.toMatchObject({ code: 'E_DEVICE_TIMEOUT' });
    const stop = AbortSignal.abort(new Error('enough'));
    await expect(b.publisher.outcome('nobody', pack.digest, 1, { timeoutMs: 5000, signal: stop })).rejects.toThrow('enough');
  });
});

describe('the end of a deployment', () => {
  const digest = 'ab'.repeat(32);
  it('is committed only when that package runs for that generation', () => {
    expect(endOf(pipelineReport(), digest, 4)).toBe('committed');
    expect(endOf(pipelineReport(), digest, 5)).toBeNull();
    expect(endOf(pipelineReport(), 'cd'.repeat(32), 4)).toBeNull();
    expect(endOf(pipelineReport({ generation_applied: 3 }), digest, 4)).toBeNull();
  });

  it('is rolled back when the device went back', () => {
    const back = pipelineReport({ slots: { active: null, previous: null } });
    expect(endOf({ ...back, ota: { ...back.ota, state: 'rolled_back' } }, digest, 4)).toBe('rolled_back');
    expect(endOf({ ...back, ota: { ...back.ota, state: 'warming' } }, digest, 4)).toBeNull();
  });
});
