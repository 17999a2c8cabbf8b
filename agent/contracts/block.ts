/**
 * One block of a package on the wire (`ota/block/{digest8}/{i}`), little-endian:
 *
 *     0      4        5      6         8        12       16
 *     | STNB | version | flags | reserved | index | crc32c | payload, 0..64 KiB
 *
 * crc32c covers bytes 0..11 and the payload, so a bit flipped in the header is found as well.
 */
import { crc32c } from './crc32c.js';
import { ContractError } from './errors.js';

export const BLOCK_HEADER_BYTES = 16;
export const MAX_BLOCK_BYTES = 64 * 1024;
export const DEFAULT_BLOCK_BYTES = MAX_BLOCK_BYTES;
/** The smallest allowed value is that of AWS IoT Streams; smaller blocks would consist mostly of headers. */
export const MIN_BLOCK_BYTES = 256;
const MAGIC = 0x424e5453; // "STNB" read as little-endian u32
const BLOCK_VERSION = 1;
/** The last block of the package; it may be shorter. */
const FLAG_LAST = 1;
/** The sender has no package of that digest; the payload is empty. */
const FLAG_UNAVAILABLE = 2;
/** The payload is a raw DEFLATE stream (RFC 1951) of the chunk. Only in answers to requests that name a list of chunks. */
const FLAG_DEFLATED = 4;
/** The sender has too much to do; the payload is the time in milliseconds (u32) after which the device may ask again. */
const FLAG_BUSY = 8;

export interface Block {
  index: number;
  last: boolean;
  unavailable: boolean;
  deflated: boolean;
  busy: boolean;
  payload: Uint8Array;
}

/** @throws ContractError E_BLOCK when the payload is too long or the index is out of range */
export function encodeBlock(block: Pick<Block, 'index' | 'last' | 'payload'> & Partial<Block>): Buffer {
  if (block.payload.byteLength > MAX_BLOCK_BYTES) {
    throw new ContractError('E_BLOCK', `Expected a block of at most ${MAX_BLOCK_BYTES} bytes but received ${block.payload.byteLength}`);
  }
  if (!Number.isInteger(block.index) || block.index < 0 || block.index > 0xffff_ffff) {
    throw new ContractError('E_BLOCK', `Expected a 32-bit block index but received ${block.index}`);
  }
  const out = Buffer.allocUnsafe(BLOCK_HEADER_BYTES + block.payload.byteLength).fill(0, 0, BLOCK_HEADER_BYTES);
  out.writeUInt32LE(MAGIC, 0);
  out.writeUInt8(BLOCK_VERSION, 4);
  const flags = (block.last ? FLAG_LAST : 0) | (block.unavailable === true ? FLAG_UNAVAILABLE : 0) | (block.deflated === true ? FLAG_DEFLATED : 0) | (block.busy === true ? FLAG_BUSY : 0);
  out.writeUInt8(flags, 5);
  out.writeUInt32LE(block.index, 8);
  out.set(block.payload, BLOCK_HEADER_BYTES);
  out.writeUInt32LE(checksum(out), 12);
  return out;
}

/**
 * The payload is a view of `message`, not a copy.
 * @throws ContractError E_BLOCK
 */
export function decodeBlock(message: Uint8Array): Block {
  if (message.byteLength < BLOCK_HEADER_BYTES || message.byteLength > BLOCK_HEADER_BYTES + MAX_BLOCK_BYTES) {
    throw new ContractError('E_BLOCK', `Expected ${BLOCK_HEADER_BYTES} to ${BLOCK_HEADER_BYTES + MAX_BLOCK_BYTES} bytes but received ${message.byteLength}`);
  }
  const view = Buffer.from(message.buffer, message.byteOffset, message.byteLength);
  if (view.readUInt32LE(0) !== MAGIC) throw new ContractError('E_BLOCK', 'Expected a block that starts with "STNB"');
  if (view.readUInt8(4) !== BLOCK_VERSION) throw new ContractError('E_BLOCK', `Expected block version ${BLOCK_VERSION} but received ${view.readUInt8(4)}`);
  if (view.readUInt32LE(12) !== checksum(view)) throw new ContractError('E_BLOCK', `Block ${view.readUInt32LE(8)}: the checksum does not match`);
  const flags = view.readUInt8(5);
  return {
    index: view.readUInt32LE(8),
    last: (flags & FLAG_LAST) !== 0,
    unavailable: (flags & FLAG_UNAVAILABLE) !== 0,
    deflated: (flags & FLAG_DEFLATED) !== 0,
    busy: (flags & FLAG_BUSY) !== 0,
    payload: view.subarray(BLOCK_HEADER_BYTES),
  };
}

function checksum(message: Buffer): number {
  return crc32c(message.subarray(BLOCK_HEADER_BYTES), crc32c(message.subarray(0, 12)));
}

/** Busy, try again after so long: the answer to a request that cannot be served now. */
export function encodeBusy(index: number, waitMs: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32LE(Math.min(0xffff_ffff, Math.max(0, Math.round(waitMs))));
  return encodeBlock({ index, last: false, busy: true, payload });
}

/** The time that a busy sender asks for, milliseconds. 0 when it says none. */
export function busyMs({ payload }: Pick<Block, 'payload'>): number {
  return payload.byteLength === 4 ? new DataView(payload.buffer, payload.byteOffset, 4).getUint32(0, true) : 0;
}

/** How many blocks a package of `sizeBytes` has. */
export function blockCount(sizeBytes: number, blockBytes: number): number {
  return Math.ceil(sizeBytes / blockBytes);
}
