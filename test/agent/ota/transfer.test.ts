import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ChunkList, chunkListOf, encodeBlock, encodeBusy, type OtaGet } from '../../../agent/contracts/index.js';
import { allowanceOf } from '../../../agent/ota/allowance.js';
import { Download, type DownloadOptions, type DownloadProgress } from '../../../agent/ota/download.js';
import { Journal } from '../../../agent/ota/journal.js';
import type { Candidate } from '../../../agent/ota/state.js';
import { PackageStore } from '../../../agent/ota/store.js';
import { openDatabase } from '../../../agent/platform/database.js';
import { MaintenanceWindows } from '../../../agent/platform/maintenance.js';
import { random } from '../../runtime/support/random.js';
import { answerRequest, chunksOf } from '../support/publisher.js';
import { temporaryFolder, until } from '../support/tools.js';

const options: DownloadOptions = { window: 8, stallMs: 2000, maxStalls: 3 };

function noise(bytes: number, seed: number): Buffer {
  const next = random(seed);
  return Buffer.from(Array.from({ length: bytes }, () => Math.floor(next() * 256)));
}

function candidateOf(bytes: Buffer): Candidate {
  return { name: 'faces', version: '2.0.0', digest: createHash('sha256').update(bytes).digest('hex'), size_bytes: bytes.length, block_bytes: 1024, generation: 2, ...chunksOf(bytes) };
}

type Piece = { index: number; message: Buffer };

/** One device and the other end, in memory. */
class Bench {
  readonly folder = temporaryFolder();
  readonly store = new PackageStore(join(this.folder, 'packages'));
  readonly journal: Journal;
  readonly requests: OtaGet[] = [];
  readonly progress: DownloadProgress[] = [];
  /** Chunks that were sent, by number. */
  readonly sent: number[] = [];
  answer: (request: OtaGet, pieces: Piece[]) => Piece[] = (_, pieces) => pieces;
  /** A message on its way, in either direction. */
  carry: (deliver: () => void) => void = (deliver) => void setImmediate(deliver);
  #download: Download | null = null;

  constructor() {
    const db = openDatabase(join(this.folder, 'state.db'), { durability: 'full' });
    onTestFinished(() => void db.close());
    this.journal = new Journal(db);
  }

  async holds(...packages: Buffer[]): Promise<this> {
    await this.store.open();
    for (const bytes of packages) writeFileSync(this.store.path(createHash('sha256').update(bytes).digest('hex')), bytes);
    return this;
  }

  /** @returns the complete partial file */
  async fetch(bytes: Buffer, over: Partial<DownloadOptions> = {}, signal = new AbortController().signal, now = (): number => performance.now()): Promise<Buffer> {
    const candidate = candidateOf(bytes);
    const download: Download = new Download(candidate, {
      store: this.store, journal: this.journal.of('main'), now, onProgress: (progress) => this.progress.push(progress),
      link: {
        isConnected: () => true,
        request: (request) => {
          this.requests.push(request);
          this.carry(() => {
            for (const { index, message } of this.answer(request, answerRequest(request, bytes))) {
              if (request.chunks !== undefined) this.sent.push(index);
              this.carry(() => download.receive(request.digest.slice(0, 8), index, message));
            }
          });
        },
      },
    }, { ...options, ...over });
    this.#download = download;
    await download.run(signal);
    return readFileSync(this.store.partialPath(candidate.digest));
  }

  reconnect(): void {
    this.#download?.resume();
  }
}

const one = noise(400_000, 1);
/** A change in the middle, as of one layer. */
const two = Buffer.concat([one.subarray(0, 200_000), noise(20_000, 2), one.subarray(220_000)]);
const listTwo = new ChunkList(chunkListOf(two)?.bytes ?? new Uint8Array(0), two.length);

