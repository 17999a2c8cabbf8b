/** The daemon's side of the broker: the link with its birth and will messages, what the outbox sends, and what arrives. */
import {
  deviceClientName, deviceSubscriptions, deviceTopic, encodePayload, otaGetSchema, SCHEMA_VERSION, statusSchema, type Desired, type DeviceAddress, type DeviceTopic, type OtaGet,
} from './contracts/index.js';
import { toCodedError } from './errors.js';
import type { Foundation } from './foundation.js';
import { Downlink } from './mqtt/downlink.js';
import { MAX_IN_FLIGHT, MqttLink } from './mqtt/link.js';
import { leastBirth } from './ota/journal.js';
import { OutboxPump } from './outbox/pump.js';
import { runtimeVersion } from '../runtime/version.js';

/** How long the outbox may go on sending when the daemon stops. */
export const DRAIN_MS = 2000;

export interface ConnectionParts {
  foundation: Foundation;
  pipelines: readonly string[];
  /** Delays between attempts to connect; tests give shorter ones. */
  backoff?: { baseMs: number; capMs: number };
  onConnected: () => void;
  onDesired: (pipeline: string, desired: Desired) => void;
  onCommand: (name: string, payload: Buffer) => void;
  onBlock: (digest8: string, index: number, message: Buffer) => void;
}

/** Exists also when the configuration names no broker; it is then never connected. */
export class Connection {
  readonly #parts: ConnectionParts;
  readonly #address: DeviceAddress;
  readonly #link: MqttLink | null;
  readonly #pump: OutboxPump | null;
  #birthSeq = 0;
  /** Code of the fault that says that the number could not be written; null when it was. */
  #unsaved: string | null = null;

  constructor(parts: ConnectionParts) {
    const { config, outbox, clock, faults } = parts.foundation;
    this.#parts = parts;
    this.#address = { fleet: config.fleet, device: config.device_id };
    this.#link = config.broker.url === null ? null : this.#createLink(config.broker.url);
    this.#pump = this.#link === null ? null : new OutboxPump(outbox, this.#link, clock, {
      prefix: this.#topic({ kind: 'status' }).replace(/\/status$/, ''), backfillPerSecond: config.outbox.backfill_per_s, maxInFlight: MAX_IN_FLIGHT, telemetryQos: config.telemetry.qos,
      onFault: (error) => faults.raise('outbox', error),
    });
  }

  get connected(): boolean {
    return this.#link?.connected ?? false;
  }

  /** Number of the newest connection. It only grows, also over restarts of the daemon. */
  get birthSeq(): number {
    return this.#birthSeq;
  }

  get reconnects(): number {
    return this.#link?.reconnects ?? 0;
  }

  /** What `/api/status` shows of the broker; null when the configuration names none. */
  status(): Record<string, unknown> | null {
    const link = this.#link;
    return link === null ? null : { state: link.state, protocol: link.protocol === 5 ? '5' : '3.1.1', reconnects: link.reconnects, last_error: link.lastError };
  }

  start(): void {
    this.#pump?.start();
    this.#link?.start();
  }

  /** Sends the waiting messages, as many as `DRAIN_MS` leaves time for. */
  async drain(): Promise<void> {
    await this.#pump?.drain(DRAIN_MS).finally(() => this.#pump?.stop());
  }

  async stop(): Promise<void> {
    await this.#link?.stop();
  }

  /** Tells that a message waits in the outbox and should be sent soon. */
  kick(): void {
    this.#pump?.kick();
  }

  /** Publishes the retained birth message of this connection again. @throws AgentError E_BROKER_AWAY */
  async birth(): Promise<void> {
    await this.#link?.birth();
  }

  /** Publishes a retained report. @throws AgentError E_BROKER_AWAY */
  async publish(kind: 'caps' | 'reported', payload: Buffer): Promise<void> {
    await this.#link?.publish(this.#topic({ kind }), payload, { qos: 1, retain: true });
  }

  /** Sends a request for blocks. A failure needs no handling here: the download's stall timer asks again for what is lost. */
  request(request: OtaGet): void {
    this.#link?.publish(this.#topic({ kind: 'ota_get' }), encodePayload(otaGetSchema, request), { qos: 1 }).catch(() => undefined);
  }

  #topic(topic: DeviceTopic): string {
    return deviceTopic(this.#address, topic);
  }

  #createLink(url: string): MqttLink {
    const { foundation, pipelines, backoff, onDesired, onCommand, onBlock } = this.#parts;
    const { config, clock, faults, log, counters, bootId, lifecycle } = foundation;
    const downlink = new Downlink({ address: this.#address, pipelines, counters, faults, clock, onDesired, onCommand, onBlock });
    lifecycle.add({ name: 'downlink', stop: () => downlink.stop() });
    return new MqttLink({
      broker: { ...config.broker, url },
      clientId: deviceClientName({ fleet: config.fleet, device: config.device_id }),
      statusTopic: this.#topic({ kind: 'status' }),
      subscriptions: deviceSubscriptions(this.#address),
      ...(backoff === undefined ? {} : { backoff }),
    }, {
      nextBirth: () => this.#nextBirth(),
      status: (state, birthSeq) => encodePayload(statusSchema, {
        schema_version: SCHEMA_VERSION, state, boot_id: bootId, birth_seq: birthSeq, version: runtimeVersion, time_ms: clock.nowMs(), clock_synchronized: clock.synchronized(),
      }),
      onConnected: () => this.#onConnected(),
      onDisconnected: (error) => log.info('the connection to the broker ended', { ...error }),
      onFailed: (error) => { if (error.code !== 'E_BROKER_AWAY') faults.raise('mqtt', error); },
      onMessage: (topic, payload, retained) => downlink.receive(topic, payload, retained),
    }, log);
  }

  /**
   * The next connection's number. If the disk is full, it grows in memory only, because a device that cannot write must still be able to connect and
   * say so.
   */
  #nextBirth(): number {
    const { journal, faults, clock } = this.#parts.foundation;
    try {
      this.#birthSeq = journal.nextBirth(clock.nowMs());
      if (this.#unsaved !== null) faults.clear('agent', this.#unsaved);
      this.#unsaved = null;
    } catch (error) {
      const coded = toCodedError(error);
      this.#unsaved = coded.code;
      faults.raise('agent', coded);
      this.#birthSeq = Math.max(this.#birthSeq + 1, leastBirth(clock.nowMs()));
    }
    return this.#birthSeq;
  }

  #onConnected(): void {
    for (const code of ['E_BROKER_REFUSED', 'E_BROKER_PROTOCOL', 'E_PACKET_SIZE']) this.#parts.foundation.faults.clear('mqtt', code);
    this.#pump?.connected();
    this.#parts.onConnected();
  }
}
