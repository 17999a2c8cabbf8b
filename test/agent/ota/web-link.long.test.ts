/** Packages that come from a web server, which may do what it wants. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { chunkListOf, encodeBlock } from '../../../agent/contracts/index.js';
import { Download, type DownloadOptions, type DownloadProgress } from '../../../agent/ota/download.js';
import { Journal } from '../../../agent/ota/journal.js';
import { PackageStore } from '../../../agent/ota/store.js';
import { openDatabase } from '../../../agent/platform/database.js';
import { RepositoryFolder } from '../../../deploy/repository/folder.js';
import { random } from '../../runtime/support/random.js';
import { certificates, opensslMissing } from '../support/certificates.js';
import { answerRequest, chunksOf } from '../support/publisher.js';
import { temporaryFolder } from '../support/tools.js';

const next = random(5);
const bytes = Buffer.from(Array.from({ length: 300_000 }, () => Math.floor(next() * 256)));
const digest = createHash('sha256').update(bytes).digest('hex');
const list = chunkListOf(bytes);

type Handler = (request: IncomingMessage, response: ServerResponse, range: { first: number; last: number; file: Buffer }) => void;

/** The folder of a repository, as `sterna repository add` writes it. */
function hosted(): RepositoryFolder {
  const folder = new RepositoryFolder(temporaryFolder());
  folder.writeTarget('all/faces-2.0.0.sterna', digest, bytes);
  if (list !== null) folder.writeChunks(list.digest, list.bytes);
  return folder;
}

const honest: Handler = (_, response, { first, last, file }) => {
  response.writeHead(206, { 'content-range': `bytes ${first}-${last}/${file.length}` }).end(file.subarray(first, last + 1));
};

/** Hosts the files as any web server would, except for what `handler` does to requests for the package. */
function serve(handler: Handler = honest, tls?: { cert: string; key: string; clientCa?: string }): { url: Promise<string>; ranges: string[] } {
  const { path } = hosted();
  const ranges: string[] = [];
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    const [, first = '0', last = '0'] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? [];
    const file = readFileSync(join(path, request.url ?? ''));
    const ofPackage = request.url?.startsWith('/image/packages/') === true;
    if (ofPackage) ranges.push(`${first}-${last}`);
    (ofPackage ? handler : honest)(request, response, { first: Number(first), last: Number(last), file });
  };
  const server = tls === undefined ? createServer(listener) : createSecureServer({
    cert: readFileSync(tls.cert), key: readFileSync(tls.key), ...(tls.clientCa === undefined ? {} : { ca: readFileSync(tls.clientCa), requestCert: true, rejectUnauthorized: true }),
  }, listener);
  onTestFinished(() => { server.closeAllConnections(); server.close(); });
  const url = new Promise<string>((resolve) => server.listen(0, '127.0.0.1', () => resolve(`${tls === undefined ? 'http' : 'https'}://127.0.0.1:${(server.address() as AddressInfo).port}/image`)));
  return { url, ranges };
}

interface Result {
  file: Buffer;
  /** Chunks that the publisher sent. */
  published: number;
  last: DownloadProgress | undefined;
}

