/**
 * Watches the sizes of MQTT packets as they arrive: MQTT.js and aedes both collect a whole packet (up to 256 MiB, MQTT 3.1.1
 * section 2.2.3) before anybody is asked whether it may be so large.
 */
import type { Duplex } from 'node:stream';
import { MAX_MESSAGE_BYTES } from './topics.js';
import { ContractError } from './errors.js';

/** A message of the largest size with its topic, its properties and its header. What MQTT 5 announces as Maximum Packet Size. */
export const MAX_PACKET_BYTES = MAX_MESSAGE_BYTES + 1024;

const MAX_LENGTH_BYTES = 4;

/** Follows the fixed headers (type, remaining length) in a stream of packets. Pure bookkeeping; keeps no bytes. */
export class PacketMeter {
  readonly #maxBytes: number;
  /** Bytes of the present packet's body that are still to come. */
  #body = 0;
  #length = 0;
  /** Bytes of the present fixed header so far. */
  #header = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** @returns the size that a packet's header states when that is too much (Infinity when the header is malformed), else null */
  take(chunk: Uint8Array): number | null {
    for (let at = 0; at < chunk.length;) {
      if (this.#body > 0) {
        const skipped = Math.min(this.#body, chunk.length - at);
        this.#body -= skipped;
        at += skipped;
        continue;
      }
      const size = this.#headerByte(chunk[at] ?? 0);
      at += 1;
      if (size > this.#maxBytes) return size;
    }
    return null;
  }

  /** @returns the size of the packet when this byte completes its header, else 0 */
  #headerByte(byte: number): number {
    this.#header += 1;
    if (this.#header === 1) return 0; // packet type and flags
    const digit = this.#header - 2;
    this.#length += (byte & 0x7f) * 128 ** digit;
    if ((byte & 0x80) !== 0) return digit + 1 >= MAX_LENGTH_BYTES ? Infinity : 0;
    const size = this.#header + this.#length;
    this.#body = this.#length;
    this.#header = 0;
    this.#length = 0;
    return size;
  }
}

/**
 * Ends a connection as soon as the header of a packet states more than `maxBytes`, before its body is collected. Call it when
 * the stream has got its reader: it looks at the same pieces, and takes none away.
 */
export function guardPackets(stream: Duplex, onOversized: (error: ContractError) => void, maxBytes: number = MAX_PACKET_BYTES): void {
  const meter = new PacketMeter(maxBytes);
  let over = false;
  stream.prependListener('data', (chunk: Uint8Array) => {
    const size = over ? null : meter.take(chunk);
    if (size === null) return;
    over = true;
    onOversized(new ContractError('E_PACKET_SIZE', size === Infinity
      ? 'The connection was closed: a packet arrived whose length is malformed'
      : `The connection was closed: expected packets of at most ${maxBytes} bytes, but the other end announced one of ${size}`, { details: { size, maxBytes } }));
    stream.unpipe();
    stream.destroy();
  });
}
