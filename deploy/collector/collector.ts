import { EventEmitter } from 'node:events';
import { randomBytes } from 'node:crypto';
import type { MqttClient } from 'mqtt';
import {
  capsSchema, decodePayload, eventSchema, parseTopic, reportedSchema, requireNewerReport, statusSchema, supersedes, telemetrySchema, upstreamSubscriptions,
  type DeviceAddress, type DeviceTopic, type Event, type TelemetryWindow,
} from '../../agent/contracts/index.js';
import { DeployError } from '../errors.js';
import { connectLink, type LinkOptions } from '../mqtt/link.js';
import type { CollectorStore, DeviceRecord } from './store.js';

export interface CollectorOptions extends Omit<LinkOptions, 'clientId'> {
  /** One fleet; all of them when absent. */
  fleet?: string;
}

/** What was refused, so that a hostile or broken device is visible and harmless. */
export interface CollectorStats {
  messages: number;
  malformed: number;
  duplicates: number;
  /** Windows that share only some of their numbers with known ones. */
  overlaps: number;
  devicesRefused: number;
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
  readonly stats: CollectorStats = { messages: 0, malformed: 0, duplicates: 0, overlaps: 0, devicesRefused: 0 };

  constructor(options: CollectorOptions, store: CollectorStore) {
    super();
    this.#options = options;
    this.#store = store;
  }

  get connected(): boolean {
    return this.#client?.connected ?? false;
  }

  /** @throws DeployError E_BROKER_CONNECT */
  async start(): Promise<void> {
    if (this.#client !== null) return;
    const client = await connectLink({ ...this.#options, clientId: `sterna-collector-${randomBytes(4).toString('hex')}` });
    this.#client = client;
    client.on('message', (topic, payload) => this.receive(topic, payload, Date.now()));
    const topics = upstreamSubscriptions(this.#options.fleet).filter((topic) => !topic.endsWith('/ota/get') && !topic.endsWith('/res/+'));
    await client.subscribeAsync(topics, { qos: 1 });
  }

  async stop(): Promise<void> {
    const client = this.#client;
    this.#client = null;
    await client?.endAsync(!client.connected);
  }

  /** One message of the broker. Nothing that a device can send makes it throw. */
  receive(text: string, payload: Uint8Array, nowMs: number): void {
    this.stats.messages++;
    const parsed = parseTopic(text);
    if (parsed === null) {
      this.stats.malformed++;
      return;
    }
    if (payload.byteLength === 0) return; // a retained message being cleared
    try {
      this.#take({ fleet: parsed.fleet, device: parsed.device }, parsed.topic, payload, nowMs);
    } catch (error) {
      if (error instanceof DeployError) throw error;
      this.stats.malformed++;
    }
  }

  #take(address: DeviceAddress, topic: DeviceTopic, payload: Uint8Array, nowMs: number): void {
    switch (topic.kind) {
      case 'status': {
        const status = decodePayload(statusSchema, payload);
        if (!supersedes(status, this.#store.device(address)?.status ?? null)) return;
        return this.#noted(address, this.#store.note(address, 'status', status, nowMs));
      }
      case 'caps': return this.#noted(address, this.#store.note(address, 'caps', decodePayload(capsSchema, payload), nowMs));
      case 'reported': {
        const reported = decodePayload(reportedSchema, payload);
        requireNewerReport(reported, this.#store.device(address)?.reported ?? null);
        return this.#noted(address, this.#store.note(address, 'reported', reported, nowMs));
      }
      case 'telemetry': return this.#takeWindow(address, decodePayload(telemetrySchema, payload), nowMs);
      case 'event': return this.#takeEvent(address, topic.type, decodePayload(eventSchema, payload), nowMs);
      default: return;
    }
  }

  #noted(address: DeviceAddress, accepted: boolean): void {
    const record = accepted ? this.#store.device(address) : null;
    if (record === null) this.stats.devicesRefused++;
    else this.emit('device', record);
  }

  #takeWindow(address: DeviceAddress, window: TelemetryWindow, nowMs: number): void {
    if (!this.#store.touch(address, nowMs)) {
      this.stats.devicesRefused++;
      return;
    }
    const arrival = this.#store.addWindow(address, window);
    if (arrival === 'added') this.emit('telemetry', address, window);
    else if (arrival === 'duplicate') this.stats.duplicates++;
    else this.stats.overlaps++;
  }

  #takeEvent(address: DeviceAddress, type: string, event: Event, nowMs: number): void {
    if (event.type !== type) {
      this.stats.malformed++;
    } else if (!this.#store.touch(address, nowMs)) {
      this.stats.devicesRefused++;
    } else if (this.#store.addEvent(address, event)) {
      this.emit('event', address, event);
    } else {
      this.stats.duplicates++;
    }
  }
}
