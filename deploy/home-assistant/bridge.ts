import { setTimeout as sleep } from 'node:timers/promises';
import type { MqttClient } from 'mqtt';
import { parseTopic, randomClientId, type DeviceAddress } from '../../agent/contracts/index.js';
import { collectedTopics, readMessage } from '../collector/fleet-message.js';
import { connectLink, type LinkOptions } from '../mqtt/link.js';
import { isRefusal, type ReportGuard } from '../repository/report-guard.js';
import { HomeAssistantDevice, type StateMessage } from './device.js';
import { bridgeTopic, configTopic, discoveryConfig, nodeOf, nodePrefix, readConfig, stateTopics, type DiscoveryConfig } from './discovery.js';

export interface HomeAssistantOptions extends Omit<LinkOptions, 'clientId' | 'session' | 'prepare' | 'will'> {
  /** One fleet; all of them when absent. */
  fleet?: string;
  /** Decides which reports are believed. */
  guard: ReportGuard;
  /** Home Assistant's discovery prefix. */
  prefix: string;
  /** Others are counted as refused. */
  maxDevices: number;
  /** Retained messages come at once after subscribing; nothing says which was the last. Default 1500 ms. */
  quietMs?: number;
  /** After its start Home Assistant hears from all adapters; each waits for up to so long. Default 2000 ms. */
  birthDelayMs?: number;
}

export interface HomeAssistantStats {
  devices: number;
  messages: number;
  malformed: number;
  /** Reports that were not believed. */
  reportsRefused: number;
  /** Messages of devices beyond the limit. */
  devicesRefused: number;
  /** Discovery messages that were sent. */
  announced: number;
  /** Devices that left, and were cleared. */
  cleared: number;
}

interface Known {
  device: HomeAssistantDevice;
  config: DiscoveryConfig | null;
  /** The newest of each, for a broker or a Home Assistant that has lost them. */
  lasting: Map<string, StateMessage>;
}

/**
 * Shows the devices of a fleet to Home Assistant: reads what they publish for everybody, and publishes discovery and plain states beside it. Devices know nothing of it.
 * It has no state of its own: what it announced before is retained by the broker.
 */
export class HomeAssistantBridge {
  readonly stats: HomeAssistantStats = { devices: 0, messages: 0, malformed: 0, reportsRefused: 0, devicesRefused: 0, announced: 0, cleared: 0 };
  readonly #options: HomeAssistantOptions;
  readonly #known = new Map<string, Known>();
  /** By node: what an earlier run announced, until it is known whether the device is still there. */
  readonly #before = new Map<string, DiscoveryConfig>();
  #client: MqttClient | null = null;
  #heardMs = 0;
  #ready = false;
  #birth: NodeJS.Timeout | null = null;

  constructor(options: HomeAssistantOptions) {
    this.#options = options;
  }

  get connected(): boolean {
    return this.#client?.connected ?? false;
  }

