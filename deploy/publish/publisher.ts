import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MqttClient } from 'mqtt';
import {
  DEFAULT_PIPELINE, decodePayload, desiredSchema, deviceTopic, digest8, encodeBlock, encodeBusy, encodePayload, otaGetSchema, parseTopic,
  randomClientId, requestedBlocks, requireId, SCHEMA_VERSION, TOPIC_ROOT, type ChunkListRef, type Desired, type DesiredPackage, type DeviceAddress, type DeviceTopic, type OtaGet, type PipelineReport, type Reported, type Settings,
} from '../../agent/contracts/index.js';
import { messageOf } from '../../runtime/errors.js';
import { DeployError } from '../errors.js';
import { connectLink, type LinkOptions } from '../mqtt/link.js';
import { knownPipeline, KnownDevices, type KnownDevice, type KnownPipeline } from './devices.js';
import { errorOf, outcomeOf, timedOut, type Outcome } from './outcome.js';
import { desiredPackage, ServedPackage, type HeldPackage, type Pieces } from './packages.js';
import type { DesiredSigner } from '../repository/director.js';
import { isRefusal, ReportGuard, type RefusedReports } from '../repository/report-guard.js';
import { BlockSchedule, RateLimit } from './schedule.js';
import { settingsOutcome } from './settings.js';

export interface PublisherOptions extends Omit<LinkOptions, 'clientId'> {
  /** The fleet that it serves. */
  fleet: string;
  /** Upper bound of block messages. Default 4000, which is what a device takes; AWS IoT Core takes 100 publishes a second. */
  blocksPerSecond?: number;
  /** Blocks that wait for the socket to the broker at one time. Default 16, i.e. 1 MiB. */
  maxInFlight?: number;
  /** Devices that wait for blocks at one time. Default 256; the next one is told to ask again later. */
  maxWaitingDevices?: number;
  /** Payload bytes of a block. Default 64 KiB. */
  blockBytes?: number;
  /** Signs what devices should run. Without one, only devices in the unsigned mode of development take it. */
  signer?: DesiredSigner;
  /** Decides which reports are believed. Default: all that are no older than those before. */
  guard?: ReportGuard;
  /** Looks for a package that is asked for and not held; null: it is not here. Must not throw. */
  find?: (digest: string) => Promise<HeldPackage | null>;
}

/** How something is stated. */
export interface StateOptions {
  /** Absent: those that the pipeline has. */
  settings?: Settings;
  /** Absent: `main`. */
  pipeline?: string;
  /** One of `nextGeneration`, that was noted before; a device takes it once. Absent: the next one. */
  generation?: number;
}

interface OutcomeOptions {
  timeoutMs: number;
  signal?: AbortSignal;
  /** Absent: `main`. */
  pipeline?: string;
}

/** What a publisher did so far. */
export interface PublisherStats {
  requests: number;
  /** Malformed, or for a package that is not held. */
  requestsRefused: number;
  /** Answered with the time at which the device may ask again. */
  requestsPutOff: number;
  blocksSent: number;
  bytesSent: number;
  malformedPayloads: number;
  /** Reports that were not believed: forged, unsigned or replayed. */
  reportsRefused: number;
}

interface PublisherEvents {
  /** A device reported; `reported` is the latest. */
  reported: [address: DeviceAddress, reported: Reported];
  /** A report of a device was not believed. */
  refused: [device: string, refused: RefusedReports];
  /** Anything of a device changed: its report, its state, or what it should run. */
  changed: [device: string, known: KnownDevice];
  /** Blocks of a package begin to go to a device. */
  serving: [device: string, held: HeldPackage];
}

interface BlockRequest {
  address: DeviceAddress;
  /** Of what is asked for: the package, or its list of chunks. */
  digest: string;
  pieces: Pieces;
}

