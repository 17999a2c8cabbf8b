import type { Duplex } from 'node:stream';
import type { IPublishPacket, MqttClient } from 'mqtt';
import { Histogram, randomClientId, type HistogramData } from '../../agent/contracts/index.js';
import { redact } from '../../runtime/redact.js';
import { DeployError } from '../errors.js';
import { connectLink, type LinkOptions } from '../mqtt/link.js';
import { Batcher, defaultBatching, type BatchItem, type BatcherOptions } from './batcher.js';
import { collectedTopics, inventoryTopics, readMessage, type FleetMessage } from './fleet-message.js';
import type { FleetStore, Outcome } from './fleet-store.js';
import { isRefusal, ReportGuard } from '../repository/report-guard.js';

export interface SharedCollectorOptions extends Omit<LinkOptions, 'clientId' | 'session' | 'prepare'> {
  /** One fleet; all of them when absent. */
  fleet?: string;
  /** Collectors of one group divide the messages among themselves (shared subscriptions of MQTT 5). Null: this one takes them all, from a broker that cannot divide them. */
  group: string | null;
  /** Of this collector, within the group. The broker keeps its session under this name, so it has to come back with the same one. */
  name: string;
  /** Most messages that the broker sends before the first of them is durable. */
  receiveMaximum?: number;
  /** How long the broker keeps the session of a collector that is away. Default: a day. */
  sessionSeconds?: number;
  /** Whether it reads what devices retain when it starts: a shared subscription brings only what is new, any other brings all. Default true. */
  inventory?: boolean;
  /** Kinds of messages that it takes. Default: all that devices send for collectors. */
  kinds?: readonly FleetMessage['kind'][];
  batching?: Partial<BatcherOptions>;
  /** Decides which reports are believed. Default: all; the store leaves out those that are older than what it has. */
  guard?: ReportGuard;
  /** Called when the store fails, and with null when it works again. */
  onStore?: (error: unknown) => void;
  /** Called once when the broker sends no more than so many messages before they are acknowledged, and keeps others waiting for that. */
  onNarrow?: (messages: number) => void;
}

/** What became of the messages since the start. */
export interface SharedStats extends Record<Outcome, number> {
  messages: number;
  malformed: number;
  /** Reports that were not believed: forged or unsigned. Replayed ones are `stale`. */
  reportsRefused: number;
  /** Messages of QoS 0 that came while the queue was full; the broker keeps those of QoS 1. */
  dropped: number;
  batches: number;
  failures: number;
}

/** The connection that a message came on, and what to acknowledge it with there; null: nothing. */
type Token = { stream: Duplex; messageId: number } | null;

const RECEIVE_MAXIMUM = 2000;
const DAY_SECONDS = 86_400;
const STOP_TIMEOUT_MS = 10_000;
/** Retained messages come at once after subscribing; nothing says which was the last. */
const QUIET_MS = 2000;

/**
 * One of many collectors that share a fleet. It has no state of its own: what is not in the store is not acknowledged, so the broker sends it again after a kill of the
 * collector or a failure of the store, and the store knows what it has.
 */
export class SharedCollector {
  readonly stats: SharedStats = { messages: 0, malformed: 0, reportsRefused: 0, dropped: 0, batches: 0, failures: 0, added: 0, duplicate: 0, overlap: 0, stale: 0, refused: 0 };
  readonly #options: SharedCollectorOptions;
  readonly #batcher: Batcher<Token>;
  readonly #guard: ReportGuard;
  readonly #limit: number;
  #client: MqttClient | null = null;
  #failing = false;
  /** Whether the broker knows shared subscriptions: CONNACK says so where it does not (MQTT 5, 3.2.2.3.13). */
  #divides = true;
  #lag = new Histogram();
  #inventory: Promise<void> = Promise.resolve();
  readonly #stop = new AbortController();

  constructor(options: SharedCollectorOptions, store: Pick<FleetStore, 'commit'>) {
    this.#options = options;
    this.#guard = options.guard ?? new ReportGuard();
    this.#limit = options.receiveMaximum ?? RECEIVE_MAXIMUM;
    this.#batcher = new Batcher<Token>(store, { ...defaultBatching, ...options.batching }, {
      committed: (items, outcomes) => this.#committed(items, outcomes),
      failed: (error) => this.#failed(error),
      narrow: (messages) => { if (messages < this.#limit) options.onNarrow?.(messages); },
    });
  }

  get connected(): boolean {
    return this.#client?.connected ?? false;
  }

  /** Messages that are not durable yet. */
  get waiting(): number {
    return this.#batcher.size;
  }

  /** Milliseconds from the end of live windows, by synchronized clocks of the devices, until they were durable. Begins anew with each call. */
  takeLag(): HistogramData {
    const lag = this.#lag.toData();
    this.#lag = new Histogram();
    return lag;
  }

