import { createServer, type AddressInfo, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';

const CONNECT = 1;
const PUBLISH = 3;
const SUBSCRIBE = 8;
const PINGREQ = 12;

/** The least that a device takes for a broker, MQTT 3.1.1 and 5; what it sends after the birth is the test's. */
export class HostileBroker {
  readonly #server = createServer((socket) => this.#serve(socket));
  readonly #sockets = new Set<Socket>();
  /** Called once per connection, when the device has said that it is online. */
  onOnline: (socket: Socket) => void = () => undefined;
  connections = 0;
  /** Bytes of the properties of CONNACK in MQTT 5. */
  connackProperties: readonly number[] = [];
  /** Whether the last CONNECT carried the property Maximum Packet Size (0x27), and its value. */
  maximumPacketSize: number | null = null;

  static async start(): Promise<HostileBroker> {
    const broker = new HostileBroker();
    await new Promise<void>((resolve) => broker.#server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => broker.stop());
    return broker;
  }

  get url(): string {
    return `mqtt://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #serve(socket: Socket): void {
    this.connections += 1;
    this.#sockets.add(socket);
    let waiting = Buffer.alloc(0);
    const state = { five: false, online: false };
    socket.on('error', () => undefined).once('close', () => this.#sockets.delete(socket));
    socket.on('data', (piece) => {
      waiting = Buffer.concat([waiting, piece]);
      for (let packet = firstPacket(waiting); packet !== null; packet = firstPacket(waiting)) {
        waiting = waiting.subarray(packet.end);
        this.#answer(socket, packet.type, packet.flags, packet.body, state);
      }
    });
  }

  #answer(socket: Socket, type: number, flags: number, body: Buffer, state: { five: boolean; online: boolean }): void {
    if (type === CONNECT) {
      state.five = body[6] === 5;
      const at = body.indexOf(0x27, 10);
      this.maximumPacketSize = state.five && at > 0 ? body.readUInt32BE(at + 1) : null;
      const properties = this.connackProperties;
      socket.write(Buffer.from(state.five ? [0x20, 3 + properties.length, 0, 0, properties.length, ...properties] : [0x20, 2, 0, 0]));
    } else if (type === SUBSCRIBE) {
      const topics = countTopics(body, state.five ? 3 : 2);
      const head = state.five ? [body[0] ?? 0, body[1] ?? 0, 0] : [body[0] ?? 0, body[1] ?? 0];
      socket.write(Buffer.from([0x90, head.length + topics, ...head, ...new Array<number>(topics).fill(1)]));
    } else if (type === PUBLISH && (flags & 0x06) !== 0) {
      const at = 2 + body.readUInt16BE(0);
      socket.write(Buffer.from([0x40, 2, body[at] ?? 0, body[at + 1] ?? 0]));
      if (!state.online) this.onOnline(socket);
      state.online = true;
    } else if (type === PINGREQ) socket.write(Buffer.from([0xd0, 0]));
  }
}

function firstPacket(bytes: Buffer): { type: number; flags: number; body: Buffer; end: number } | null {
  let length = 0;
  for (let at = 1; at < Math.min(5, bytes.length); at++) {
    length += ((bytes[at] ?? 0) & 0x7f) * 128 ** (at - 1);
    if (((bytes[at] ?? 0) & 0x80) !== 0) continue;
    const end = at + 1 + length;
    return end > bytes.length ? null : { type: (bytes[0] ?? 0) >> 4, flags: (bytes[0] ?? 0) & 15, body: bytes.subarray(at + 1, end), end };
  }
  return null;
}

function countTopics(body: Buffer, from: number): number {
  let topics = 0;
  for (let at = from; at < body.length; topics++) at += 2 + body.readUInt16BE(at) + 1;
  return topics;
}

/** Fixed header, topic, and for QoS 0 nothing more: whatever follows is payload. `payloadBytes` may be more than ever comes. */
export function publishHead(topic: string, payloadBytes: number): Buffer {
  const name = Buffer.from(topic);
  let length = 2 + name.length + payloadBytes;
  const digits: number[] = [];
  do {
    const rest = Math.floor(length / 128);
    digits.push((length % 128) | (rest > 0 ? 0x80 : 0));
    length = rest;
  } while (length > 0);
  return Buffer.concat([Buffer.from([0x30, ...digits, name.length >> 8, name.length & 0xff]), name]);
}

/** Writes as much as the other end takes, up to `bytes`. @returns what was written before it hung up */
export async function pour(socket: Socket, bytes: number): Promise<number> {
  const piece = Buffer.alloc(64 * 1024, 0x20);
  let written = 0;
  while (written < bytes && !socket.destroyed) {
    const free = socket.write(piece);
    written += piece.length;
    if (!free) await new Promise<void>((resolve) => { socket.once('drain', resolve); socket.once('close', () => resolve()); });
  }
  return written;
}
