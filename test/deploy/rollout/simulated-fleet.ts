import { createHash, randomUUID } from 'node:crypto';
import type { MqttClient } from 'mqtt';
import { onTestFinished } from 'vitest';
import {
  blockCount, commandSchema, decodeBlock, decodePayload, desiredSchema, deviceTopic, encodeBitmap, parseTopic, type Desired, type DesiredPackage, type DeviceTopic, type PipelineReport,
} from '../../../agent/contracts/index.js';
import { connectLink, type LinkOptions } from '../../../deploy/mqtt/link.js';
import { BOOT, caps, json, pipelineReport, reported, status } from '../fixtures.js';

/** What becomes of a package on a device. */
export type Verdict = 'good' | 'gate' | 'probation';

export interface SimulatedDevice {
  name: string;
  report: PipelineReport;
  verdict: Verdict;
  online: boolean;
  /** Generations with a package that it was told, in order. */
  told: number[];
  signed: boolean;
  blocks: Map<number, Uint8Array>;
  rollbacks: number;
}

const OLD: DesiredPackage = { name: 'faces', version: '1.0.0', digest: 'ab'.repeat(32), size_bytes: 5000, block_bytes: 65_536 };

/** Many devices over one connection: each fetches its package block by block, checks the digest, and reports as the agent does. */
export class SimulatedFleet {
  readonly devices = new Map<string, SimulatedDevice>();
  readonly fleet: string;
  #client: MqttClient | null = null;
  /** How long the probation of a good package lasts. */
  probationMs = 0;

  constructor(names: readonly string[], fleet = 'demo') {
    this.fleet = fleet;
    for (const name of names) {
      const report = pipelineReport({
        generation_seen: null, generation_applied: null, slots: { active: { ...OLD, since_ms: 1 }, previous: null }, probation: false, settings: { fps: 5 },
        ota: { state: 'idle', package: null, blocks_done: 0, blocks_total: 0, error: null },
      });
      this.devices.set(name, { name, report, verdict: 'good', online: true, told: [], signed: false, blocks: new Map(), rollbacks: 0 });
    }
  }

  get(name: string): SimulatedDevice {
    const device = this.devices.get(name);
    if (device === undefined) throw new Error(`no device ${name}`);
    return device;
  }

  /** @param labels of each device */
  async start(link: Omit<LinkOptions, 'clientId'>, labels: (name: string) => Record<string, string> = () => ({})): Promise<this> {
    const client = await connectLink({ ...link, clientId: `devices-${randomUUID().slice(0, 8)}` });
    this.#client = client;
    onTestFinished(async () => {
      this.#client = null;
      await client.endAsync(true);
    });
    client.on('message', (topic, payload) => void this.#receive(topic, payload));
    await client.subscribeAsync(['desired/+', 'cmd/+', 'ota/block/+/+'].map((suffix) => `sterna/v2/${this.fleet}/+/${suffix}`), { qos: 1 });
    for (const device of this.devices.values()) {
      await this.#send(device, { kind: 'status' }, status());
      await this.#send(device, { kind: 'caps' }, { ...caps(), labels: labels(device.name) });
      await this.#tell(device, {});
    }
    return this;
  }

  async setOnline(name: string, online: boolean): Promise<void> {
    const device = this.get(name);
    device.online = online;
    await this.#send(device, { kind: 'status' }, status({ state: online ? 'online' : 'offline', birth_seq: 99 }));
  }

  /** Devices that run a package. */
  running(digest: string): string[] {
    return [...this.devices.values()].filter(({ report }) => report.slots.active?.digest === digest).map(({ name }) => name);
  }

  async #tell(device: SimulatedDevice, over: Partial<PipelineReport>): Promise<void> {
    device.report = { ...device.report, ...over };
    await this.#send(device, { kind: 'reported' }, reported({ pipelines: [device.report] }));
  }

