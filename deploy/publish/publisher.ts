import { EventEmitter } from 'node:events';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MqttClient } from 'mqtt';
import {
  blockCount, decodePayload, desiredSchema, deviceTopic, digest8, encodeBlock, encodePayload, otaGetSchema, parseTopic, reportedSchema,
  requestedBlocks, requireId, SCHEMA_VERSION, TOPIC_ROOT, type DeviceAddress, type OtaGet, type Reported, type Settings,
} from '../../agent/contracts/index.js';
import { DeployError } from '../errors.js';
import { connectLink, type LinkOptions } from '../mqtt/link.js';
import { desiredPackage, packageBlock, type HeldPackage } from './packages.js';
import { BlockSchedule, RateLimit } from './schedule.js';

export interface PublisherOptions extends Omit<LinkOptions, 'clientId'> {
  /** The fleet that it serves. */
  fleet: string;
  /** Upper bound of block messages; AWS IoT Core takes 100 publishes a second. Default 80. */
  blocksPerSecond?: number;
  /** Blocks on the way to the broker at one time. Default 16, i.e. 1 MiB. */
  maxInFlight?: number;
  /** Payload bytes of a block. Default 64 KiB. */
  blockBytes?: number;
}

/** What a publisher did so far. */
export interface PublisherStats {
  requests: number;
  /** Malformed, for a package that is not held, or too many at once. */
  requestsRefused: number;
  blocksSent: number;
  bytesSent: number;
  malformedPayloads: number;
}

interface PublisherEvents {
  /** A device reported; `reported` is the latest. */
  reported: [address: DeviceAddress, reported: Reported];
}

/** How a deployment ended on a device. */
export interface Outcome {
  address: DeviceAddress;
  state: 'committed' | 'rejected' | 'rolled_back';
  reported: Reported;
}

interface BlockRequest {
  address: DeviceAddress;
  held: HeldPackage;
  blockBytes: number;
}

/** Devices whose requests are queued at one time; others ask again. */
const MAX_WAITING_DEVICES = 256;
const FINAL_STATES: readonly string[] = ['committed', 'rejected', 'rolled_back'];

/**
 * The sending side of over-the-air updates: holds packages by digest, states what devices should run (`desired`, retained),
 * and answers their requests for blocks. The devices pull, so a broker that drops and a publisher that restarts cost
 * nothing: whoever holds the package answers the next request.
 *
 * A request for a package that is not held is left to others: another publisher may serve the same fleet.
 */
export class Publisher extends EventEmitter<PublisherEvents> {
  readonly #options: PublisherOptions;
  readonly #held = new Map<string, HeldPackage>();
  readonly #reported = new Map<string, Reported>();
  /** Largest generation seen on the broker, by device. */
  readonly #generations = new Map<string, number>();
  readonly #schedule = new BlockSchedule<BlockRequest>(MAX_WAITING_DEVICES);
  readonly #rate: RateLimit;
  readonly #stopping = new AbortController();
  #client: MqttClient | null = null;
  #inFlight = 0;
  #pumping = false;
  readonly stats: PublisherStats = { requests: 0, requestsRefused: 0, blocksSent: 0, bytesSent: 0, malformedPayloads: 0 };

  constructor(options: PublisherOptions) {
    super();
    requireId('fleet', options.fleet);
    this.#options = options;
    const perSecond = options.blocksPerSecond ?? 80;
    this.#rate = new RateLimit(perSecond, Math.max(1, Math.min(16, perSecond)));
  }

