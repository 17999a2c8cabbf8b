import { EventEmitter } from 'node:events';
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MqttClient } from 'mqtt';
import {
  blockCount, DEFAULT_PIPELINE, decodePayload, desiredSchema, deviceTopic, digest8, encodeBlock, encodePayload, otaGetSchema, parseTopic,
  requestedBlocks, requireId, SCHEMA_VERSION, TOPIC_ROOT, type Desired, type DeviceAddress, type DeviceTopic, type OtaGet, type PipelineReport, type Reported, type Settings,
} from '../../agent/contracts/index.js';
import { DeployError } from '../errors.js';
import { connectLink, type LinkOptions } from '../mqtt/link.js';
import { knownPipeline, KnownDevices, type KnownDevice, type KnownPipeline } from './devices.js';
import { errorOf, outcomeOf, timedOut, type Outcome } from './outcome.js';
import { desiredPackage, packageBlock, type HeldPackage } from './packages.js';
import type { DesiredSigner } from '../repository/director.js';
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
  /** Signs what devices should run. Without one, only devices in the unsigned mode of development take it. */
  signer?: DesiredSigner;
  /** Looks for a package that is asked for and not held; null: it is not here. Must not throw. */
  find?: (digest: string) => Promise<HeldPackage | null>;
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
  /** Anything of a device changed: its report, its state, or what it should run. */
  changed: [device: string, known: KnownDevice];
  /** Blocks of a package begin to go to a device. */
  serving: [device: string, held: HeldPackage];
}

interface BlockRequest {
  address: DeviceAddress;
  held: HeldPackage;
  blockBytes: number;
}