describe('a download by chunks', () => {
  it('brings a whole package to a device that has none of it', async () => {
    const bench = await new Bench().holds();
    expect((await bench.fetch(one)).equals(one)).toBe(true);
    expect(bench.requests[0]).toMatchObject({ list_of: candidateOf(one).digest, digest: candidateOf(one).chunks?.digest });
  });

  it('brings only the chunks that no package on the device has', async () => {
    const bench = await new Bench().holds(one);
    expect((await bench.fetch(two)).equals(two)).toBe(true);
    const bytes = bench.sent.reduce((sum, index) => sum + listTwo.length(index), 0);
    expect(bytes).toBeLessThan(20_000 + 3 * 65_536);
    expect(new Set(bench.sent).size).toBe(bench.sent.length);
  });

  it('OTA-112: takes chunks of the factory package too, which lies outside of the store', async () => {
    const bench = await new Bench().holds();
    const factory = join(bench.folder, 'factory.sterna');
    writeFileSync(factory, one);
    await bench.store.adoptFactory(factory);
    expect((await bench.fetch(two)).equals(two)).toBe(true);
    expect(bench.sent.reduce((sum, index) => sum + listTwo.length(index), 0)).toBeLessThan(20_000 + 3 * 65_536);
  });

  it('needs nobody when all chunks are here', async () => {
    const bench = await new Bench().holds(one, two);
    const mixed = Buffer.concat([one, two]);
    await bench.fetch(mixed);
    bench.requests.length = 0;
    const again = await new Bench().holds(mixed);
    await again.fetch(two);
    const known = new Set(Array.from({ length: listTwo.count }, (_, i) => i));
    for (const index of again.sent) known.delete(index);
    expect(known.size).toBeGreaterThan(listTwo.count - 4);
  });

  it('ignores packages that cannot be read, and copies nothing wrong from damaged ones', async () => {
    const bench = await new Bench().holds(one);
    const damaged = Buffer.from(one);
    damaged.fill(7, 0, 100_000);
    writeFileSync(bench.store.path('ab'.repeat(32)), damaged);
    writeFileSync(bench.store.path(candidateOf(one).digest), damaged);
    expect((await bench.fetch(two)).equals(two)).toBe(true);
  });

  it('keeps the window, and uses it', async () => {
    const bench = await new Bench().holds();
    await bench.fetch(one, { window: 16, windowBytes: 100_000 });
    for (const request of bench.requests.slice(1)) expect(request.window).toBeLessThanOrEqual(16);
    expect(Math.max(...bench.requests.map(({ window }) => window))).toBeGreaterThan(1);
  });

  it('asks again for what was lost, and for nothing else', async () => {
    const bench = await new Bench().holds();
    let n = 0;
    bench.answer = (_, pieces) => pieces.filter(() => ++n % 6 !== 0);
    expect((await bench.fetch(one)).equals(one)).toBe(true);
    expect(new Set(bench.sent).size).toBe(bench.sent.length);
  });

  it('goes on after a reconnect', async () => {
    const bench = await new Bench().holds();
    let lost = 0;
    bench.answer = (request, pieces) => {
      if (request.chunks === undefined || lost++ !== 1) return pieces;
      setImmediate(() => bench.reconnect());
      return [];
    };
    expect((await bench.fetch(one, { stallMs: 60_000 })).equals(one)).toBe(true);
  });

  it('reports bytes that only grow', async () => {
    const bench = await new Bench().holds(one);
    await bench.fetch(two);
    const done = bench.progress.map(({ bytes }) => bytes.done);
    expect(done).toEqual([...done].sort((a, b) => a - b));
    expect(bench.progress.at(-1)).toMatchObject({ pieces: { done: listTwo.count, total: listTwo.count }, bytes: { done: two.length, total: two.length } });
  });

  it('takes up a partial file by what is in it, also when the end was lost and a part is damaged', async () => {
    const bench = await new Bench().holds();
    const abort = new AbortController();
    bench.answer = (request, pieces) => {
      if (bench.sent.length > 10) abort.abort(new Error('cut'));
      return pieces;
    };
    await expect(bench.fetch(one, {}, abort.signal)).rejects.toThrow('cut');
    const path = bench.store.partialPath(candidateOf(one).digest);
    expect(bench.sent.length).toBeGreaterThan(10);
    truncateSync(path, readFileSync(path).length - 1000);
    const file = readFileSync(path);
    file.fill(0, 0, 10);
    writeFileSync(path, file);
    const first = [...bench.sent];
    bench.sent.length = 0;
    bench.requests.length = 0;
    bench.answer = (_, pieces) => pieces;
    expect((await bench.fetch(one)).equals(one)).toBe(true);
    expect(bench.requests.every(({ list_of }) => list_of === undefined)).toBe(true);
    expect(bench.sent.filter((index) => first.includes(index)).length).toBeLessThan(first.length);
  });
});

