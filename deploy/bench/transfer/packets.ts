/** MQTT packets as a proxy sees them: where each begins and ends, and of a PUBLISH its topic and its number. MQTT 3.1.1 and 5, sections 2.1 and 3.3. */

const PUBLISH = 3;
const MAX_LENGTH_BYTES = 4;

/** Cuts a stream of bytes into whole packets. */
export class PacketSplitter {
  #rest: Buffer = Buffer.alloc(0);

  /** @returns the packets that are complete now */
  push(chunk: Buffer): Buffer[] {
    let rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const packets: Buffer[] = [];
    for (let size = packetBytes(rest); size !== null && size <= rest.length; size = packetBytes(rest)) {
      packets.push(rest.subarray(0, size));
      rest = rest.subarray(size);
    }
    this.#rest = rest;
    return packets;
  }
}

/** Size of the packet that begins here, with its header; null while the header is incomplete. */
function packetBytes(bytes: Buffer): number | null {
  for (let at = 1, length = 0; at <= MAX_LENGTH_BYTES && at < bytes.length; at++) {
    const byte = bytes[at] ?? 0;
    length += (byte & 0x7f) * 128 ** (at - 1);
    if (byte < 0x80) return 1 + at + length;
  }
  return null;
}

export interface Publish {
  topic: string;
  qos: number;
  /** Number of the packet; 0 when it needs no answer. */
  id: number;
}

/** What a packet publishes; null for one that publishes nothing. */
export function publishOf(packet: Buffer): Publish | null {
  const first = packet[0] ?? 0;
  if (first >> 4 !== PUBLISH) return null;
  let at = 1;
  while ((packet[at] ?? 0) >= 0x80) at += 1;
  const length = packet.readUInt16BE(at + 1);
  const end = at + 3 + length;
  const qos = (first >> 1) & 3;
  return { topic: packet.toString('utf8', at + 3, end), qos, id: qos === 0 ? 0 : packet.readUInt16BE(end) };
}

/** The answer of a receiver that has taken a message of QoS 1. */
export function pubAck(id: number): Buffer {
  return Buffer.from([0x40, 0x02, id >> 8, id & 0xff]);
}