  /** @throws DeployError E_BROKER_CONNECT */
  async start(): Promise<void> {
    if (this.#client !== null) return;
    const client = await connectLink({ ...this.#options, clientId: `sterna-publisher-${randomBytes(4).toString('hex')}` });
    this.#client = client;
    client.on('message', (topic, payload) => this.#receive(topic, payload));
    // What was queued for a connection that is gone will be asked for again.
    client.on('close', () => this.#schedule.clear());
    const prefix = `${TOPIC_ROOT}/${this.#options.fleet}/+`;
    await client.subscribeAsync([`${prefix}/ota/get`, `${prefix}/reported`, `${prefix}/desired`], { qos: 1 });
  }

  async stop(): Promise<void> {
    const client = this.#client;
    if (client === null) return;
    this.#client = null;
    this.#stopping.abort();
    this.#schedule.clear();
    await client.endAsync(!client.connected);
  }

  hold(held: HeldPackage): void {
    this.#held.set(held.digest, held);
  }

  release(digest: string): void {
    this.#held.delete(digest);
  }

  /** Devices of the fleet that have reported, alphabetically. */
  devices(): string[] {
    return [...this.#reported.keys()].sort();
  }

  reported(device: string): Reported | null {
    return this.#reported.get(device) ?? null;
  }

  /**
   * States that `device` should run `held` (null: keep what is there) with `settings`. Returns the generation: larger than
   * any that is known of this device, and by the clock (milliseconds), so that it grows across publishers, too: a publisher
   * that has just connected cannot know when it has heard all that the broker retains.
   * @throws DeployError E_PUBLISH when the broker does not take it
   */
  async publish(device: string, held: HeldPackage | null, settings: Settings = {}): Promise<number> {
    const client = this.#connected();
    if (held !== null) this.hold(held);
    const known = Math.max(this.#generations.get(device) ?? 0, this.#reported.get(device)?.generation_seen ?? 0);
    const generation = Math.max(known + 1, Date.now());
    const address = { fleet: this.#options.fleet, device };
    const payload = encodePayload(desiredSchema, {
      schema_version: SCHEMA_VERSION,
      generation,
      package: held === null ? null : desiredPackage(held, this.#options.blockBytes),
      settings,
      time_ms: Date.now(),
    });
    try {
      await client.publishAsync(deviceTopic(address, { kind: 'desired' }), payload, { qos: 1, retain: true });
    } catch (cause) {
      throw new DeployError('E_PUBLISH', `The broker does not take what ${device} should run: ${messageOf(cause)}`, { cause });
    }
    this.#generations.set(device, generation);
    return generation;
  }

  /**
   * Waits until a device has reported the end of what `publish` asked of it.
   * @throws DeployError E_DEVICE_TIMEOUT; the signal's reason when aborted
   */
  async outcome(device: string, digest: string, generation: number, options: { timeoutMs: number; signal?: AbortSignal }): Promise<Outcome> {
    const address = { fleet: this.#options.fleet, device };
    return new Promise((resolve, reject) => {
      const finish = (action: () => void): void => {
        clearTimeout(timer);
        this.off('reported', onReported);
        options.signal?.removeEventListener('abort', onAbort);
        action();
      };
      const check = (reported: Reported | undefined): void => {
        const state = reported === undefined ? null : endOf(reported, digest, generation);
        if (reported !== undefined && state !== null) finish(() => resolve({ address, state, reported }));
      };
      const onReported = (from: DeviceAddress, reported: Reported): void => { if (from.device === device) check(reported); };
      const onAbort = (): void => finish(() => reject(options.signal?.reason ?? new Error('aborted')));
      const timer = setTimeout(() => finish(() => reject(timedOut(device, this.#reported.get(device), options.timeoutMs))), options.timeoutMs);
      this.on('reported', onReported);
      options.signal?.addEventListener('abort', onAbort);
      if (options.signal?.aborted === true) onAbort();
      else check(this.#reported.get(device));
    });
  }

  #connected(): MqttClient {
    if (this.#client === null) throw new DeployError('E_PUBLISH', 'The publisher was not started, or was stopped');
    return this.#client;
  }

  #receive(text: string, payload: Buffer): void {
    const parsed = parseTopic(text);
    if (parsed === null || parsed.fleet !== this.#options.fleet) return;
    try {
      switch (parsed.topic.kind) {
        case 'ota_get': return this.#request(parsed, decodePayload(otaGetSchema, payload));
        case 'reported': return this.#noteReported(parsed, decodePayload(reportedSchema, payload));
        case 'desired': return this.#noteDesired(parsed.device, payload);
        default: return;
      }
    } catch {
      // Whatever a device or a stranger sends, the others are served.
      this.stats.malformedPayloads++;
    }
  }

  #noteReported(address: DeviceAddress, reported: Reported): void {
    this.#reported.set(address.device, reported);
    this.emit('reported', address, reported);
  }

  #noteDesired(device: string, payload: Buffer): void {
    if (payload.byteLength === 0) return; // a retained message being cleared
    const { generation } = decodePayload(desiredSchema, payload);
    this.#generations.set(device, Math.max(generation, this.#generations.get(device) ?? 0));
  }

  #request(address: DeviceAddress, request: OtaGet): void {
    this.stats.requests++;
    const held = this.#held.get(request.digest);
    if (held === undefined) {
      this.stats.requestsRefused++;
      return;
    }
    if (held.bytes.byteLength !== request.size_bytes) {
      this.stats.requestsRefused++;
      this.#refuse(address, request);
      return;
    }
    const blocks = requestedBlocks(request, blockCount(held.bytes.byteLength, request.block_bytes));
    const context = { address, held, blockBytes: request.block_bytes };
    if (!this.#schedule.request(address.device, { context, blocks })) this.stats.requestsRefused++;
    void this.#pump();
  }

  /** The device expects another size under this digest: no data can satisfy it. */
  #refuse(address: DeviceAddress, request: OtaGet): void {
    const topic = deviceTopic(address, { kind: 'ota_block', digest8: digest8(request.digest), index: request.first_block });
    const block = encodeBlock({ index: request.first_block, last: false, unavailable: true, payload: new Uint8Array(0) });
    this.#client?.publish(topic, block, { qos: 1 });
  }

  /** Sends what is scheduled, within the rate and the number in flight; at most one runs. */
  async #pump(): Promise<void> {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      while (this.#client !== null && this.#inFlight < (this.#options.maxInFlight ?? 16) && this.#schedule.devices > 0) {
        const waitMs = this.#rate.take(performance.now());
        if (waitMs > 0) {
          await sleep(waitMs, undefined, { signal: this.#stopping.signal, ref: false }).catch(() => undefined);
          continue;
        }
        const turn = this.#schedule.next();
        if (turn !== null) this.#send(turn.context, turn.block);
      }
    } finally {
      this.#pumping = false;
    }
  }

  #send({ address, held, blockBytes }: BlockRequest, index: number): void {
    const client = this.#client;
    if (client === null) return;
    const message = packageBlock(held, index, blockBytes);
    this.#inFlight++;
    client.publish(deviceTopic(address, { kind: 'ota_block', digest8: digest8(held.digest), index }), message, { qos: 1 }, (error) => {
      this.#inFlight--;
      if (!error) {
        this.stats.blocksSent++;
        this.stats.bytesSent += message.byteLength;
      }
      void this.#pump();
    });
  }
}

/** The final state of this deployment, or null while it is under way or another one is reported. */
export function endOf(reported: Reported, digest: string, generation: number): Outcome['state'] | null {
  if ((reported.generation_seen ?? -1) < generation) return null;
  if (reported.slots.active?.digest === digest && (reported.generation_applied ?? -1) >= generation) return 'committed';
  const { state, package: candidate } = reported.ota;
  if (candidate?.digest !== digest || !FINAL_STATES.includes(state)) return null;
  return state === 'rejected' || state === 'rolled_back' ? state : null;
}

function timedOut(device: string, reported: Reported | undefined, timeoutMs: number): DeployError {
  const what = reported === undefined
    ? 'it never reported; is it connected to this broker?'
    : `its last report: ${reported.ota.state}, block ${reported.ota.blocks_done} of ${reported.ota.blocks_total}, generation ${reported.generation_seen ?? 'none'}`;
  return new DeployError('E_DEVICE_TIMEOUT', `${device} did not finish within ${Math.round(timeoutMs / 1000)} s: ${what}`, { details: { device } });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