  /** Resolves when all devices that the broker knows are announced, and those that have left since the last run are cleared. @throws DeployError E_BROKER_CONNECT */
  async start(): Promise<void> {
    if (this.#client !== null) return;
    const client = await this.#open();
    await this.#readRetained(client);
    for (const [node, config] of this.#before) if (!this.#known.has(node)) this.#clear(node, config);
    this.#ready = true;
    this.#announceAll();
  }

  /** Home Assistant shows all entities as unavailable from now on. */
  async stop(): Promise<void> {
    const client = this.#client;
    this.#client = null;
    this.#ready = false;
    if (this.#birth !== null) clearTimeout(this.#birth);
    if (client?.connected === true) await client.publishAsync(bridgeTopic(this.#options.fleet), 'offline', { qos: 1, retain: true }).catch(() => undefined);
    await client?.endAsync(!client.connected);
  }

  /** Takes all devices out of Home Assistant again, instead of `start`. @returns their number @throws DeployError E_BROKER_CONNECT */
  async remove(): Promise<number> {
    const client = await this.#open();
    await this.#readRetained(client);
    for (const [node, config] of this.#before) this.#clear(node, config);
    this.#publish({ topic: bridgeTopic(this.#options.fleet), payload: '', retain: true });
    await client.endAsync();
    this.#client = null;
    return this.#before.size;
  }

  async #open(): Promise<MqttClient> {
    const bridge = bridgeTopic(this.#options.fleet);
    const client = await connectLink({ ...this.#options, clientId: randomClientId('sterna-home-assistant'), will: { topic: bridge, payload: 'offline' } });
    this.#client = client;
    client.on('message', (topic, payload) => this.#receive(topic, payload, Date.now()));
    client.on('connect', () => this.#announceAll());
    return client;
  }

  /** First the devices, then what was announced of them: so nothing is cleared whose device is merely slower than the announcement. */
  async #readRetained(client: MqttClient): Promise<void> {
    const { fleet, prefix } = this.#options;
    await client.subscribeAsync([...collectedTopics(fleet), `${prefix}/status`], { qos: 1 });
    await this.#quiet();
    const configs = configTopic(prefix, '+');
    await client.subscribeAsync(configs, { qos: 1 });
    await this.#quiet();
    await client.unsubscribeAsync(configs);
  }

  async #quiet(): Promise<void> {
    const { quietMs = 1500 } = this.#options;
    this.#heardMs = Date.now();
    // Live messages must not postpone the start for ever.
    for (const deadline = Date.now() + 20 * quietMs; Date.now() - this.#heardMs < quietMs && Date.now() < deadline;) await sleep(quietMs / 10);
  }

  /** One message of the broker. Nothing that a device can send makes it throw. */
  #receive(topic: string, payload: Buffer, nowMs: number): void {
    const { prefix, guard } = this.#options;
    this.#heardMs = nowMs;
    if (topic === `${prefix}/status`) return this.#onBirth(payload);
    if (topic.startsWith(`${prefix}/device/`)) return this.#onConfig(topic, payload);
    this.stats.messages += 1;
    const parsed = parseTopic(topic);
    if (parsed?.topic.kind === 'status' && payload.byteLength === 0) return this.#leave(nodeOf(parsed));
    try {
      const message = readMessage(topic, payload, guard);
      const known = message === null ? null : this.#of(message.address);
      if (message === null || known === null) return;
      const states = known.device.take(message, guard, nowMs);
      this.#announce(nodeOf(message.address), known);
      for (const state of states) this.#show(known, state);
    } catch (error) {
      if (isRefusal(error)) this.stats.reportsRefused += 1;
      else this.stats.malformed += 1;
    }
  }

  #onBirth(payload: Buffer): void {
    if (payload.toString('utf8') !== 'online' || this.#birth !== null) return;
    this.#birth = setTimeout(() => {
      this.#birth = null;
      this.#announceAll();
    }, Math.random() * (this.#options.birthDelayMs ?? 2000));
  }

  #onConfig(topic: string, payload: Buffer): void {
    const node = topic.split('/').at(-2) ?? '';
    const config = node.startsWith(nodePrefix(this.#options.fleet)) && !this.#ready ? readConfig(payload) : null;
    if (config !== null) this.#before.set(node, config);
  }

  /** Null when there are too many devices. */
  #of(address: DeviceAddress): Known | null {
    const node = nodeOf(address);
    const known = this.#known.get(node);
    if (known !== undefined) return known;
    if (this.#known.size >= this.#options.maxDevices) {
      this.stats.devicesRefused += 1;
      return null;
    }
    const made: Known = { device: new HomeAssistantDevice(address), config: null, lasting: new Map() };
    this.#known.set(node, made);
    this.stats.devices = this.#known.size;
    return made;
  }

  #announceAll(): void {
    if (!this.#ready) return;
    this.#publish({ topic: bridgeTopic(this.#options.fleet), payload: 'online', retain: true });
    for (const [node, known] of this.#known) {
      this.#announce(node, known, true);
      for (const state of known.lasting.values()) this.#publish(state);
    }
  }

  /** Sends a device's discovery when it is another one than before. */
  #announce(node: string, known: Known, always = false): void {
    if (!this.#ready) return;
    const before = known.config ?? this.#before.get(node) ?? null;
    if (before !== null && known.config === null) known.device.remember(before);
    const { facts } = known.device;
    if (facts.status === null) return; // its availability is unknown, and it may be a message that came late
    const config = discoveryConfig(facts, bridgeTopic(this.#options.fleet), before?.components);
    if (!always && JSON.stringify(config) === JSON.stringify(known.config)) return;
    known.config = config;
    this.stats.announced += 1;
    this.#publish({ topic: configTopic(this.#options.prefix, node), payload: JSON.stringify(config), retain: true });
  }

  #show(known: Known, state: StateMessage): void {
    if (state.retain) {
      if (known.lasting.get(state.topic)?.payload === state.payload && this.#ready) return;
      known.lasting.set(state.topic, state);
    }
    if (this.#ready) this.#publish(state);
  }

  #leave(node: string): void {
    const known = this.#known.get(node);
    if (known === undefined) return;
    this.#known.delete(node);
    this.stats.devices = this.#known.size;
    const config = known.config ?? this.#before.get(node);
    this.#before.delete(node);
    if (config !== undefined) this.#clear(node, config);
  }

  #clear(node: string, config: DiscoveryConfig): void {
    this.stats.cleared += 1;
    for (const topic of [configTopic(this.#options.prefix, node), ...stateTopics(config)]) this.#publish({ topic, payload: '', retain: true });
  }

  /** Without a connection nothing is sent or kept: everything is announced again when it is back. */
  #publish({ topic, payload, retain }: StateMessage): void {
    if (this.#client?.connected === true) this.#client.publish(topic, payload, { qos: 1, retain }, () => undefined);
  }
}