describe('what a sender may do to a download by chunks', () => {
  it('OTA-110: a chunk that was changed on its way is asked for again, and the update succeeds', async () => {
    const bench = await new Bench().holds();
    const seen = new Set<number>();
    bench.answer = (request, pieces) => pieces.map(({ index, message }) => {
      if (request.chunks === undefined || seen.has(index) || index % 4 !== 0) return { index, message };
      seen.add(index);
      return { index, message: encodeBlock({ index, last: false, payload: noise(20_000, index) }) };
    });
    expect((await bench.fetch(one)).equals(one)).toBe(true);
    expect(seen.size).toBeGreaterThan(3);
  });

  it.each([
    ['other bytes', (index: number) => encodeBlock({ index, last: false, payload: noise(300, 3) })],
    ['a stream without an end', (index: number) => encodeBlock({ index, last: false, deflated: true, payload: Buffer.from('ab'.repeat(400), 'hex') })],
    ['a stream that swells', (index: number) => encodeBlock({ index, last: false, deflated: true, payload: Buffer.from('edc1010d000000c2a0f74f6d0e37a00000000000000000be0d', 'hex') })],
  ])('OTA-110: a chunk that is always %s is a coded error, and costs nothing else', async (_, forged) => {
    const bench = await new Bench().holds();
    bench.answer = (request, pieces) => pieces.map(({ index, message }) => ({ index, message: request.chunks !== undefined && index === 2 ? forged(index) : message }));
    await expect(bench.fetch(one)).rejects.toMatchObject({ code: 'E_OTA_CHUNK' });
    expect(bench.sent.filter((index) => index === 2)).toHaveLength(3);
    expect(existsSync(bench.store.partialPath(candidateOf(one).digest))).toBe(true);
  });

  it('OTA-111: a list with other bytes than those that were signed is fetched once more, and then refused', async () => {
    const bench = await new Bench().holds();
    bench.answer = (request, pieces) => pieces.map(({ index }) => ({ index, message: encodeBlock({ index, last: true, payload: Buffer.alloc(request.size_bytes, 1) }) }));
    await expect(bench.fetch(one)).rejects.toMatchObject({ code: 'E_OTA_LIST' });
    expect(bench.requests).toHaveLength(2);
    expect(readdirSync(join(bench.folder, 'packages'))).toEqual([]);
  });

  it('OTA-111: a publisher with another list sends nothing of the package', async () => {
    const bench = await new Bench().holds();
    const request = { schema_version: 2 as const, digest: candidateOf(one).digest, size_bytes: one.length, block_bytes: 1024, first_block: 0, bitmap: 'AQ==', window: 1, chunks: 'ab'.repeat(32) };
    const [answer] = answerRequest(request, one);
    bench.answer = () => [{ index: 0, message: answer?.message ?? Buffer.alloc(0) }];
    await expect(bench.fetch(one)).rejects.toMatchObject({ code: 'E_OTA_UNAVAILABLE' });
  });

  it('OTA-114: pieces that were not asked for are not even decoded', async () => {
    const bench = await new Bench().holds();
    bench.answer = (request, pieces) => [
      ...Array.from({ length: 40 }, (_, i) => ({ index: 5000 + i, message: Buffer.from('no block') })),
      ...pieces, ...(request.chunks === undefined ? [] : pieces),
    ];
    expect((await bench.fetch(one)).equals(one)).toBe(true);
  });

  it('OTA-115: a publisher that is busy is asked again when it said, and delays the update only', async () => {
    const bench = await new Bench().holds();
    let busy = 0;
    bench.answer = (request, pieces) => {
      return request.chunks !== undefined && busy++ % 2 === 0 && busy < 20 ? [{ index: request.first_block, message: encodeBusy(request.first_block, 150) }] : pieces;
    };
    expect((await bench.fetch(one, { stallMs: 40, maxStalls: 2, window: 4 })).equals(one)).toBe(true);
    expect(busy).toBeGreaterThan(3);
  });
});

