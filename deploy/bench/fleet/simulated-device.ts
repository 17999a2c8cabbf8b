import { connect, type Socket } from 'node:net';
import { generate, parser, type Packet } from 'mqtt-packet';
import { deviceTopic, parseTopic, type DeviceAddress, type PipelineReport } from '../../../agent/contracts/index.js';
import { birthOf, windowBytes, type Body } from './payloads.js';
import { SimulatedUpdate } from './simulated-update.js';

/** Sums over all devices of a process. */
export interface SimulatedCounts {
  connected: number;
  connects: number;
  /** Windows that were made, and those that the broker acknowledged. Each is to be in the store once. */
  made: number;
  acknowledged: number;
  /** With the headers of MQTT, without those of TCP and IP. */
  bytesSent: number;
  bytesReceived: number;
  /** Of packets with a window. */
  windowBytes: number;
  windowsSent: number;
  /** Packages that were fetched completely. */
  updated: number;
}

export interface DeviceParts {
  /** Of the broker's nodes, on loopback. */
  ports: readonly number[];
  protocolVersion: 4 | 5;
  bodies: readonly Body[];
  /** How often each body was used. */
  uses: number[];
  counts: SimulatedCounts;
  /** Whether devices take updates. */
  updates: boolean;
}

interface Window {
  seq: number;
  body: number;
  endMs: number;
  /** Whether it waited for a connection. */
  backfill: boolean;
  /** Whether it is on its way on the present connection. */
  sent: boolean;
}

const KEEPALIVE_SECONDS = 120;
const MAX_IN_FLIGHT = 16;

/** A device as the broker sees it: it says what it is at each connection, keeps windows until they are acknowledged, and sends again what was on its way when the connection ended. */
export class SimulatedDevice {
  readonly #parts: DeviceParts;
  readonly #address: DeviceAddress;
  readonly #update: SimulatedUpdate | null = null;
  readonly #stream: string;
  readonly #windows = new Map<number, Window>();
  readonly #inFlight = new Map<number, number>();
  #socket: Socket | null = null;
  #ready = false;
  #births = 0;
  /** Place of its node among the ports. A device whose connection ended goes to the next one. */
  #node: number;
  #seq = 0;
  #messageId = 0;
  #reports = 0;