/** Devices whose requests are queued at one time; others are told when to ask again. */
const MAX_WAITING_DEVICES = 256;
/** What waits for a device on average. */
const BLOCKS_OF_A_DEVICE = 16;
const SHORTEST_BUSY_MS = 1000;
const LONGEST_BUSY_MS = 60_000;
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
  readonly #guard: ReportGuard;
  readonly #held = new Map<string, ServedPackage>();
  readonly #found = new Map<string, Promise<ServedPackage | null>>();
  readonly #devices: KnownDevices;
  readonly #schedule: BlockSchedule<BlockRequest>;
  readonly #perSecond: number;
  readonly #rate: RateLimit;
  readonly #stopping = new AbortController();
  #client: MqttClient | null = null;
  /** Blocks that the socket has not taken yet, of the present connection. */
  #inFlight = 0;
  #connection = 0;
  #pumping = false;
  readonly stats: PublisherStats = { requests: 0, requestsRefused: 0, requestsPutOff: 0, blocksSent: 0, bytesSent: 0, malformedPayloads: 0, reportsRefused: 0 };

  constructor(options: PublisherOptions) {
    super();
    requireId('fleet', options.fleet);
    this.#options = options;
    this.#guard = options.guard ?? new ReportGuard();
    this.#devices = new KnownDevices(options.fleet, this.#guard);
    this.#perSecond = options.blocksPerSecond ?? 4000;
    this.#schedule = new BlockSchedule(options.maxWaitingDevices ?? MAX_WAITING_DEVICES);
    this.#rate = new RateLimit(this.#perSecond, Math.max(1, Math.min(16, this.#perSecond)));
  }

  /** @throws DeployError E_BROKER_CONNECT */
  async start(): Promise<void> {
    if (this.#client !== null) return;
    const client = await connectLink({ ...this.#options, clientId: randomClientId('sterna-publisher') });
    this.#client = client;
    client.on('message', (topic, payload) => this.#receive(topic, payload));
    client.on('close', () => this.#forget());
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

  /** Serves these bytes from now on, also when others were held under the digest: a package that was read damaged must not stay. */
  hold(held: HeldPackage): void {
    if (this.#held.get(held.digest)?.held.bytes !== held.bytes) this.#held.set(held.digest, new ServedPackage(held));
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
   * The generation of what is stated next, for whoever notes it before stating it.
   * @throws DeployError E_GENERATION
   */
  nextGeneration(device: string, pipeline = DEFAULT_PIPELINE): number {
    return this.#devices.nextGeneration(device, pipeline, Date.now());
  }

  /**
   * States that a pipeline of `device` should run `held` (null: keep what is there) with `settings`; absent, those that it has. Returns the generation.
   * @throws DeployError E_PUBLISH when the broker does not take it, E_GENERATION
   */
  async publish(device: string, held: HeldPackage | null, settings?: Settings, pipeline = DEFAULT_PIPELINE): Promise<number> {
    const how = { pipeline, ...(settings === undefined ? {} : { settings }) };
    if (held === null) return this.state(device, null, how);
    this.hold(held);
    return this.state(device, withChunks(desiredPackage(held, this.#options.blockBytes), this.#held.get(held.digest)?.chunks), how);
  }

  /** As `publish`, of a package that need not be here: whoever holds it sends it. */
  async state(device: string, wanted: Desired['package'], how: StateOptions = {}): Promise<number> {
    const client = this.#connected();
    const { settings, pipeline = DEFAULT_PIPELINE, generation = this.nextGeneration(device, pipeline) } = how;
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

  /** The list of chunks is the one that the image repository has signed: an older version may have added the package, and made none. */
  #signed(device: string, pipeline: string, stated: Desired): Desired {
    const { signer, fleet } = this.#options;
    if (signer === undefined) return stated;
    const chunks = stated.package === null ? undefined : signer.chunks(stated.package.digest, fleet);
    const desired: Desired = { ...stated, package: stated.package === null ? null : withChunks(stated.package, chunks) };
    const { image_root: image = null, director_root: director = null } = this.#devices.get(device).reported?.trust ?? {};
    const has = this.reported(device, pipeline)?.settings;
    return { ...desired, signed: signer.sign({ fleet, device, pipeline }, desired, { image, director, ...(has === undefined ? {} : { settings: has }) }) };
  }

  /**
   * Waits until a pipeline (by default `main`) has reported the end of what `publish` asked of it.
   * @throws DeployError E_DEVICE_TIMEOUT; the signal's reason when aborted
   */
  outcome(device: string, digest: string, generation: number, options: OutcomeOptions): Promise<Outcome> {
    return this.#settled(device, generation, options, (known) => outcomeOf(known, digest, generation));
  }

  /**
   * The same for settings that were stated without a package.
   * @throws DeployError E_DEVICE_TIMEOUT; the signal's reason when aborted
   */
  settingsOutcome(device: string, settings: Settings, generation: number, options: OutcomeOptions): Promise<Outcome> {
    return this.#settled(device, generation, options, (known) => settingsOutcome(known, settings, generation));
  }

  #settled(device: string, generation: number, options: OutcomeOptions, judge: (known: KnownPipeline) => Outcome['state'] | null): Promise<Outcome> {
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
        const state = judge(known);
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
    } catch (error) {
      // Whatever a device or a stranger sends, the others are served.
      const refused = isRefusal(error) ? this.#guard.refused(parsed) : null;
      if (refused === null) this.stats.malformedPayloads++;
      else {
        this.stats.reportsRefused++;
        this.emit('refused', parsed.device, refused);
      }
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
    const digest = request.list_of ?? request.digest;
    const served = this.#held.get(digest);
    if (served !== undefined) return this.#answer(address, request, served);
    void this.#find(digest).then((found) => {
      if (found !== null) this.#answer(address, request, found);
      else this.stats.requestsRefused++;
    });
  }

  /** Looked for once at a time, and kept while it is among the newest. */
  async #find(digest: string): Promise<ServedPackage | null> {
    const { find } = this.#options;
    if (find === undefined) return null;
    const looking = this.#found.get(digest) ?? find(digest).then((held) => (held === null ? null : new ServedPackage(held)));
    this.#found.delete(digest);
    this.#found.set(digest, looking);
    for (const oldest of [...this.#found.keys()].slice(0, -MAX_FOUND)) this.#found.delete(oldest);
    const found = await looking;
    if (found === null) this.#found.delete(digest);
    return found;
  }

  #answer(address: DeviceAddress, request: OtaGet, served: ServedPackage): void {
    const pieces = served.pieces(request);
    const first = request.first_block;
    if (pieces === null) {
      // The device expects another size, or another list: no data can satisfy it.
      this.stats.requestsRefused++;
      return this.#tell(address, request, encodeBlock({ index: first, last: false, unavailable: true, payload: new Uint8Array(0) }));
    }
    this.emit('serving', address.device, served.held);
    const context = { address, digest: request.digest, pieces };
    if (!this.#schedule.request(`${address.device}/${request.digest}`, { context, blocks: requestedBlocks(request, pieces.count) })) {
      this.stats.requestsPutOff++;
      return this.#tell(address, request, encodeBusy(first, this.#busyMs()));
    }
    void this.#pump();
  }

  /** About the time that those take who wait already, and different for each, so that they do not all come back at once. */
  #busyMs(): number {
    const aheadMs = this.#schedule.devices * BLOCKS_OF_A_DEVICE * 1000 / this.#perSecond;
    return Math.min(LONGEST_BUSY_MS, Math.max(SHORTEST_BUSY_MS, aheadMs)) * (0.5 + Math.random());
  }

  #tell(address: DeviceAddress, { digest, first_block: index }: OtaGet, message: Buffer): void {
    this.#client?.publish(deviceTopic(address, { kind: 'ota_block', digest8: digest8(digest), index }), message, { qos: 1 });
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

  /** What was queued for a connection that is gone will be asked for again; of what it was writing, MQTT.js says nothing any more. */
  #forget(): void {
    this.#schedule.clear();
    this.#connection++;
    this.#inFlight = 0;
  }

  /**
   * Blocks travel with QoS 0: a device that misses one asks for it again. With QoS 1, each block would wait for the acknowledgements of two
   * connections, and brokers let few unacknowledged messages out at a time (Mosquitto: 20).
   */
  #send({ address, digest, pieces }: BlockRequest, index: number): void {
    const client = this.#client;
    if (client === null) return;
    const message = pieces.message(index);
    const connection = this.#connection;
    this.#inFlight++;
    client.publish(deviceTopic(address, { kind: 'ota_block', digest8: digest8(digest), index }), message, { qos: 0 }, (error) => {
      if (connection !== this.#connection) return;
      this.#inFlight--;
      if (!error) {
        this.stats.blocksSent++;
        this.stats.bytesSent += message.byteLength;
      }
      void this.#pump();
    });
  }
}

function withChunks({ chunks: _, ...wanted }: DesiredPackage, chunks: ChunkListRef | undefined): DesiredPackage {
  return chunks === undefined ? wanted : { ...wanted, chunks };
}