async function fetchFrom(web: DownloadOptions['web'], over: Partial<DownloadOptions> & { publisher?: 'here' | 'lacks it' } = {}): Promise<Result> {
  const { publisher = 'here', ...options } = over;
  const folder = temporaryFolder();
  const db = openDatabase(join(folder, 'state.db'), { durability: 'full' });
  onTestFinished(() => void db.close());
  const store = new PackageStore(join(folder, 'packages'));
  await store.open();
  let published = 0;
  let last: DownloadProgress | undefined;
  const candidate = { name: 'faces', version: '2.0.0', digest, size_bytes: bytes.length, block_bytes: 65_536, generation: 2, ...chunksOf(bytes) };
  const download: Download = new Download(candidate, {
    store, journal: new Journal(db).of('main'), now: () => performance.now(), onProgress: (progress) => { last = progress; },
    link: {
      isConnected: () => true,
      request: (request) => {
        const none = [{ index: request.first_block, message: encodeBlock({ index: request.first_block, last: false, unavailable: true, payload: new Uint8Array(0) }) }];
        for (const { index, message } of publisher === 'here' ? answerRequest(request, bytes) : none) {
          if (publisher === 'here' && request.chunks !== undefined) published += 1;
          setImmediate(() => download.receive(request.digest.slice(0, 8), index, message));
        }
      },
    },
  }, { window: 8, stallMs: 2000, maxStalls: 3, web, ...options });
  await download.run(new AbortController().signal);
  return { file: readFileSync(store.partialPath(digest)), published, last };
}

describe('a package from a web server', () => {
  it('comes in ranges within the window, and the publisher is asked for nothing', async () => {
    const { url, ranges } = serve();
    const { file, published, last } = await fetchFrom({ url: await url }, { windowBytes: 100_000 });
    expect(file.equals(bytes)).toBe(true);
    expect(published).toBe(0);
    expect(last).toMatchObject({ source: 'web', webError: null, bytes: { done: bytes.length } });
    const sizes = ranges.map((range) => range.split('-').map(Number)).map(([first = 0, end = 0]) => end + 1 - first);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(bytes.length);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(100_000);
  });

  it.skipIf(opensslMissing)(opensslMissing ? 'comes over TLS (skipped: openssl is not installed)' : 'comes over TLS from a server of the configured authority, and from no other', async () => {
    const { ca, of } = certificates({ web: 'IP:127.0.0.1' });
    const { url } = serve(honest, of('web'));
    expect(await fetchFrom({ url: await url, ca })).toMatchObject({ published: 0, last: { source: 'web' } });
    expect((await fetchFrom({ url: await url })).last).toMatchObject({ source: 'mqtt', webError: { code: 'E_OTA_WEB_CONNECT' } });
  });

  it.skipIf(opensslMissing)(opensslMissing ? 'needs a certificate (skipped: openssl is not installed)' : 'OTA-119: comes from a server that asks for a certificate, to a device of its authority and to no other', async () => {
    const { ca, of } = certificates({ web: 'IP:127.0.0.1', door: 'DNS:door' });
    const stranger = certificates({ door: 'DNS:door' }).of('door');
    const { url, ranges } = serve(honest, { ...of('web'), clientCa: ca });
    for (const none of [{}, stranger, { ...of('door'), key: '/nowhere/door.key' }]) {
      const { file, last } = await fetchFrom({ url: await url, ca, ...none });
      expect(file.equals(bytes)).toBe(true);
      expect(last).toMatchObject({ source: 'mqtt', webError: { code: 'E_OTA_WEB_CONNECT' } });
    }
    expect(ranges).toEqual([]);
    expect(await fetchFrom({ url: await url, ca, ...of('door') })).toMatchObject({ published: 0, last: { source: 'web', webError: null } });
  });

  it('comes from it again when the publisher fails, as long as one of the two helps', async () => {
    let requests = 0;
    const { url } = serve((request, response, range) => (++requests === 2 ? void response.writeHead(503).end() : honest(request, response, range)));
    const { file, published, last } = await fetchFrom({ url: await url }, { publisher: 'lacks it' });
    expect([file.equals(bytes), published]).toEqual([true, 0]);
    expect(last).toMatchObject({ source: 'web', webError: { code: 'E_OTA_WEB_STATUS' } });
  });

  it('is an error that names both when neither helps', async () => {
    const { url } = serve((_, response) => void response.writeHead(404).end());
    await expect(fetchFrom({ url: await url }, { publisher: 'lacks it' })).rejects.toMatchObject({ code: 'E_OTA_UNAVAILABLE', message: expect.stringContaining('E_OTA_WEB_STATUS') as string });
  });
});

