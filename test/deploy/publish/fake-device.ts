import { createHash, randomUUID } from 'node:crypto';
import type { MqttClient } from 'mqtt';
import { onTestFinished } from 'vitest';
import {
  blockCount, commandSchema, decodeBlock, decodePayload, desiredSchema, deviceTopic, encodeBitmap, largestGeneration, parseTopic, type Desired, type DeviceTopic, type PipelineReport, type Reported,
} from '../../../agent/contracts/index.js';
import { connectLink, type LinkOptions } from '../../../deploy/mqtt/link.js';
import { BOOT, json, pipelineReport, reported, status } from '../fixtures.js';

type Ending = 'committed' | 'rejected' | 'rolled_back' | 'silent';

/** As much of a device as a publisher and an operator see: it takes `desired`, asks for every block, checks the digest, and reports. */
export class FakeDevice {
  readonly address: { fleet: string; device: string };
  ending: Ending = 'committed';
  /** Answers to commands, by name; without one it does not answer. */
  answers: Record<string, { ok: boolean; code?: string; message?: string; result?: Record<string, unknown> }> = {};
  commands: { name: string; args: unknown; expires_ms?: number | undefined }[] = [];
  desired: Desired | null = null;
  report: PipelineReport = pipelineReport({ generation_seen: null, generation_applied: null, slots: { active: null, previous: null }, ota: { state: 'idle', package: null, blocks_done: 0, blocks_total: 0, error: null }, probation: false });
  faults: Reported['faults'] = [];
  #client: MqttClient | null = null;
  #blocks = new Map<number, Uint8Array>();

  constructor(device: string, fleet = 'demo') {
    this.address = { fleet, device };
  }

  async start(link: Omit<LinkOptions, 'clientId'>): Promise<this> {
    const client = await connectLink({ ...link, clientId: `device-${randomUUID().slice(0, 8)}` });
    this.#client = client;
    onTestFinished(async () => { await client.endAsync(true); });
    client.on('message', (topic, payload) => this.#receive(topic, payload));
    await client.subscribeAsync(['desired/+', 'cmd/+', 'ota/block/+/+'].map((suffix) => `sterna/v2/${this.address.fleet}/${this.address.device}/${suffix}`), { qos: 1 });
    await this.send({ kind: 'status' }, status());
    await this.tell({});
    return this;
  }

  async tell(over: Partial<PipelineReport>): Promise<void> {
    this.report = { ...this.report, ...over };
    await this.send({ kind: 'reported' }, reported({ pipelines: [this.report], faults: this.faults }));
  }

  async send(topic: DeviceTopic, value: unknown): Promise<void> {
    await this.#client?.publishAsync(deviceTopic(this.address, topic), json(value), { qos: 1, retain: ['status', 'caps', 'reported'].includes(topic.kind) });
  }

  #receive(text: string, payload: Buffer): void {
    const topic = parseTopic(text)?.topic;
    if (topic?.kind === 'desired') this.#want(decodePayload(desiredSchema, payload));
    else if (topic?.kind === 'ota_block') this.#take(payload);
    else if (topic?.kind === 'cmd') this.#obey(topic.name, payload);
  }

  #want(desired: Desired): void {
    const seen = this.report.generation_seen;
    if (desired.generation <= (seen ?? -1) || desired.generation > largestGeneration(seen)) return;
    this.desired = desired;
    this.#blocks = new Map();
    const wanted = desired.package;
    if (wanted === null || wanted.digest === this.report.slots.active?.digest) return void this.tell({ generation_seen: desired.generation, generation_applied: desired.generation });
    const total = blockCount(wanted.size_bytes, wanted.block_bytes);
    void this.tell({ generation_seen: desired.generation, ota: { state: 'downloading', package: wanted, blocks_done: 0, blocks_total: total, error: null } });
    this.#ask();
  }

  #ask(): void {
    const wanted = this.desired?.package;
    if (wanted == null) return;
    const missing = Array.from({ length: blockCount(wanted.size_bytes, wanted.block_bytes) }, (_, i) => i).filter((i) => !this.#blocks.has(i));
    const first = missing[0] ?? 0;
    void this.send({ kind: 'ota_get' }, { schema_version: 2, digest: wanted.digest, size_bytes: wanted.size_bytes, block_bytes: wanted.block_bytes, first_block: first, bitmap: encodeBitmap(first, missing), window: 4 });
  }

  #take(payload: Buffer): void {
    const wanted = this.desired?.package;
    if (wanted == null) return;
    const { index, payload: bytes } = decodeBlock(payload);
    this.#blocks.set(index, bytes);
    const total = blockCount(wanted.size_bytes, wanted.block_bytes);
    if (this.#blocks.size === total) return void this.#end(wanted);
    void this.tell({ ota: { ...this.report.ota, blocks_done: this.#blocks.size } });
    if (this.#blocks.size % 4 === 0) this.#ask();
  }

  async #end(wanted: NonNullable<Desired['package']>): Promise<void> {
    const bytes = Buffer.concat(Array.from({ length: this.#blocks.size }, (_, i) => this.#blocks.get(i) ?? Buffer.alloc(0)));
    const sound = createHash('sha256').update(bytes).digest('hex') === wanted.digest;
    const ota = { package: wanted, blocks_done: this.#blocks.size, blocks_total: this.#blocks.size, error: null };
    await this.tell({ ota: { ...ota, state: 'warming' } });
    if (this.ending === 'silent') return;
    if (!sound || this.ending !== 'committed') return this.tell({ ota: { ...ota, state: this.ending === 'rolled_back' ? 'rolled_back' : 'rejected', error: sound ? { code: 'E_OTA_GATE_LATENCY', message: 'too slow' } : { code: 'E_OTA_DIGEST', message: 'wrong' } } });
    await this.tell({ generation_applied: this.report.generation_seen, slots: { active: { ...wanted, since_ms: Date.now() }, previous: null }, ota: { ...ota, state: 'committed' } });
  }

  #obey(name: string, payload: Buffer): void {
    const { id, args, expires_ms } = decodePayload(commandSchema, payload);
    this.commands.push({ name, args, expires_ms });
    const answer = this.answers[name];
    if (answer !== undefined) void this.send({ kind: 'res', id }, { schema_version: 2, id, command: name, boot_id: BOOT, time_ms: Date.now(), ...answer });
  }
}