  async #send({ name: device }: SimulatedDevice, topic: DeviceTopic, value: unknown): Promise<void> {
    const sent = this.#client?.publishAsync(deviceTopic({ fleet: this.fleet, device }, topic), json(value), { qos: 1, retain: ['status', 'reported', 'caps'].includes(topic.kind) });
    // The end of the test also ends what its devices were about to say.
    await sent?.catch((error: unknown) => { if (this.#client !== null) throw error; });
  }

  async #receive(text: string, payload: Buffer): Promise<void> {
    const parsed = parseTopic(text);
    const device = this.devices.get(parsed?.device ?? '');
    if (parsed === null || device === undefined || !device.online) return;
    if (parsed.topic.kind === 'desired') await this.#want(device, decodePayload(desiredSchema, payload));
    else if (parsed.topic.kind === 'ota_block') await this.#take(device, payload);
    else if (parsed.topic.kind === 'cmd') await this.#obey(device, parsed.topic.name, payload);
  }

  async #want(device: SimulatedDevice, { generation, package: wanted, signed, settings }: Desired): Promise<void> {
    if (generation <= (device.report.generation_seen ?? -1)) return;
    device.signed = signed !== undefined;
    device.blocks = new Map();
    const seen = { generation_seen: generation, settings };
    if (wanted !== null) device.told.push(generation);
    if (wanted === null || wanted.digest === device.report.slots.active?.digest) return this.#tell(device, { ...seen, generation_applied: generation, ota: { ...device.report.ota, package: wanted, state: wanted === null ? 'idle' : 'committed', error: null } });
    await this.#tell(device, { ...seen, ota: { state: 'downloading', package: wanted, blocks_done: 0, blocks_total: blockCount(wanted.size_bytes, wanted.block_bytes), error: null } });
    await this.#ask(device, wanted);
  }

  async #ask(device: SimulatedDevice, wanted: Pick<DesiredPackage, 'digest' | 'size_bytes'>): Promise<void> {
    const missing = Array.from({ length: blockCount(wanted.size_bytes, 65_536) }, (_, i) => i).filter((i) => !device.blocks.has(i));
    const first = missing[0] ?? 0;
    await this.#send(device, { kind: 'ota_get' }, { schema_version: 2, digest: wanted.digest, size_bytes: wanted.size_bytes, block_bytes: 65_536, first_block: first, bitmap: encodeBitmap(first, missing), window: 4 });
  }

  /** Asks again, as the agent does after its stall timer, for what a killed server did not send. */
  async nudge(): Promise<void> {
    for (const device of this.devices.values()) {
      const { state, package: wanted } = device.report.ota;
      if (state === 'downloading' && wanted !== null) await this.#ask(device, wanted);
    }
  }

  async #take(device: SimulatedDevice, payload: Buffer): Promise<void> {
    const { state, package: wanted } = device.report.ota;
    if (state !== 'downloading' || wanted === null) return;
    const { index, payload: bytes } = decodeBlock(payload);
    device.blocks.set(index, bytes);
    if (device.blocks.size === blockCount(wanted.size_bytes, 65_536)) await this.#test(device, wanted);
    else if (device.blocks.size % 4 === 0) await this.#ask(device, wanted);
  }

  async #test(device: SimulatedDevice, wanted: PipelineReport['ota']['package'] & object): Promise<void> {
    const bytes = Buffer.concat([...device.blocks].sort(([a], [b]) => a - b).map(([, block]) => block));
    const ota = { package: wanted, blocks_done: device.blocks.size, blocks_total: device.blocks.size };
    const refuse = (state: 'rejected' | 'rolled_back', code: string, message: string): Promise<void> => this.#tell(device, { ota: { ...ota, state, error: { code, message } } });
    if (createHash('sha256').update(bytes).digest('hex') !== wanted.digest) return refuse('rejected', 'E_OTA_DIGEST', 'The package differs from its digest');
    if (device.verdict === 'gate') return refuse('rejected', 'E_OTA_GATE_LATENCY', 'p99 is 240 ms, and 120 ms are allowed');
    const { slots, generation_seen } = device.report;
    const active = { ...wanted, since_ms: Date.now() };
    await this.#tell(device, { generation_applied: generation_seen, slots: { active, previous: slots.active }, probation: true, ota: { ...ota, state: 'committed', error: null } });
    if (device.verdict === 'probation') {
      await this.#tell(device, { slots, probation: false });
      return refuse('rolled_back', 'E_OTA_CRASHES', 'It crashed 3 times');
    }
    setTimeout(() => { if (device.report.slots.active?.digest === wanted.digest) void this.#tell(device, { probation: false }); }, this.probationMs);
  }

  async #obey(device: SimulatedDevice, name: string, payload: Buffer): Promise<void> {
    const { id, args } = decodePayload(commandSchema, payload);
    if (name !== 'rollback') return;
    const { active, previous } = device.report.slots;
    const leave = args['from'] === undefined || args['from'] === active?.digest;
    if (!leave) return this.#send(device, { kind: 'res', id }, { schema_version: 2, id, command: name, boot_id: BOOT, time_ms: Date.now(), ok: true, result: { active } });
    device.rollbacks++;
    const answer = previous === null ? { ok: false, code: 'E_OTA_NO_PREVIOUS', message: 'There is no previous package' } : { ok: true, result: { active: previous } };
    if (previous !== null) await this.#tell(device, { slots: { active: previous, previous: null }, probation: false });
    await this.#send(device, { kind: 'res', id }, { schema_version: 2, id, command: name, boot_id: BOOT, time_ms: Date.now(), ...answer });
  }
}
