import { blockCount, encodeBlock, requestedBlocks, type OtaGet } from '../../../agent/contracts/index.js';

/** The other end of `ota/get`: answers a request with the wanted blocks. */
export function answerRequest(request: OtaGet, bytes: Buffer): { index: number; message: Buffer }[] {
  const blocks = blockCount(bytes.length, request.block_bytes);
  return requestedBlocks(request, blocks).map((index) => {
    const payload = bytes.subarray(index * request.block_bytes, (index + 1) * request.block_bytes);
    return { index, message: encodeBlock({ index, last: index === blocks - 1, payload }) };
  });
}
