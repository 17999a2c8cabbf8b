/**
 * A bad link between a device and its broker, as a TCP proxy on loopback: messages arrive late, some never, and the connection breaks now and then.
 * TCP itself loses nothing within a connection. A lost message is therefore one that something between the two has taken and dropped, such as a gateway
 * whose queue is full: its sender gets the acknowledgement, so that its own flow control goes on.
 */
import { createHash } from 'node:crypto';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { uniform } from '../../compress/random.js';
import { PacketSplitter, publishOf, pubAck, type Publish } from './packets.js';

export interface LinkQuality {
  /** There and back, milliseconds. */
  roundTripMs: number;
  /** Share of the messages (PUBLISH, in both directions) that are lost. */
  lossShare: number;
  /** Between two cuts of the connection, milliseconds. */
  cutEveryMs: number;
  /** For so long nobody gets through after a cut, milliseconds. */
  cutMs: number;
  /** The first cut comes within a round trip after so many bytes of blocks, so that it falls into the transfer. */
  firstCutAfterBytes: number;
  seed: number;
}

export interface LinkStats {
  /** Bytes of messages with blocks that the broker has sent to the device, whether they arrived or not. */
  blockBytes: number;
  /** Of them, those of messages that were lost. */
  lostBlockBytes: number;
  /** Of them, those that were on the way at a cut. */
  cutBlockBytes: number;
  /** Of them, those of which a copy had arrived before. */
  repeatedBlockBytes: number;
  messages: number;
  lost: number;
  cuts: number;
}

const isBlock = ({ topic }: Publish): boolean => topic.includes('/ota/block/');

export class BadLink {
  readonly stats: LinkStats = { blockBytes: 0, lostBlockBytes: 0, cutBlockBytes: 0, repeatedBlockBytes: 0, messages: 0, lost: 0, cuts: 0 };
  readonly #quality: LinkQuality;
  readonly #brokerPort: number;
  /** When the cuts come; losses have luck of their own. */
  readonly #luck: () => number;
  readonly #sent = new Map<string, number>();
  readonly #arrived = new Set<string>();
  readonly #sockets = new Set<Socket>();
  readonly #server: Server;
  #timer: NodeJS.Timeout | undefined;
  #away = false;
  #stopped = false;

  constructor(brokerPort: number, quality: LinkQuality) {
    this.#quality = quality;
    this.#brokerPort = brokerPort;
    this.#luck = uniform(quality.seed);
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** @returns the address for the device */
  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `mqtt://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #accept(device: Socket): void {
    if (this.#away) return void device.destroy();
    const broker = connect(this.#brokerPort, '127.0.0.1');
    for (const socket of [device, broker]) {
      this.#sockets.add(socket.setNoDelay(true));
      socket.on('error', () => undefined);
      socket.once('close', () => {
        this.#sockets.delete(socket);
        device.destroy();
        broker.destroy();
      });
    }
    this.#carry(device, broker);
    this.#carry(broker, device);
  }

  /** Carries packets in one direction. Timers of equal length end in the order in which they began, so packets keep theirs. */
  #carry(from: Socket, to: Socket): void {
    const splitter = new PacketSplitter();
    from.on('data', (chunk: Buffer) => {
      for (const packet of splitter.push(chunk)) {
        const publish = publishOf(packet);
        if (publish !== null && this.#loses(publish, packet.length, from)) continue;
        setTimeout(() => {
          if (!to.destroyed) to.write(packet);
          if (publish !== null && isBlock(publish)) this.#end(publish, packet.length, !to.destroyed);
        }, this.#quality.roundTripMs / 2);
      }
    });
  }

  #loses(publish: Publish, bytes: number, from: Socket): boolean {
    this.stats.messages += 1;
    const blockBytes = isBlock(publish) ? bytes : 0;
    this.#count(blockBytes);
    if (this.#luckOf(publish) >= this.#quality.lossShare) return false;
    this.stats.lost += 1;
    this.stats.lostBlockBytes += blockBytes;
    if (publish.qos > 0) from.write(pubAck(publish.id));
    return true;
  }

  /** Follows from the topic and how often something was sent there, so that runs with one seed lose the same blocks, whatever the order of messages is. */
  #luckOf({ topic }: Publish): number {
    const times = (this.#sent.get(topic) ?? 0) + 1;
    this.#sent.set(topic, times);
    return createHash('sha256').update(`${this.#quality.seed} ${times} ${topic}`).digest().readUInt32LE() / 2 ** 32;
  }

  /** A block has left the link: it has arrived, or the connection has broken meanwhile. */
  #end({ topic }: Publish, bytes: number, arrived: boolean): void {
    if (!arrived) this.stats.cutBlockBytes += bytes;
    else if (this.#arrived.has(topic)) this.stats.repeatedBlockBytes += bytes;
    else this.#arrived.add(topic);
  }

  #count(bytes: number): void {
    this.stats.blockBytes += bytes;
    // Blocks come in bursts: a cut at a moment of its own finds as much on the way as others do.
    if (this.#timer === undefined && this.stats.blockBytes >= this.#quality.firstCutAfterBytes) this.#timer = setTimeout(() => this.#cut(), this.#luck() * this.#quality.roundTripMs);
  }

  #cut(): void {
    if (this.#stopped) return;
    const { cutEveryMs, cutMs } = this.#quality;
    this.stats.cuts += 1;
    this.#away = true;
    for (const socket of this.#sockets) socket.destroy();
    setTimeout(() => { this.#away = false; }, cutMs).unref();
    this.#timer = setTimeout(() => this.#cut(), cutEveryMs);
  }
}
