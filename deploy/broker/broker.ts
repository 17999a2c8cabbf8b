import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { Aedes, type PublishPacket } from 'aedes';
import { guardPackets, MAX_MESSAGE_BYTES } from '../../agent/contracts/index.js';
import { DeployError } from '../errors.js';

/** A fleet of a few devices on one desk; a production broker (Mosquitto, EMQX, ...) takes over beyond that. */
export const brokerLimits = { connections: 64, retainedTopics: 1024, queuedPackets: 42 } as const;

export interface BrokerOptions {
  /** 0 (the default) takes any free port. */
  port?: number;
}

/**
 * An MQTT 3.1.1 broker (aedes) inside this process, for development and demonstration only: it listens on loopback,
 * knows no users, and keeps retained messages in memory. `start` and `stop` are idempotent.
 */
export class EmbeddedBroker {
  readonly #options: BrokerOptions;
  #running: { aedes: Aedes; server: Server; sockets: Set<Socket> } | null = null;
  readonly #retained = new Set<string>();

  constructor(options: BrokerOptions = {}) {
    this.#options = options;
  }

  /** 0 while stopped. */
  get port(): number {
    const address = this.#running?.server.address() as AddressInfo | null | undefined;
    return address?.port ?? 0;
  }

  get url(): string {
    return `mqtt://127.0.0.1:${this.port}`;
  }

  get connections(): number {
    return this.#running?.sockets.size ?? 0;
  }

  /** @throws DeployError E_BROKER_LISTEN */
  async start(): Promise<void> {
    if (this.#running !== null) return;
    const aedes = await Aedes.createBroker({
      queueLimit: brokerLimits.queuedPackets,
      maxTopicLevels: 16,
      authorizePublish: (_client, packet, done) => done(this.#refusal(packet)),
    });
    // A client that breaks the protocol is its own problem: aedes closes it, and nobody else is told.
    aedes.on('clientError', () => undefined);
    aedes.on('connectionError', () => undefined);
    const sockets = new Set<Socket>();
    const server = createServer((socket) => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      aedes.handle(socket);
      guardPackets(socket, () => undefined); // the client's own problem, as every breach of the protocol
    });
    server.maxConnections = brokerLimits.connections;
    try {
      await listen(server, this.#options.port ?? 0);
    } catch (error) {
      await closeAedes(aedes);
      throw error;
    }
    this.#running = { aedes, server, sockets };
  }

  async stop(): Promise<void> {
    const running = this.#running;
    if (running === null) return;
    this.#running = null;
    const closed = new Promise<void>((resolve) => running.server.close(() => resolve()));
    await closeAedes(running.aedes);
    for (const socket of running.sockets) socket.destroy();
    await closed;
    this.#retained.clear();
  }

  /** Closes every connection at once and keeps listening: what a device sees of a broker that falls over. */
  dropConnections(): void {
    for (const socket of this.#running?.sockets ?? []) socket.destroy();
  }

  #refusal(packet: PublishPacket): Error | null {
    const size = packet.payload.length;
    if (size > MAX_MESSAGE_BYTES) return new Error(`Expected at most ${MAX_MESSAGE_BYTES} bytes but received ${size}`);
    if (!packet.retain) return null;
    if (size === 0) this.#retained.delete(packet.topic);
    else if (this.#retained.has(packet.topic) || this.#retained.size < brokerLimits.retainedTopics) this.#retained.add(packet.topic);
    else return new Error(`Expected at most ${brokerLimits.retainedTopics} retained topics`);
    return null;
  }
}

async function listen(server: Server, port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => {
      reject(new DeployError('E_BROKER_LISTEN', `The embedded broker cannot listen on 127.0.0.1:${port}: ${cause.message}`, { cause, details: { port } }));
    });
    server.listen(port, '127.0.0.1', resolve);
  });
}

async function closeAedes(aedes: Aedes): Promise<void> {
  await new Promise<void>((resolve) => aedes.close(resolve));
}