describe('when a download may not ask', () => {
  it('OTA-116: outside of a maintenance window and on a metered link it waits, says why, and goes on by itself', async () => {
    const bench = await new Bench().holds();
    let now = 0;
    const why = ['maintenance', 'metered', null] as const;
    const done = bench.fetch(one, { stallMs: 50, maxStalls: 1, allowance: { refusal: () => why[now] ?? null } }, undefined, () => performance.now() + now * 20_000);
    await until('it waits', () => bench.progress.at(-1)?.pace.waiting === 'maintenance' || bench.requests.length > 0);
    expect(bench.requests).toEqual([]);
    now = 2;
    bench.reconnect();
    expect((await done).equals(one)).toBe(true);
  });

  it.each([
    ['in a window', '2026-11-27T02:30:00', true], ['at its first moment', '2026-11-27T02:00:00', true], ['at its last', '2026-11-27T03:59:59', true], ['after it', '2026-11-27T04:00:00', false], ['before it', '2026-11-27T01:59:59', false],
  ])('%s of two hours from two o\'clock on, local time', (_, time, open) => {
    expect(new MaintenanceWindows([{ start: '0 2 * * *', minutes: 120 }]).isOpen(new Date(time))).toBe(open);
  });

  it('takes a window that opened before midnight, and no window for always', () => {
    expect(new MaintenanceWindows([{ start: '30 23 * * 4', minutes: 60 }]).isOpen(new Date('2026-11-27T00:15:00'))).toBe(true);
    expect(new MaintenanceWindows([]).isOpen(new Date())).toBe(true);
  });

  it('knows a metered link by the interface of the default route', () => {
    const root = temporaryFolder();
    mkdirSync(join(root, 'proc/net'), { recursive: true });
    const routes = (...rows: string[]): void => writeFileSync(join(root, 'proc/net/route'), ['Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT', ...rows].join('\n'));
    const metered = { interfaces: ['wwan*', 'ppp0'], maxBytes: 1000 };
    const refusal = (bytes: number): string | null => allowanceOf({ maintenance: new MaintenanceWindows([]), metered, now: () => new Date(), root }).refusal(bytes);
    routes('wwan0\t00000000\t0100000A\t0003\t0\t0\t700\t00000000\t0\t0\t0', 'eth0\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0');
    expect([refusal(1001), refusal(1000)]).toEqual(['metered', null]);
    routes('wwan0\t00000000\t0100000A\t0003\t0\t0\t700\t00000000\t0\t0\t0', 'wlan0\t00000000\t0100000A\t0003\t0\t0\t600\t00000000\t0\t0\t0');
    expect(refusal(1001)).toBeNull();
    writeFileSync(join(root, 'proc/net/route'), '');
    writeFileSync(join(root, 'proc/net/ipv6_route'), `${'0'.repeat(32)} 00 ${'0'.repeat(32)} 00 fe80${'0'.repeat(28)} 00000400 00000001 00000000 00000003 ppp0\n`);
    expect(refusal(1001)).toBe('metered');
  });
});