describe('a web server that cannot be trusted', () => {
  const header = (first: number, last: number, size: number): Record<string, string> => ({ 'content-range': `bytes ${first}-${last}/${size}` });
  const hostile: [string, string, Handler][] = [
    ['that lacks the file', 'E_OTA_WEB_STATUS', (_, response) => void response.writeHead(404).end()],
    ['that sends the whole file', 'E_OTA_WEB_RANGE', (_, response, { file }) => void response.writeHead(200).end(file)],
    ['that sends another range', 'E_OTA_WEB_RANGE', (_, response, { first, last, file }) => void response.writeHead(206, header(first + 1, last + 1, file.length)).end(file.subarray(first + 1, last + 2))],
    ['that redirects', 'E_OTA_WEB_REDIRECT', (request, response) => void response.writeHead(302, { location: `${request.url ?? ''}?again` }).end()],
    ['that never stops sending', 'E_OTA_WEB_SIZE', (_, response, { first, last, file }) => {
      response.writeHead(206, header(first, last, file.length));
      const more = (): void => { if (!response.destroyed) response.write(Buffer.alloc(65_536), () => setImmediate(more)); };
      response.on('error', () => undefined);
      more();
    }],
    ['that sends less than it says', 'E_OTA_WEB_SIZE', (_, response, { first, last, file }) => void response.writeHead(206, header(first, last, file.length)).end(file.subarray(first, first + 10))],
    ['that hangs up', 'E_OTA_WEB_CONNECT', (request) => void request.socket.destroy()],
    ['with other bytes', 'E_OTA_CHUNK', (_, response, { first, last, file }) => void response.writeHead(206, header(first, last, file.length)).end(Buffer.alloc(last + 1 - first, 7))],
  ];
  it.each(hostile)('OTA-117: a server %s is %s, and the publisher brings the package', async (_, code, handler) => {
    const { url } = serve(handler);
    const { file, published, last } = await fetchFrom({ url: await url });
    expect(file.equals(bytes)).toBe(true);
    expect(published).toBeGreaterThan(0);
    expect(last).toMatchObject({ source: 'mqtt', webError: { code } });
  });

  it.each([
    ['is silent', 'E_OTA_WEB_CONNECT', { stallMs: 100, maxStalls: 50 }],
    ['sends a byte now and then', 'E_OTA_STALL', { stallMs: 300, maxStalls: 2 }],
    ['sends a byte now and then', 'E_OTA_SLOW', { stallMs: 5000, pace: { maxBytesPerS: null, minBytesPerS: 1000, slowWindowMs: 300 } }],
  ])('OTA-117: a server that %s is %s, and the publisher brings the package', async (what, code, options) => {
    const { url } = serve((_, response, { first, last, file }) => {
      if (what === 'is silent') return;
      response.writeHead(206, header(first, last, file.length));
      const timer = setInterval(() => response.write(file.subarray(first, first + 1)), 20);
      response.on('close', () => clearInterval(timer)).on('error', () => undefined);
    });
    const { file, last } = await fetchFrom({ url: await url }, options);
    expect(file.equals(bytes)).toBe(true);
    expect(last).toMatchObject({ source: 'mqtt', webError: { code } });
  });

  it('OTA-117: a server with another list of chunks is not asked for anything else', async () => {
    const asked: string[] = [];
    const server = createServer((request, response) => {
      asked.push(request.url ?? '');
      const size = list?.size_bytes ?? 0;
      response.writeHead(206, header(0, size - 1, size)).end(Buffer.alloc(size, 1));
    });
    onTestFinished(() => { server.closeAllConnections(); server.close(); });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { file, last } = await fetchFrom({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/image` });
    expect(file.equals(bytes)).toBe(true);
    expect(last?.webError?.code).toBe('E_OTA_LIST');
    expect(asked).toHaveLength(1);
  });
});
