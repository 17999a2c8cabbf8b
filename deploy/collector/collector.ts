import { EventEmitter } from 'node:events';
import type { MqttClient } from 'mqtt';
import { parseTopic, randomClientId, supersedes, type DeviceAddress, type Event, type TelemetryWindow } from '../../agent/contracts/index.js';
import { DeployError } from '../errors.js';
import { connectLink, type LinkOptions } from '../mqtt/link.js';
import { isRefusal, ReportGuard } from '../repository/report-guard.js';
import { collectedTopics, readMessage, type FleetMessage } from './fleet-message.js';
import type { CollectorStore, DeviceRecord } from './store.js';

export interface CollectorOptions extends Omit<LinkOptions, 'clientId'> {
  /** One fleet; all of them when absent. */
  fleet?: string;
  /** Decides which reports are believed. Default: all that are no older than those before. */
  guard?: ReportGuard;
}

/** What was refused, so that a hostile or broken device is visible and harmless. */
export interface CollectorStats {
  messages: number;
  malformed: number;
  duplicates: number;
  /** Windows that share only some of their numbers with known ones. */
  overlaps: number;
  devicesRefused: number;
  /** Reports that were not believed: forged, unsigned or replayed. */
  reportsRefused: number;
}

interface CollectorEvents {
  device: [record: DeviceRecord];
  telemetry: [address: DeviceAddress, window: TelemetryWindow];
  event: [address: DeviceAddress, event: Event];
}

/** Keeps what the devices of a fleet say. Everything that comes in is checked against the contracts first. */
export class Collector extends EventEmitter<CollectorEvents> {
  readonly #options: CollectorOptions;
  readonly #store: CollectorStore;
  #client: MqttClient | null = null;
  readonly stats: CollectorStats = { messages: 0, malformed: 0, duplicates: 0, overlaps: 0, devicesRefused: 0, reportsRefused: 0 };
  /** Which reports were refused, and why. */
  readonly guard: ReportGuard;

  constructor(options: CollectorOptions, store: CollectorStore) {
    super();
    this.#options = options;
    this.#store = store;
    this.guard = options.guard ?? new ReportGuard();
  }

  get connected(): boolean {
    return this.#client?.connected ?? false;
  }

  /** @throws DeployError E_BROKER_CONNECT */
  async start(): Promise<void> {
    if (this.#client !== null) return;
    const client = await connectLink({ ...this.#options, clientId: randomClientId('sterna-collector') });
    this.#client = client;
    client.on('message', (topic, payload) => this.receive(topic, payload, Date.now()));
    await client.subscribeAsync(collectedTopics(this.#options.fleet), { qos: 1 });
  }

  async stop(): Promise<void> {
    const client = this.#client;
    this.#client = null;
    await client?.endAsync(!client.connected);
  }

  /** One message of the broker. Nothing that a device can send makes it throw. */
  receive(text: string, payload: Uint8Array, nowMs: number): void {
    this.stats.messages++;
    try {
      const message = readMessage(text, payload, this.guard);
      if (message !== null) this.#take(message, nowMs);
    } catch (error) {
      if (error instanceof DeployError) throw error;
      if (isRefusal(error)) this.#refused(text);
      else this.stats.malformed++;
    }
  }

  #take(message: FleetMessage, nowMs: number): void {
    const { address } = message;
    switch (message.kind) {
      case 'status': {
        if (!supersedes(message.value, this.#store.device(address)?.status ?? null)) return;
        return this.#noted(address, this.#store.note(address, 'status', message.value, nowMs));
      }
      case 'caps': return this.#noted(address, this.#store.note(address, 'caps', message.value, nowMs));
      case 'reported': {
        this.guard.requireNewer(address, message.value, this.#store.device(address)?.reported ?? null);
        return this.#noted(address, this.#store.note(address, 'reported', message.value, nowMs));
      }
      case 'telemetry': return this.#takeWindow(address, message, nowMs);
      case 'event': return this.#takeEvent(address, message.value, nowMs);
    }
  }

  /** The alarm of a refused report is shown with the device, if there is one. */
  #refused(topic: string): void {
    this.stats.reportsRefused++;
    const address = parseTopic(topic);
    const record = address === null ? null : this.#store.device(address);
    if (record !== null) this.emit('device', record);
  }

  #noted(address: DeviceAddress, accepted: boolean): void {
    const record = accepted ? this.#store.device(address) : null;
    if (record === null) this.stats.devicesRefused++;
    else this.emit('device', record);
  }

  #takeWindow(address: DeviceAddress, message: Extract<FleetMessage, { kind: 'telemetry' }>, nowMs: number): void {
    const arrival = this.#store.takeWindow(address, message, nowMs);
    if (arrival === 'refused') this.stats.devicesRefused++;
    else if (arrival === 'added') this.emit('telemetry', address, message.value);
    else if (arrival === 'duplicate') this.stats.duplicates++;
    else this.stats.overlaps++;
  }

  #takeEvent(address: DeviceAddress, event: Event, nowMs: number): void {
    if (!this.#store.touch(address, nowMs)) {
      this.stats.devicesRefused++;
    } else if (this.#store.addEvent(address, event)) {
      this.emit('event', address, event);
    } else {
      this.stats.duplicates++;
    }
  }
}