  /** @throws DeployError E_BROKER_CONNECT, also when the broker has no groups */
  async start(): Promise<void> {
    if (this.#client !== null) return;
    const { fleet, group, name, kinds, sessionSeconds = DAY_SECONDS } = this.#options;
    this.#client = await connectLink({
      ...this.#options, clientId: `sterna-collect-${group ?? '-'}-${name}`, session: { expirySeconds: sessionSeconds, receiveMaximum: this.#limit, mqtt311: group === null },
      prepare: (client) => this.#prepare(client),
    });
    if (group !== null && !this.#divides) throw new DeployError('E_BROKER_CONNECT', `The broker ${redact(this.#options.url)} says that it divides no subscription among clients, so it has no use for groups: give --no-group`);
    const prefix = group === null ? '' : `$share/${group}/`;
    await this.#client.subscribeAsync(topicsOf(collectedTopics(fleet), kinds).map((topic) => `${prefix}${topic}`), { qos: 1 });
    if (group !== null && this.#options.inventory !== false) this.#inventory = this.#readInventory().catch(() => undefined);
  }

  /** Writes what it has received. What is not written within 10 s is not acknowledged, and comes to the next collector of this name. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#inventory;
    await this.#batcher.stop(STOP_TIMEOUT_MS);
    const client = this.#client;
    this.#client = null;
    await client?.endAsync(!client.connected);
  }

  /** Acknowledgements are this collector's own business: MQTT.js sends none when the handler reports an error. */
  #prepare(client: MqttClient): void {
    client.on('connect', ({ properties }) => { this.#divides = properties?.sharedSubscriptionAvailable !== false; });
    client.handleMessage = (packet: IPublishPacket, done): void => {
      const acknowledged = packet.qos > 0 && packet.messageId !== undefined;
      this.#receive(packet, acknowledged ? { stream: client.stream, messageId: packet.messageId ?? 0 } : null);
      done(acknowledged ? HELD : undefined);
    };
  }

  #receive({ topic, payload }: IPublishPacket, token: Token): void {
    this.stats.messages += 1;
    if (token === null && this.#batcher.size >= 2 * this.#limit) {
      this.stats.dropped += 1;
      return;
    }
    const message = this.#read(topic, typeof payload === 'string' ? Buffer.from(payload) : payload);
    if (message === null && token === null) return;
    this.#batcher.add({ received: message === null ? null : { message, receivedMs: Date.now() }, token });
  }

  #read(topic: string, payload: Uint8Array): FleetMessage | null {
    try {
      return readMessage(topic, payload, this.#guard);
    } catch (error) {
      this.stats[isRefusal(error) ? 'reportsRefused' : 'malformed'] += 1;
      return null;
    }
  }

  #committed(items: readonly BatchItem<Token>[], outcomes: readonly (Outcome | null)[]): void {
    const nowMs = Date.now();
    this.stats.batches += 1;
    outcomes.forEach((outcome, i) => {
      if (outcome === null) return;
      this.stats[outcome] += 1;
      const message = items[i]?.received?.message;
      if (outcome !== 'added' || message?.kind !== 'telemetry' || message.value.backfill || !message.value.clock_synchronized) return;
      this.#lag.record(Math.max(0, nowMs - message.value.end_ms));
    });
    if (this.#failing) this.#options.onStore?.(null);
    this.#failing = false;
    this.#acknowledge(items);
  }

  #failed(error: unknown): void {
    this.stats.failures += 1;
    if (!this.#failing) this.#options.onStore?.(error);
    this.#failing = true;
  }

  /** One write for a batch: a PUBACK without a reason is four bytes, in MQTT 5 (3.4.2.1) as in 3.1.1. An earlier connection is destroyed, and its messages come again. */
  #acknowledge(items: readonly BatchItem<Token>[]): void {
    for (const stream of new Set(items.flatMap(({ token }) => token?.stream ?? []))) {
      const ids = items.flatMap(({ token }) => (token?.stream === stream ? [token.messageId] : []));
      const packets = Buffer.alloc(4 * ids.length);
      ids.forEach((id, i) => packets.writeUInt32BE(0x40020000 + id, 4 * i));
      if (!stream.destroyed && stream.writable) stream.write(packets);
    }
  }

  /** Reads what devices retain over a connection of its own, no faster than the store takes it. */
  async #readInventory(): Promise<void> {
    let latest = Date.now();
    const client = await connectLink({
      ...this.#options, clientId: randomClientId('sterna-inventory'),
      prepare: (made) => {
        made.handleMessage = (packet, done): void => {
          latest = Date.now();
          if (packet.retain) this.#receive(packet, null);
          void this.#room().then(() => done());
        };
      },
    });
    try {
      await client.subscribeAsync(topicsOf(inventoryTopics(this.#options.fleet), this.#options.kinds), { qos: 1 });
      while (!this.#stop.signal.aborted && (Date.now() - latest < QUIET_MS || this.#batcher.size > 0)) await pause(QUIET_MS / 10);
    } finally {
      await client.endAsync(true);
    }
  }

  async #room(): Promise<void> {
    while (this.#batcher.size >= this.#limit && !this.#stop.signal.aborted) await pause(20);
  }
}

/** The last level of a topic says its kind; below `event/` it says the type of the event. */
const topicsOf = (topics: readonly string[], kinds?: readonly FleetMessage['kind'][]): string[] => topics.filter((topic) => kinds?.some((kind) => topic.split('/').slice(-2).includes(kind)) !== false);

/** Reported for each message, so it is made once: a stack trace takes longer than the rest of the handler. */
const HELD = new Error('acknowledged when it is durable');

const pause = (ms: number): Promise<void> => new Promise((resolve) => { setTimeout(resolve, ms); });
