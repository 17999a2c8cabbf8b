/**
 * How a package, or its list of chunks, is cut into pieces for sending: what the pieces are, how each is checked, and how they are asked for. Pure.
 */
import { inflate } from '../../runtime/package/deflate.js';
import { blockCount, type Block, type ChunkList, type OtaGet } from '../contracts/index.js';
import type { AgentErrorCode } from '../errors.js';

/** The code with which a download fails when a piece was wrong too often. */
export type PieceErrorCode = Extract<AgentErrorCode, 'E_OTA_BLOCK' | 'E_OTA_SIZE' | 'E_OTA_CHUNK'>;

export interface Pieces {
  readonly count: number;
  /** Bytes of all pieces together. */
  readonly sizeBytes: number;
  offset(index: number): number;
  length(index: number): number;
  /** The bytes of the piece that a block brings, or the code of what is wrong with them. */
  open(block: Pick<Block, 'index' | 'payload' | 'deflated'>): Uint8Array | PieceErrorCode;
  /** The fields of a request that say how the package is cut. */
  readonly request: Pick<OtaGet, 'digest' | 'size_bytes' | 'block_bytes' | 'chunks' | 'list_of'>;
}

/** Blocks of equal size. Only their length can be checked; the whole file is hashed when it is complete. */
export class Blocks implements Pieces {
  readonly count: number;
  readonly sizeBytes: number;
  readonly request: Pieces['request'];
  readonly #blockBytes: number;

  constructor(request: Pick<OtaGet, 'digest' | 'size_bytes' | 'block_bytes' | 'list_of'>) {
    this.request = request;
    this.sizeBytes = request.size_bytes;
    this.#blockBytes = request.block_bytes;
    this.count = blockCount(request.size_bytes, request.block_bytes);
  }

  offset(index: number): number {
    return index * this.#blockBytes;
  }

  length(index: number): number {
    return Math.max(0, Math.min(this.#blockBytes, this.sizeBytes - this.offset(index)));
  }

  open({ index, payload, deflated }: Pick<Block, 'index' | 'payload' | 'deflated'>): Uint8Array | PieceErrorCode {
    if (deflated) return 'E_OTA_BLOCK';
    return payload.byteLength === this.length(index) ? payload : 'E_OTA_SIZE';
  }
}

/** The chunks of a list. Each is checked by its SHA-256. */
export class Chunks implements Pieces {
  readonly list: ChunkList;
  readonly count: number;
  readonly sizeBytes: number;
  readonly request: Pieces['request'];

  constructor(list: ChunkList, listDigest: string, request: Pick<OtaGet, 'digest' | 'size_bytes' | 'block_bytes'>) {
    this.list = list;
    this.count = list.count;
    this.sizeBytes = list.sizeBytes;
    this.request = { ...request, chunks: listDigest };
  }

  offset(index: number): number {
    return this.list.offset(index);
  }

  length(index: number): number {
    return this.list.length(index);
  }

  open({ index, payload, deflated }: Pick<Block, 'index' | 'payload' | 'deflated'>): Uint8Array | PieceErrorCode {
    const bytes = deflated ? inflate(payload, this.length(index)) : payload;
    return bytes !== undefined && this.list.is(index, bytes) ? bytes : 'E_OTA_CHUNK';
  }
}
