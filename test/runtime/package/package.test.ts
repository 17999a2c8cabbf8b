import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { packTar } from 'modern-tar';
import { afterAll, describe, expect, it } from 'vitest';
import { RuntimeError } from '../../../runtime/errors.js';
import { noise } from '../../../runtime/noise.js';
import { archiveLimits, writeArchive } from '../../../runtime/package/archive.js';
import { packageChunks } from '../../../runtime/package/content-chunks.js';
import { deflate, inflate } from '../../../runtime/package/deflate.js';
import { buildPackage, openPackage, writePackage } from '../../../runtime/package/package.js';
import { describedWith, description } from '../pipeline/fakes.js';
import { files, manifest } from './manifest-fixture.js';

const folder = mkdtempSync(join(tmpdir(), 'sterna-package-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const built = await buildPackage(manifest, files);
const refused = (pattern: RegExp) => expect.objectContaining({ code: 'E_PACKAGE', message: expect.stringMatching(pattern) as string }) as RuntimeError;

/** The package's entries with its manifest changed. */
async function withManifest(change: (json: Record<string, unknown>) => void): Promise<Uint8Array> {
  const json = JSON.parse(JSON.stringify(built.manifest)) as Record<string, unknown>;
  change(json);
  return writeArchive([
    { path: 'manifest.json', data: Buffer.from(JSON.stringify(json)) },
    ...Object.keys(files).sort().map((path) => ({ path, data: files[path] ?? new Uint8Array(0) })),
  ]);
}

describe('buildPackage', () => {
  it('gives back what went in', async () => {
    const opened = await openPackage(built.bytes);
    expect(opened.manifest).toEqual(built.manifest);
    expect(opened.manifest.files.map(({ path }) => path)).toEqual(['models/detector.onnx', 'models/embedder.onnx', 'models/landmarks.onnx']);
    expect(Buffer.from(opened.file('models/embedder.onnx')).toString()).toBe('embedder');
    expect(opened).toMatchObject({ sha256: built.sha256, bytes: built.bytes.length });
    expect(() => opened.file('models/other.onnx')).toThrow(refused(/no file "models\/other\.onnx"/));
  });

  it('makes equal bytes of equal content, whatever the order and the time', async () => {
    const reversed = Object.fromEntries(Object.entries(files).reverse());
    expect((await buildPackage(manifest, reversed)).sha256).toBe(built.sha256);
  });

  it('keeps the archive form of earlier releases: devices in the field compare bytes', async () => {
    const archive = await writeArchive([{ path: 'manifest.json', data: Buffer.from('{}') }, { path: 'models/a.onnx', data: Buffer.from('abc') }]);
    expect(createHash('sha256').update(archive).digest('hex')).toBe('a453346b3bbdcb2d97797654062286f04aa25b13ca31bf91cab11658c1d34e34');
  });

  it('refuses files that are missing, badly named, or a manifest that is wrong, by name', async () => {
    const { 'models/embedder.onnx': _, ...without } = files;
    await expect(buildPackage(manifest, without)).rejects.toThrow(refused(/models\/embedder\.onnx/));
    await expect(buildPackage(manifest, { ...files, '../x': new Uint8Array(1) })).rejects.toThrow(refused(/"\.\.\/x"/));
    await expect(buildPackage({ ...manifest, version: '1.2' }, files)).rejects.toThrow(refused(/version: .*1\.2\.0/));
    const pointless = describedWith({ landmarks: null });
    await expect(buildPackage({ ...manifest, pipeline: pointless }, files)).rejects.toThrow(refused(/landmark model/));
    const { embedder } = description.stages;
    const grey = { ...description, stages: { ...description.stages, embedder: { ...embedder, input: { ...embedder?.input, mean: [0] } } } } as typeof description;
    await expect(buildPackage({ ...manifest, pipeline: grey }, files)).rejects.toThrow(refused(/embedder\.input\.mean: Expected 3 values/));
  });

  it('is written in one piece or not at all', async () => {
    const path = join(folder, 'door.sterna');
    await writePackage(manifest, files, path);
    expect(readFileSync(path)).toEqual(Buffer.from(built.bytes));
    await expect(writePackage(manifest, files, join(folder, 'no', 'folder.sterna'))).rejects.toThrow(/ENOENT/);
    expect(readdirSync(folder)).toEqual(['door.sterna']);
    expect((await openPackage(path)).sha256).toBe(built.sha256);
  });
});

describe('a file that deflates', () => {
  it('keeps its bytes, except near a change', () => {
    // Like the codes of weights: a narrow hump of values, none of which follows from another.
    const next = noise();
    const byte = (): number => next() >>> 24;
    const before = Uint8Array.from({ length: 1_000_000 }, () => 8 + Math.round((byte() + byte() - 255) / 32));
    const after = Uint8Array.from(before);
    for (let i = 500_000; i < 520_000; i++) after[i] = (after[i] ?? 0) ^ 1;
    const lists = [before, after].map((data) => {
      const stream = deflate(data) ?? data;
      expect(stream.length).toBeLessThan(data.length * 0.7);
      expect(Buffer.from(inflate(stream, data.length) ?? []).equals(data)).toBe(true);
      return [...packageChunks((offset, length) => stream.subarray(offset, offset + length), stream.length)].map(({ bytes }) => ({ hash: createHash('sha256').update(bytes).digest('hex'), bytes: bytes.length, whole: stream.length }));
    });
    const known = new Set(lists[0]?.map(({ hash }) => hash));
    const missing = (lists[1] ?? []).filter(({ hash }) => !known.has(hash)).reduce((sum, { bytes }) => sum + bytes, 0);
    expect(missing / (lists[1]?.[0]?.whole ?? 1)).toBeLessThan(0.3);
  });

  const weights = Buffer.from(Int8Array.from({ length: 20_000 }, (_, i) => ((i * 7919) % 19) - 9).buffer);
  const large = { ...files, 'models/embedder.onnx': weights };
  const path = 'models/embedder.onnx';

  /** The package with another stream for the weights, and other statements about it. */
  async function withStream(change: (stream: Uint8Array) => Uint8Array, stated: Record<string, number> = {}): Promise<Uint8Array> {
    const { manifest: whole } = await buildPackage(manifest, large);
    const stream = change(deflate(weights) ?? weights);
    const changed = { ...whole, files: whole.files.map((file) => (file.path === path ? { ...file, deflated_bytes: stream.length, ...stated } : file)) };
    const contents = changed.files.map((file) => ({ path: file.path, data: file.path === path ? stream : (files[file.path] ?? new Uint8Array(0)) }));
    return writeArchive([{ path: 'manifest.json', data: Buffer.from(JSON.stringify(changed)) }, ...contents]);
  }

  it('takes little more than the entropy of its codes, and comes back as it was', async () => {
    const written = await buildPackage(manifest, large);
    const line = written.manifest.files.find((file) => file.path === path);
    expect(line).toMatchObject({ bytes: weights.length });
    expect(line?.deflated_bytes).toBeLessThan((weights.length * Math.log2(19) * 1.05) / 8);
    expect(Buffer.from((await openPackage(written.bytes)).file(path)).equals(weights)).toBe(true);
    expect(written.manifest.files.filter((file) => file.deflated_bytes !== undefined)).toHaveLength(1);
  });

  it.each([
    ['a stream that stops early', (s: Uint8Array) => s.subarray(0, s.length - 9), {}],
    ['bytes after its end', (s: Uint8Array) => Buffer.concat([s, Buffer.from('more')]), {}],
    ['more bytes than stated', (s: Uint8Array) => s, { bytes: 100 }],
    ['fewer bytes than stated', (s: Uint8Array) => s, { bytes: 30_000 }],
    ['a length that is not the entry\'s', (s: Uint8Array) => s, { deflated_bytes: 5 }],
    ['noise', (s: Uint8Array) => s.map((byte) => byte ^ 0x55), {}],
  ])('is refused with %s', async (_, change, stated) => {
    await expect(openPackage(await withStream(change, stated))).rejects.toThrow(refused(/models\/embedder\.onnx/));
  });

  it('is refused when all files together would be too large, before anything is inflated', async () => {
    await expect(openPackage(await withStream((s) => s, { bytes: archiveLimits.bytes }))).rejects.toThrow(refused(/in all/));
  });
});

describe('openPackage refuses', () => {
  it('a file that is not there', async () => {
    await expect(openPackage(join(folder, 'nothing.sterna'))).rejects.toThrow(refused(/nothing\.sterna cannot be read/));
  });

  it('a truncated archive, at any length', async () => {
    for (let length = 0; length < built.bytes.length; length += 256) {
      await expect(openPackage(built.bytes.subarray(0, length)), `${length} bytes`).rejects.toThrow(refused(/./));
    }
  });

  it('a changed byte anywhere', async () => {
    await fc.assert(fc.asyncProperty(fc.nat(built.bytes.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
      const damaged = Uint8Array.from(built.bytes);
      damaged[at] = (damaged[at] ?? 0) ^ flip;
      // Text of the manifest that no rule restricts may change: then it is another package, with another hash.
      const opened = await openPackage(damaged).catch((error: unknown) => error);
      if (opened instanceof RuntimeError) expect(['E_PACKAGE', 'E_PACKAGE_VERSION']).toContain(opened.code);
      else expect(opened).toMatchObject({ sha256: expect.not.stringMatching(built.sha256) as string });
    }), { numRuns: 300 });
  });

  it('bytes after the end', async () => {
    await expect(openPackage(Buffer.concat([built.bytes, Buffer.alloc(512)]))).rejects.toThrow(refused(/canonical/));
    await expect(openPackage(Buffer.concat([built.bytes, Buffer.alloc(512, 1)]))).rejects.toThrow(refused(/./));
  });

  it('a file whose content is not the listed one', async () => {
    const entries = [
      { path: 'manifest.json', data: Buffer.from(JSON.stringify(built.manifest)) },
      ...Object.keys(files).sort().map((path) => ({ path, data: path.includes('embedder') ? Buffer.from('embeddeR') : files[path] ?? new Uint8Array(0) })),
    ];
    await expect(openPackage(await writeArchive(entries))).rejects.toThrow(refused(/Expected SHA-256 \w{64} for models\/embedder\.onnx/));
  });

  it('a file more or less than listed, or in another order', async () => {
    const head = { path: 'manifest.json', data: Buffer.from(JSON.stringify(built.manifest)) };
    const rest = Object.keys(files).sort().map((path) => ({ path, data: files[path] ?? new Uint8Array(0) }));
    for (const entries of [[head, ...rest.slice(1)], [head, ...rest, { path: 'extra', data: new Uint8Array(1) }], [head, ...rest.reverse()]]) {
      await expect(openPackage(await writeArchive(entries))).rejects.toThrow(refused(/not those in the manifest/));
    }
    await expect(openPackage(await writeArchive([...rest, head]))).rejects.toThrow(refused(/manifest\.json as the first file/));
    await expect(openPackage(await writeArchive([]))).rejects.toThrow(refused(/manifest\.json as the first file but received none/));
  });

  it('a manifest that is not JSON, not UTF-8, or lacks what its schema needs', async () => {
    const alone = (data: Uint8Array) => writeArchive([{ path: 'manifest.json', data }]);
    await expect(openPackage(await alone(Buffer.from('{')))).rejects.toThrow(refused(/not JSON/));
    await expect(openPackage(await alone(Buffer.from([0xff, 0xfe])))).rejects.toThrow(refused(/not JSON/));
    await expect(openPackage(await alone(Buffer.from('null')))).rejects.toThrow(refused(/invalid/));
    await expect(openPackage(await alone(Buffer.alloc((1 << 20) + 1, ' ')))).rejects.toThrow(refused(/at most 1048576 bytes/));
    await expect(openPackage(await withManifest((json) => { delete json.budget; }))).rejects.toThrow(refused(/budget/));
    await expect(openPackage(await withManifest((json) => { (json.pipeline as { kind: string }).kind = 'A Siren'; }))).rejects.toThrow(refused(/pipeline\.kind/));
    await expect(openPackage(await withManifest((json) => { (json.pipeline as { kind: string }).kind = 'siren'; }))).rejects.toMatchObject({ code: 'E_PACKAGE_VERSION' });
    await expect(openPackage(await withManifest((json) => { json.schema_version = 1; }))).rejects.toThrow(/Pack its models again/);
  });

  it('a package for a newer runtime, with the remedy', async () => {
    const newer = await withManifest((json) => { json.minimum_runtime = '99.0.0'; json.pipeline = { kind: 'unheard-of' }; });
    await expect(openPackage(newer)).rejects.toMatchObject({ code: 'E_PACKAGE_VERSION', message: expect.stringContaining('Update Sterna') as string });
    await expect(openPackage(await withManifest((json) => { json.schema_version = 3; }))).rejects.toMatchObject({ code: 'E_PACKAGE_VERSION' });
  });

  it('links, folders, extended headers and paths that lead out', async () => {
    const data = Buffer.from('x');
    const header = (extra: object) => ({ name: 'x', size: 1, mtime: new Date(0), uid: 0, gid: 0, mode: 0o644, ...extra });
    const hostile: Parameters<typeof packTar>[0][] = [
      [{ header: header({ type: 'symlink', linkname: '/etc/passwd', size: 0 }) }],
      [{ header: header({ type: 'link', linkname: 'y', size: 0 }) }],
      [{ header: header({ type: 'directory', name: 'x/', size: 0 }) }],
      [{ header: header({ type: 'file', pax: { comment: 'hidden' } }), body: data }],
      [{ header: header({ type: 'file', name: `${'deep/'.repeat(60)}x` }), body: data }],
      [{ header: header({ type: 'file', mode: 0o4755 }), body: data }],
      [{ header: header({ type: 'file', uname: 'root' }), body: data }],
      [{ header: header({ type: 'file', mtime: new Date(1e12) }), body: data }],
      [{ header: header({ type: 'file', name: '../../etc/cron.d/x' }), body: data }],
      [{ header: header({ type: 'file', name: '/etc/x' }), body: data }],
    ];
    for (const entries of hostile) await expect(openPackage(await packTar(entries)), JSON.stringify(entries[0]?.header)).rejects.toThrow(refused(/./));
  });

  it('too many files', async () => {
    const many = Array.from({ length: 200 }, (_, i) => ({ path: `f${i}`, data: new Uint8Array(0) }));
    await expect(openPackage(await writeArchive(many))).rejects.toThrow(refused(/at most 129 files/));
  });

  it('random bytes, with our own error', async () => {
    await fc.assert(fc.asyncProperty(fc.uint8Array({ minLength: 512, maxLength: 2048 }), async (bytes) => {
      await expect(openPackage(bytes)).rejects.toBeInstanceOf(RuntimeError);
    }));
  });
});