/** Devices whose requests are queued at one time; others ask again. */
const MAX_WAITING_DEVICES = 256;
/** Packages that were found, not held from the start: the oldest is looked for again. */
const MAX_FOUND = 4;

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
  readonly #found = new Map<string, Promise<HeldPackage | null>>();
  readonly #devices = new KnownDevices();
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
    await client.subscribeAsync([`${prefix}/ota/get`, `${prefix}/reported`, `${prefix}/desired/+`, `${prefix}/status`], { qos: 1 });
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

  /** Devices of the fleet that have reported or were online once, alphabetically. */
  devices(): string[] {
    return this.#devices.names();
  }

  /** Names of the pipelines that the device has reported, in its order. */
  pipelines(device: string): string[] {
    return this.#devices.get(device).reported?.pipelines.map(({ name }) => name) ?? [];
  }

  known(device: string, pipeline = DEFAULT_PIPELINE): KnownPipeline {
    return knownPipeline(this.#devices.get(device), pipeline);
  }

  reported(device: string, pipeline = DEFAULT_PIPELINE): PipelineReport | null {
    return this.known(device, pipeline).reported;
  }

  /**
   * States that a pipeline of `device` should run `held` (null: keep what is there) with `settings`; absent, those that it has. Returns the generation.
   * @throws DeployError E_PUBLISH when the broker does not take it, E_GENERATION
   */
  async publish(device: string, held: HeldPackage | null, settings?: Settings, pipeline = DEFAULT_PIPELINE): Promise<number> {
    if (held !== null) this.hold(held);
    return this.state(device, held === null ? null : desiredPackage(held, this.#options.blockBytes), settings, pipeline);
  }

  /** As `publish`, of a package that need not be here: whoever holds it sends it. */
  async state(device: string, wanted: Desired['package'], settings?: Settings, pipeline = DEFAULT_PIPELINE): Promise<number> {
    const client = this.#connected();
    const generation = this.#devices.nextGeneration(device, pipeline, Date.now());
    const kept = settings ?? this.reported(device, pipeline)?.settings ?? {};
    const desired = this.#signed(device, pipeline, { schema_version: SCHEMA_VERSION, generation, package: wanted, settings: kept, time_ms: Date.now() });
    try {
      const payload = encodePayload(desiredSchema, desired);
      await client.publishAsync(deviceTopic({ fleet: this.#options.fleet, device }, { kind: 'desired', pipeline }), payload, { qos: 1, retain: true });
    } catch (cause) {
      throw new DeployError('E_PUBLISH', `The broker does not take what ${device} should run: ${messageOf(cause)}`, { cause });
    }
    this.#devices.state(device, pipeline, desired);
    return generation;
  }

  #signed(device: string, pipeline: string, desired: Desired): Desired {
    const { signer, fleet } = this.#options;
    if (signer === undefined) return desired;
    const { image_root: image = null, director_root: director = null } = this.#devices.get(device).reported?.trust ?? {};
    return { ...desired, signed: signer.sign({ fleet, device, pipeline }, desired, { image, director }) };
  }

  /**
   * Waits until a pipeline (by default `main`) has reported the end of what `publish` asked of it.
   * @throws DeployError E_DEVICE_TIMEOUT; the signal's reason when aborted
   */
  async outcome(device: string, digest: string, generation: number, options: { timeoutMs: number; signal?: AbortSignal; pipeline?: string }): Promise<Outcome> {
    const { pipeline = DEFAULT_PIPELINE } = options;
    const address = { fleet: this.#options.fleet, device };
    return new Promise((resolve, reject) => {
      const finish = (action: () => void): void => {
        clearTimeout(timer);
        this.off('changed', onChanged);
        options.signal?.removeEventListener('abort', onAbort);
        action();
      };
      const check = (known: KnownPipeline): void => {
        const state = outcomeOf(known, digest, generation);
        const { reported } = known;
        if (reported !== null && state !== null) finish(() => resolve({ address, state, reported, error: errorOf(reported, generation) }));
      };
      const onChanged = (name: string, known: KnownDevice): void => { if (name === device) check(knownPipeline(known, pipeline)); };
      const onAbort = (): void => finish(() => reject(options.signal?.reason ?? new Error('aborted')));
      const timer = setTimeout(() => finish(() => reject(timedOut(device, this.known(device, pipeline), options.timeoutMs))), options.timeoutMs);
      this.on('changed', onChanged);
      options.signal?.addEventListener('abort', onAbort);
      if (options.signal?.aborted === true) onAbort();
      else check(this.known(device, pipeline));
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
      if (parsed.topic.kind === 'ota_get') this.#request(parsed, decodePayload(otaGetSchema, payload));
      else this.#note(parsed, parsed.topic, payload);
    } catch {
      // Whatever a device or a stranger sends, the others are served.
      this.stats.malformedPayloads++;
    }
  }

  #note(address: DeviceAddress, topic: DeviceTopic, payload: Buffer): void {
    const known = this.#devices.note(address.device, topic, payload);
    if (known === null) return;
    if (topic.kind === 'reported' && known.reported !== null) this.emit('reported', address, known.reported);
    this.emit('changed', address.device, known);
  }

  #request(address: DeviceAddress, request: OtaGet): void {
    this.stats.requests++;
    const held = this.#held.get(request.digest);
    if (held !== undefined) return this.#answer(address, request, held);
    void this.#find(request.digest).then((found) => {
      if (found !== null) this.#answer(address, request, found);
      else this.stats.requestsRefused++;
    });
  }

  /** Looked for once at a time, and kept while it is among the newest. */
  async #find(digest: string): Promise<HeldPackage | null> {
    const { find } = this.#options;
    if (find === undefined) return null;
    const looking = this.#found.get(digest) ?? find(digest);
    this.#found.delete(digest);
    this.#found.set(digest, looking);
    for (const oldest of [...this.#found.keys()].slice(0, -MAX_FOUND)) this.#found.delete(oldest);
    const found = await looking;
    if (found === null) this.#found.delete(digest);
    return found;
  }

  #answer(address: DeviceAddress, request: OtaGet, held: HeldPackage): void {
    if (held.bytes.byteLength !== request.size_bytes) {
      this.stats.requestsRefused++;
      this.#refuse(address, request);
      return;
    }
    const blocks = requestedBlocks(request, blockCount(held.bytes.byteLength, request.block_bytes));
    this.emit('serving', address.device, held);
    const context = { address, held, blockBytes: request.block_bytes };
    if (!this.#schedule.request(`${address.device}/${held.digest}`, { context, blocks })) this.stats.requestsRefused++;
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

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
