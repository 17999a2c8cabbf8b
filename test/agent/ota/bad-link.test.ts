import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ChunkList, chunkListOf, type OtaGet } from '../../../agent/contracts/index.js';
import { alwaysAllowed } from '../../../agent/ota/allowance.js';
import { Assembly, MemorySink } from '../../../agent/ota/assembly.js';
import { BlockFetch } from '../../../agent/ota/block-fetch.js';
import { Pace } from '../../../agent/ota/pace.js';
import { Chunks } from '../../../agent/ota/pieces.js';
import { random } from '../../runtime/support/random.js';
import { answerRequest } from '../support/publisher.js';

const BYTES = 5_000_000;
const next = random(7);
const bytes = Buffer.from(Array.from({ length: BYTES }, () => Math.floor(next() * 256)));

interface Link {
  lossShare: number;
  roundTripMs: number;
  /** Between two cuts, and of one. */
  cutEveryMs: number;
  cutMs: number;
  seed: number;
}

/** Fetches the package over a simulated link, in simulated time: nothing here depends on the speed of this machine. */
async function fetchOver(link: Link): Promise<{ sentShare: number; seconds: number; mostBytes: number }> {
  const written = chunkListOf(bytes);
  if (written === null) throw new Error('expected a list of chunks');
  const list = new ChunkList(written.bytes, bytes.length);
  const pieces = new Chunks(list, written.digest, { digest: createHash('sha256').update(bytes).digest('hex'), size_bytes: bytes.length, block_bytes: 65_536 });
  const sink = new MemorySink(bytes.length);
  const luck = random(link.seed);
  const now = (): number => performance.now();
  const started = now();
  let [connection, up, sent, inTheAir, mostBytes] = [0, true, 0, 0, 0];
  const carry = (size: number, deliver: () => void): void => {
    const of = connection;
    if (!up || luck() < link.lossShare) return;
    inTheAir += size;
    mostBytes = Math.max(mostBytes, inTheAir);
    setTimeout(() => {
      inTheAir -= size;
      if (of === connection && up) deliver();
    }, link.roundTripMs / 2);
  };
  const request = (wanted: OtaGet): void => carry(0, () => {
    for (const { index, message } of answerRequest(wanted, bytes)) {
      sent += message.byteLength;
      carry(message.byteLength, () => fetch.receive(message, index));
    }
  });
  const fetch: BlockFetch = new BlockFetch({
    assembly: new Assembly(pieces, sink), link: { isConnected: () => up, request }, pace: new Pace({ maxBytesPerS: null, minBytesPerS: 1024, slowWindowMs: 120_000 }, now),
    allowance: alwaysAllowed, onWait: () => undefined, label: 'faces 2.0.0',
  }, { window: { pieces: 16, bytes: 512 * 1024 }, stallMs: 10_000, maxStalls: 6 });
  const cut = (): void => {
    up = false;
    connection += 1;
    setTimeout(() => {
      up = true;
      fetch.resume();
    }, link.cutMs);
  };
  const cuts = setInterval(cut, link.cutEveryMs);
  setTimeout(cut, Math.min(4000, link.cutEveryMs / 5)); // the first one comes soon, so that each run has one
  let done = false;
  const run = fetch.run(new AbortController().signal).finally(() => { done = true; });
  while (!done) await vi.advanceTimersByTimeAsync(50);
  clearInterval(cuts);
  await run;
  expect(sink.bytes.equals(bytes)).toBe(true);
  return { sentShare: sent / bytes.length, seconds: (now() - started) / 1000, mostBytes };
}

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] }));
afterEach(() => void vi.useRealTimers());

describe('a bad link', () => {
  it.each([1, 2, 3])('with 5 % of the messages lost, 300 ms there and back, and a cut every 20 s brings 5 MB with at most a tenth more than was missing (seed %i)', async (seed) => {
    const { sentShare, seconds, mostBytes } = await fetchOver({ lossShare: 0.05, roundTripMs: 300, cutEveryMs: 20_000, cutMs: 2000, seed });
    if (process.env['STERNA_TRANSFER_REPORT'] === '1') console.log(JSON.stringify({ seed, sentShare, seconds, mostBytes }));
    expect(sentShare).toBeLessThanOrEqual(1.1);
    expect(mostBytes).toBeLessThanOrEqual(512 * 1024 + 16 * 16);
  });

  it('with a cut every second still comes to its end', async () => {
    const { sentShare } = await fetchOver({ lossShare: 0.02, roundTripMs: 200, cutEveryMs: 1000, cutMs: 100, seed: 4 });
    expect(sentShare).toBeLessThan(2);
  });

  it('without losses sends every byte once', async () => {
    const { sentShare, seconds } = await fetchOver({ lossShare: 0, roundTripMs: 300, cutEveryMs: 1e9, cutMs: 0, seed: 5 });
    expect(sentShare).toBeLessThan(1.002);
    expect(seconds).toBeGreaterThan(2);
  });
});
