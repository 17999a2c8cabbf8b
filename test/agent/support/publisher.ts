import { createHash } from 'node:crypto';
import { encodeBlock, requestedBlocks, type ChunkListRef, type OtaGet } from '../../../agent/contracts/index.js';
import { ServedPackage } from '../../../deploy/publish/packages.js';

const known = new WeakMap<Buffer, ServedPackage>();

function servedOf(bytes: Buffer): ServedPackage {
  const served = known.get(bytes) ?? new ServedPackage({ name: 'fake', version: '1.0.0', releaseCounter: 1, digest: createHash('sha256').update(bytes).digest('hex'), bytes });
  known.set(bytes, served);
  return served;
}

/** How `desired` names the chunks of a package. */
export function chunksOf(bytes: Buffer): { chunks?: ChunkListRef } {
  const { chunks } = servedOf(bytes);
  return chunks === undefined ? {} : { chunks };
}

/** The other end of `ota/get`: answers a request with the wanted pieces. */
export function answerRequest(request: OtaGet, bytes: Buffer): { index: number; message: Buffer }[] {
  const pieces = servedOf(bytes).pieces(request);
  if (pieces === null) return [{ index: request.first_block, message: encodeBlock({ index: request.first_block, last: false, unavailable: true, payload: new Uint8Array(0) }) }];
  return requestedBlocks(request, pieces.count).map((index) => ({ index, message: pieces.message(index) }));
}
