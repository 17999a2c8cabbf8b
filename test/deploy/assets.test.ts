import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { packTar } from 'modern-tar';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { fetchPackage, isCached, type FetchOptions } from '../../deploy/demo/assets.js';
import type { PinnedPackage } from '../../deploy/demo/pins.js';

let folder: string;
beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'sterna-assets-')); });
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const sha256 = (data: string): string => createHash('sha256').update(data).digest('hex');

async function tarball(files: Record<string, string>): Promise<Buffer> {
  const entries = Object.entries(files).map(([path, body]) => ({ header: { name: `package/${path}`, size: Buffer.byteLength(body), type: 'file' as const }, body }));
  return gzipSync(await packTar(entries));
}

function pin(tar: Buffer, over: Partial<PinnedPackage> = {}): PinnedPackage {
  return {
    name: '@scope/thing', version: '1.2.3', licence: 'MIT',
    integrity: `sha512-${createHash('sha512').update(tar).digest('base64')}`,
    files: [{ path: 'a/model.onnx', name: 'model.onnx', sha256: sha256('weights') }, { path: 'run', name: 'run', sha256: sha256('#!'), executable: true }],
    ...over,
  };
}

/** A program that stands for npm: it notes its arguments and does what `body` says. */
function fakeNpm(body: string): { npm: string[]; calls: () => string[][] } {
  const script = join(folder, 'npm.cjs');
  const log = join(folder, 'calls.jsonl');
  writeFileSync(script, `
    const fs = require('node:fs');
    const args = process.argv.slice(2);
    fs.appendFileSync(${JSON.stringify(log)}, JSON.stringify(args) + '\\n');
    const to = args[args.indexOf('--pack-destination') + 1];
    ${body}`);
  return { npm: [process.execPath, script], calls: () => (existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n').map((line): string[] => JSON.parse(line) as string[]) : []) };
}

async function served(files: Record<string, string>): Promise<{ options: FetchOptions; pinned: PinnedPackage; calls: () => string[][] }> {
  const tar = await tarball(files);
  writeFileSync(join(folder, 'thing.tgz'), tar);
  const { npm, calls } = fakeNpm(`fs.copyFileSync(${JSON.stringify(join(folder, 'thing.tgz'))}, to + '/scope-thing-1.2.3.tgz');`);
  return { options: { folder: join(folder, 'cache'), npm }, pinned: pin(tar), calls };
}

const FILES = { 'a/model.onnx': 'weights', run: '#!', 'other.txt': 'not wanted' };

describe('fetching a pinned package', () => {
  it('fetches it once, keeps only the pinned files, and leaves no scratch behind', async () => {
    const { options, pinned, calls } = await served(FILES);
    const told: string[] = [];
    const paths = await fetchPackage(pinned, { ...options, onFetch: (name) => told.push(name) });
    expect(readFileSync(paths['model.onnx'] ?? '', 'utf8')).toBe('weights');
    expect(statSync(paths.run ?? '').mode & 0o111).not.toBe(0);
    expect(readdirSync(options.folder)).toEqual(['scope-thing-1.2.3']);
    expect(readdirSync(join(options.folder, 'scope-thing-1.2.3')).sort()).toEqual(['model.onnx', 'run']);
    expect(calls()[0]?.slice(0, 2)).toEqual(['pack', '@scope/thing@1.2.3']);
    expect(await fetchPackage(pinned, { ...options, onFetch: (name) => told.push(name) })).toEqual(paths);
    expect(calls()).toHaveLength(1);
    expect(told).toEqual(['@scope/thing@1.2.3']);
  });

  it('fetches again what was damaged', async () => {
    const { options, pinned, calls } = await served(FILES);
    const paths = await fetchPackage(pinned, options);
    writeFileSync(paths['model.onnx'] ?? '', 'damage');
    expect(await isCached(pinned, options.folder)).toBe(false);
    await fetchPackage(pinned, options);
    expect(readFileSync(paths['model.onnx'] ?? '', 'utf8')).toBe('weights');
    expect(calls()).toHaveLength(2);
  });

  it('refuses another tarball than the pinned one', async () => {
    const { options, pinned } = await served(FILES);
    const failure = fetchPackage({ ...pinned, integrity: 'sha512-AAAA' }, options);
    await expect(failure).rejects.toMatchObject({ code: 'E_ASSET' });
    await expect(failure).rejects.toThrow(/Expected @scope\/thing@1\.2\.3 with integrity sha512-AAAA but received sha512-/);
    expect(readdirSync(options.folder)).toEqual([]);
  });

  it('refuses a file that is not the pinned one, and a missing one', async () => {
    const { options, pinned } = await served({ ...FILES, 'a/model.onnx': 'poison' });
    await expect(fetchPackage(pinned, options)).rejects.toMatchObject({ code: 'E_ASSET' });
    const missing = await served({ run: '#!' });
    await expect(fetchPackage(missing.pinned, missing.options)).rejects.toThrow(/has no file a\/model\.onnx/);
    expect(await isCached(pinned, options.folder)).toBe(false);
  });

  it('refuses bytes that are no tarball', async () => {
    const tar = Buffer.from('no gzip');
    writeFileSync(join(folder, 'thing.tgz'), tar);
    const { npm } = fakeNpm(`fs.copyFileSync(${JSON.stringify(join(folder, 'thing.tgz'))}, to + '/x.tgz');`);
    await expect(fetchPackage(pin(tar), { folder: join(folder, 'cache'), npm })).rejects.toMatchObject({ code: 'E_ASSET' });
  });

  it('says why npm failed, and works when npm does again', async () => {
    const offline = fakeNpm(`console.error('npm error code ENOTFOUND\\nnpm error network request to https://registry failed, reason: getaddrinfo ENOTFOUND'); process.exit(1);`);
    const tar = await tarball(FILES);
    const failure = fetchPackage(pin(tar), { folder: join(folder, 'cache'), npm: offline.npm });
    await expect(failure).rejects.toMatchObject({ code: 'E_NPM', details: { package: '@scope/thing@1.2.3' } });
    await expect(failure).rejects.toThrow(/network request to https:\/\/registry failed.*run the same command again/);
    const { options, pinned } = await served(FILES);
    await fetchPackage(pinned, options);
    expect(await isCached(pinned, options.folder)).toBe(true);
  });

  it('says that npm is not there, or wrote nothing', async () => {
    const tar = await tarball(FILES);
    await expect(fetchPackage(pin(tar), { folder: join(folder, 'cache'), npm: [join(folder, 'no-such-npm')] })).rejects.toThrow(/no-such-npm was not found/);
    await expect(fetchPackage(pin(tar), { folder: join(folder, 'cache'), npm: fakeNpm('').npm })).rejects.toMatchObject({ code: 'E_NPM' });
  });

  it('stops npm when it is aborted', async () => {
    const tar = await tarball(FILES);
    const stop = new AbortController();
    const { npm, calls } = fakeNpm('setInterval(() => {}, 1000);');
    const failure = fetchPackage(pin(tar), { folder: join(folder, 'cache'), npm, signal: stop.signal });
    for (let i = 0; i < 500 && calls().length === 0; i++) await new Promise((resolve) => setTimeout(resolve, 10));
    stop.abort();
    await expect(failure).rejects.toMatchObject({ code: 'E_NPM' });
  });

  it('names a cache that cannot be written', async () => {
    const { options, pinned } = await served(FILES);
    mkdirSync(join(folder, 'file-parent'));
    writeFileSync(join(folder, 'file-parent', 'cache'), 'a file, not a folder');
    await expect(fetchPackage(pinned, { ...options, folder: join(folder, 'file-parent', 'cache') })).rejects.toMatchObject({ code: 'E_ASSET' });
  });
});
