// The decoders of what a broker sends, on mutated messages. Seeds: `STERNA_UPDATE_CORPUS=1 npx vitest run test/fuzz/wire.test.ts` writes them anew, always the same.
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { deflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import {
  ChunkList, chunkListOf, ContractError, decodeBlock, decodePayload, encodeBlock, encodeBusy, encodePayload, otaGetSchema, payloadSchemas, requestedBlocks, busyMs, type PayloadName,
} from '../../agent/contracts/index.js';
import { Chunks } from '../../agent/ota/pieces.js';
import { random } from '../runtime/support/random.js';

const corpus = fileURLToPath(new URL('corpus/wire', import.meta.url));
const runs = Number(process.env['STERNA_FUZZ_RUNS'] ?? 3000);
const seed = Number(process.env['STERNA_FUZZ_SEED'] ?? 1);

/** 40 kB in which no two chunks are the same. */
function packageOfSeeds(): Buffer {
  const next = random(3);
  return Buffer.from(Array.from({ length: 40_000 }, () => Math.floor(next() * 16)));
}

const listBytes = chunkListOf(packageOfSeeds())?.bytes ?? Buffer.alloc(0);
const list = new ChunkList(listBytes, 40_000);
const pieces = new Chunks(list, 'ab'.repeat(32), { digest: 'cd'.repeat(32), size_bytes: 40_000, block_bytes: 65_536 });

function seeds(): Map<string, Uint8Array> {
  const chunk = packageOfSeeds().subarray(0, list.length(0));
  return new Map<string, Uint8Array>([
    ['list', listBytes],
    ['block', encodeBlock({ index: 0, last: false, payload: chunk.subarray(0, 300) })],
    ['chunk', encodeBlock({ index: 0, last: false, payload: chunk })],
    ['chunk-deflated', encodeBlock({ index: 0, last: false, deflated: true, payload: deflateRawSync(chunk) })],
    ['busy', encodeBusy(7, 1500)],
    ['unavailable', encodeBlock({ index: 3, last: true, unavailable: true, payload: new Uint8Array(0) })],
    ['get', encodePayload(otaGetSchema, { schema_version: 2, digest: 'cd'.repeat(32), size_bytes: 40_000, block_bytes: 65_536, first_block: 0, bitmap: 'Aw==', window: 2, chunks: 'ab'.repeat(32) })],
    ['desired', encodePayload(payloadSchemas.desired, { schema_version: 2, generation: 1, package: { name: 'faces', version: '1.0.0', digest: 'cd'.repeat(32), size_bytes: 40_000, block_bytes: 65_536, chunks: { digest: 'ab'.repeat(32), size_bytes: listBytes.length } }, settings: {} })],
  ]);
}

/** A few bytes replaced, taken out, repeated or cut off. */
function mutated(bytes: Uint8Array, next: () => number): Buffer {
  let out = Buffer.from(bytes);
  for (let edits = 1 + Math.floor(next() * 4); edits > 0; edits--) {
    const at = Math.floor(next() * (out.length + 1));
    const length = Math.floor(next() * 8);
    const kind = Math.floor(next() * 5);
    if (kind === 0) out = out.subarray(0, at);
    else if (kind === 1) out = Buffer.concat([out.subarray(0, at), out.subarray(at + length)]);
    else if (kind === 2) out = Buffer.concat([out.subarray(0, at), out.subarray(at, at + length), out.subarray(at)]);
    else if (at < out.length) out[at] = kind === 3 ? Math.floor(next() * 256) : [0, 255, 128, 127][Math.floor(next() * 4)] ?? 0;
  }
  return out;
}

/** The checksum of a block as it must be, so that what is behind it is reached. */
function sealed(message: Buffer): Buffer {
  try {
    decodeBlock(message);
    return message;
  } catch {
    if (message.length < 16) return message;
    const [index, flags] = [message.readUInt32LE(8), message.readUInt8(5)];
    return encodeBlock({ index, last: (flags & 1) !== 0, unavailable: (flags & 2) !== 0, deflated: (flags & 4) !== 0, busy: (flags & 8) !== 0, payload: message.subarray(16, 16 + 65_536) });
  }
}

/** Everything that a message meets on its way into the device or the publisher. */
function decode(message: Buffer): void {
  const attempts: (() => unknown)[] = [
    () => new ChunkList(message, 40_000),
    () => {
      const block = decodeBlock(sealed(message));
      expect(busyMs(block)).toBeGreaterThanOrEqual(0);
      const bytes = pieces.open(block);
      if (typeof bytes !== 'string') expect(list.is(block.index, bytes)).toBe(true); // nothing else than what was signed comes through
    },
    () => expect(requestedBlocks(decodePayload(otaGetSchema, message), 10).length).toBeLessThanOrEqual(10),
    ...(Object.keys(payloadSchemas) as PayloadName[]).map((name) => () => decodePayload<unknown>(payloadSchemas[name], message)),
  ];
  for (const attempt of attempts) {
    try {
      attempt();
    } catch (error) {
      if (!(error instanceof ContractError)) throw error;
    }
  }
}

describe('messages from a broker', () => {
  it('have a committed seed of each kind', () => {
    if (process.env['STERNA_UPDATE_CORPUS'] === '1') {
      rmSync(corpus, { recursive: true, force: true });
      mkdirSync(corpus, { recursive: true });
      for (const [name, bytes] of seeds()) writeFileSync(join(corpus, name), bytes);
    }
    expect(readdirSync(corpus).sort()).toEqual([...seeds().keys()].sort());
    for (const name of readdirSync(corpus)) expect(() => decode(readFileSync(join(corpus, name)))).not.toThrow();
  });

  it('are decoded or refused with our own errors, however they were changed', () => {
    const next = random(seed);
    const known = readdirSync(corpus).sort().map((name) => readFileSync(join(corpus, name)));
    for (let run = 0; run < runs; run++) {
      const message = mutated(known[run % known.length] ?? Buffer.alloc(0), next);
      try {
        decode(message);
      } catch (error) {
        throw new Error(`seed ${seed}, run ${run}: ${message.toString('hex').slice(0, 400)}`, { cause: error });
      }
    }
  });
});