  /** @param node the place of the port at which it begins */
  constructor(parts: DeviceParts, address: DeviceAddress, { stream, node }: { stream: string; node: number }) {
    this.#parts = parts;
    this.#node = node;
    this.#address = address;
    this.#stream = stream;
    const [pipeline] = birthOf(stream, 0).reported.pipelines;
    if (!parts.updates || pipeline === undefined) return;
    this.#update = new SimulatedUpdate({
      ask: (request) => { if (this.#ready) this.#publish(deviceTopic(address, { kind: 'ota_get' }), Buffer.from(JSON.stringify(request)), false); },
      report: (now) => { if (this.#ready) this.#report(now); },
    }, pipeline);
  }

  get #version(): { protocolVersion: 4 | 5 } {
    return { protocolVersion: this.#parts.protocolVersion };
  }

  get connected(): boolean {
    return this.#ready;
  }

  /** Neither connected nor about to be. */
  get away(): boolean {
    return this.#socket === null;
  }

  /** Whether windows wait for their turn. */
  get behind(): boolean {
    return this.#inFlight.size < this.#windows.size;
  }

  get unacknowledged(): number {
    return this.#windows.size;
  }

  connect(): void {
    if (this.#socket !== null) return;
    const { ports, protocolVersion } = this.#parts;
    const socket = connect(ports[this.#node % ports.length] ?? 0, '127.0.0.1');
    this.#socket = socket;
    const packets = parser({ protocolVersion });
    packets.on('packet', (packet: Packet) => this.#take(packet));
    packets.on('error', () => socket.destroy());
    socket.setNoDelay(true);
    socket.on('connect', () => this.#greet());
    socket.on('data', (chunk) => {
      this.#parts.counts.bytesReceived += chunk.length;
      packets.parse(chunk);
    });
    socket.on('error', () => undefined);
    socket.on('close', () => this.#lost(socket));
  }

  /** Ends the connection as a router does that loses power: the broker publishes the will. */
  cut(): void {
    const socket = this.#socket;
    socket?.destroy();
    if (socket !== null) this.#lost(socket);
  }

  /** Ends one interval: a window is made, and sent if the device is connected. */
  tick(nowMs: number): void {
    const { bodies, uses, counts } = this.#parts;
    const body = (counts.made * 7) % bodies.length;
    uses[body] = (uses[body] ?? 0) + 1;
    counts.made += 1;
    this.#seq += 1;
    const window: Window = { seq: this.#seq, body, endMs: nowMs, backfill: !this.#ready, sent: false };
    this.#windows.set(window.seq, window);
    if (!this.#ready) return;
    if (this.#inFlight.size < MAX_IN_FLIGHT) this.#send(window);
    else this.#write(generate({ cmd: 'pingreq' })); // a broker that is slow to acknowledge must not take the device for dead
  }

  /** Sends the oldest window that waits. */
  catchUp(): void {
    if (!this.#ready || this.#inFlight.size >= MAX_IN_FLIGHT) return;
    for (const window of this.#windows.values()) {
      if (!window.sent) return this.#send(window);
    }
  }

  /** Does what is due of an update. */
  poll(nowMs: number): void {
    if (this.#ready) this.#update?.poll(nowMs);
  }

  #report(pipeline: PipelineReport): void {
    const { reported } = birthOf(this.#stream, this.#births);
    const order = { birth_seq: this.#births, seq: (this.#reports += 1) };
    this.#publish(deviceTopic(this.#address, { kind: 'reported' }), Buffer.from(JSON.stringify({ ...reported, order, pipelines: [pipeline] })), true);
  }

  /** Blocks travel with QoS 0, all else is acknowledged. */
  #hear({ topic, payload, messageId, qos }: Extract<Packet, { cmd: 'publish' }>, update: SimulatedUpdate): void {
    if (qos > 0 && messageId !== undefined) this.#write(generate({ cmd: 'puback', messageId }, this.#version));
    const parsed = parseTopic(topic);
    if (parsed === null) return;
    const before = update.updated;
    update.take(parsed.topic, typeof payload === 'string' ? Buffer.from(payload) : payload, Date.now());
    this.#parts.counts.updated += update.updated - before;
  }

  #subscribe(): void {
    const own = `sterna/v2/${this.#address.fleet}/${this.#address.device}`;
    this.#messageId = (this.#messageId % 65_535) + 1;
    const subscriptions = [`${own}/desired/+`, `${own}/ota/block/+/+`].map((topic) => ({ topic, qos: topic.endsWith('desired/+') ? 1 as const : 0 as const, nl: false, rap: false, rh: 0 }));
    this.#write(generate({ cmd: 'subscribe', messageId: this.#messageId, subscriptions }, this.#version));
  }

  #greet(): void {
    this.#births += 1;
    const { will } = birthOf(this.#stream, this.#births);
    this.#write(generate({
      cmd: 'connect', protocolId: 'MQTT', protocolVersion: this.#parts.protocolVersion, clean: true, clientId: `${this.#address.fleet}-${this.#address.device}`, keepalive: KEEPALIVE_SECONDS,
      will: { topic: deviceTopic(this.#address, { kind: 'status' }), payload: Buffer.from(JSON.stringify(will)), qos: 1, retain: true },
    }));
  }

  #take(packet: Packet): void {
    if (packet.cmd === 'connack') {
      if ((packet.reasonCode ?? packet.returnCode) !== 0) return this.cut();
      this.#ready = true;
      this.#parts.counts.connected += 1;
      this.#parts.counts.connects += 1;
      const { status, caps, reported: plain } = birthOf(this.#stream, this.#births);
      const reported = this.#update === null ? plain : { ...plain, pipelines: [this.#update.report] };
      if (this.#update !== null) this.#subscribe();
      for (const [kind, value] of Object.entries({ status, caps, reported })) this.#publish(deviceTopic(this.#address, { kind: kind as 'status' }), Buffer.from(JSON.stringify(value)), true);
    } else if (packet.cmd === 'publish') {
      if (this.#update !== null) this.#hear(packet, this.#update);
    } else if (packet.cmd === 'puback') {
      const seq = this.#inFlight.get(packet.messageId ?? -1);
      this.#inFlight.delete(packet.messageId ?? -1);
      if (seq !== undefined && this.#windows.delete(seq)) this.#parts.counts.acknowledged += 1;
    }
  }

  #send(window: Window): void {
    window.sent = true;
    const payload = windowBytes(this.#parts.bodies[window.body] ?? { text: '', latencies: [] }, { stream: this.#stream, ...window });
    const { id, bytes } = this.#publish(deviceTopic(this.#address, { kind: 'telemetry' }), payload, false);
    this.#inFlight.set(id, window.seq);
    this.#parts.counts.windowBytes += bytes;
    this.#parts.counts.windowsSent += 1;
  }

  #publish(topic: string, payload: Buffer, retain: boolean): { id: number; bytes: number } {
    this.#messageId = (this.#messageId % 65_535) + 1;
    const packet = generate({ cmd: 'publish', topic, payload, qos: 1, retain, dup: false, messageId: this.#messageId }, this.#version);
    this.#write(packet);
    return { id: this.#messageId, bytes: packet.length };
  }

  #write(packet: Buffer): void {
    this.#parts.counts.bytesSent += packet.length;
    this.#socket?.write(packet);
  }

  #lost(socket: Socket): void {
    if (this.#socket !== socket) return;
    if (this.#ready) this.#parts.counts.connected -= 1;
    this.#socket = null;
    this.#node += 1;
    this.#ready = false;
    this.#inFlight.clear();
    for (const window of this.#windows.values()) Object.assign(window, { sent: false, backfill: true });
  }
}
