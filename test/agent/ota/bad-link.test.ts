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
  /** When the first cut comes. */
  firstCutMs: number;
  seed: number;
}

interface Run {
  /** Bytes that the publisher sent, in multiples of the package. */
  sentShare: number;
  /** The same without what the link lost: in each cut what was on the way, else single messages. */
  arrivedShare: number;
  cuts: number;
  seconds: number;
  mostBytes: number;
}

/** Fetches the package over a simulated link, in simulated time: nothing here depends on the speed of this machine. */
async function fetchOver(link: Link): Promise<Run> {
  const written = chunkListOf(bytes);
  if (written === null) throw new Error('expected a list of chunks');
  const list = new ChunkList(written.bytes, bytes.length);
  const pieces = new Chunks(list, written.digest, { digest: createHash('sha256').update(bytes).digest('hex'), size_bytes: bytes.length, block_bytes: 65_536 });
  const sink = new MemorySink(bytes.length);
  const luck = random(link.seed);
  const now = (): number => performance.now();
  const started = now();
  let [connection, up, sent, gone, inTheAir, mostBytes] = [0, true, 0, 0, 0, 0];
  const carry = (size: number, deliver: () => void): void => {
    const of = connection;
    if (!up || luck() < link.lossShare) return void (gone += size);
    inTheAir += size;
    mostBytes = Math.max(mostBytes, inTheAir);
    setTimeout(() => {
      inTheAir -= size;
      if (of === connection && up) deliver();
      else gone += size;
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
  let cuts: NodeJS.Timeout | undefined;
  setTimeout(() => {
    cut();
    cuts = setInterval(cut, link.cutEveryMs);
  }, link.firstCutMs);
  let done = false;
  const run = fetch.run(new AbortController().signal).finally(() => { done = true; });
  while (!done) await vi.advanceTimersByTimeAsync(50);
  clearInterval(cuts);
  await run;
  expect(sink.bytes.equals(bytes)).toBe(true);
  return { sentShare: sent / bytes.length, arrivedShare: (sent - gone) / bytes.length, cuts: connection, seconds: (now() - started) / 1000, mostBytes };
}

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] }));
afterEach(() => void vi.useRealTimers());

describe('a bad link', () => {
  it('with 5 % of the messages lost, 300 ms there and back, and a cut every 20 s brings 5 MB with a tenth more than was missing, wherever the cuts fall', async () => {
    const runs: Run[] = [];
    // The first cut falls into the first window, into each part of the transfer, and near its end. One run is the luck of some six losses of 40 kB each.
    for (const [at, firstCutMs] of [300, 1500, 3000, 5000, 8000, 11_000].entries()) {
      const run = await fetchOver({ lossShare: 0.05, roundTripMs: 300, cutEveryMs: 20_000, cutMs: 2000, firstCutMs, seed: at + 1 });
      if (process.env['STERNA_TRANSFER_REPORT'] === '1') console.log(JSON.stringify({ firstCutMs, ...run }));
      expect(run.cuts).toBeGreaterThan(0);
      expect(run.arrivedShare, 'nothing comes twice: only what was lost is sent again').toBeLessThanOrEqual(1.01);
      expect(run.mostBytes).toBeLessThanOrEqual(512 * 1024 + 16 * 16);
      runs.push(run);
    }
    expect(runs.reduce((sum, { sentShare }) => sum + sentShare, 0) / runs.length).toBeLessThanOrEqual(1.1);
  });

  it('with a cut every second still comes to its end', async () => {
    const { sentShare } = await fetchOver({ lossShare: 0.02, roundTripMs: 200, cutEveryMs: 1000, cutMs: 100, firstCutMs: 200, seed: 4 });
    expect(sentShare).toBeLessThan(2);
  });

  it('without losses sends every byte once', async () => {
    const { sentShare, seconds } = await fetchOver({ lossShare: 0, roundTripMs: 300, cutEveryMs: 1e9, cutMs: 0, firstCutMs: 1e9, seed: 5 });
    expect(sentShare).toBeLessThan(1.002);
    expect(seconds).toBeGreaterThan(2);
  });
});
