/** The daemon and the key of its gallery: made, handed over, lost, another one; and records that something else changed. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { describe, expect, it, onTestFinished } from 'vitest';
import { DeviceGallery } from '../../../agent/gallery/device-gallery.js';
import { runtimePort } from '../../../agent/inference/runtime-port.js';
import { parseConfig, startAgent } from '../../../agent/main.js';
import { RuntimeError } from '../../../runtime/errors.js';
import { createGalleryKey, galleryKeyId, openGallery, readGalleryKey } from '../../../runtime/pipeline/index.js';
import { FakeRuntime } from '../support/fake-runtime.js';
import { quietLog, temporaryFolder } from '../support/tools.js';

const face = (at: number): Float32Array => Float32Array.from({ length: 4 }, (_, i) => (i === at ? 1 : 0));

interface Answer { status: number; body: { people?: { person_id: number; name: string }[]; error?: { code: string; message: string } } }

interface Device {
  ask: (path?: string, init?: RequestInit) => Promise<Answer>;
  faults: () => { component: string; error: { code: string; message: string } }[];
  health: () => Promise<number>;
  stop: () => Promise<void>;
}

/** A daemon whose gallery is the real one. */
async function device(state: string, { env = {}, config = {} }: { env?: NodeJS.ProcessEnv; config?: Record<string, unknown> } = {}): Promise<Device> {
  const parsed = parseConfig({ state_dir: state, api: { port: 0 }, ...config });
  const { openGallery: open } = runtimePort(parsed, () => undefined);
  const agent = await startAgent(parsed, { runtime: Object.assign(new FakeRuntime(), { openGallery: open }), log: quietLog, env });
  onTestFinished(() => agent.stop());
  const url = agent.apiUrl ?? '';
  const credential = env['CREDENTIALS_DIRECTORY'] === undefined ? '' : join(env['CREDENTIALS_DIRECTORY'], 'api.token');
  const token = readFileSync(existsSync(credential) ? credential : join(state, 'api.token'), 'utf8').trim();
  return {
    ask: async (path = '', init = {}) => {
      const answer = await fetch(`${url}/api/gallery${path}`, { ...init, headers: { authorization: `Bearer ${token}` } });
      return { status: answer.status, body: await answer.json() as Answer['body'] };
    },
    faults: () => (agent.status()['faults'] as ReturnType<Device['faults']>).filter(({ error }) => error.code.startsWith('E_GALLERY')),
    health: async () => (await fetch(`${url}/health`)).status,
    stop: () => agent.stop(),
  };
}

function plainState(): string {
  const state = join(temporaryFolder(), 'state');
  mkdirSync(state);
  const gallery = openGallery(join(state, 'gallery.db'));
  gallery.enrol('Anna', [face(0)], 's');
  gallery.close();
  return state;
}

/** A state folder in which a daemon has run, so that its gallery is encrypted. */
async function sealedState(): Promise<string> {
  const state = plainState();
  await (await device(state)).stop();
  return state;
}

const people = ({ status, body }: Answer): unknown => [status, body.people?.map((person) => person.name)];

describe('the gallery of a daemon', () => {
  it('is encrypted at the first start, with a key that it makes for its owner alone, and goes on with that key', async () => {
    const state = plainState();
    const first = await device(state);
    const key = readGalleryKey(join(state, 'gallery.key'));
    expect(statSync(join(state, 'gallery.key')).mode & 0o777).toBe(0o600);
    expect(galleryKeyId(join(state, 'gallery.db'))).toBe(key.id);
    expect(people(await first.ask())).toEqual([200, ['Anna']]);
    await first.stop();
    expect(readFileSync(join(state, 'gallery.db')).includes('Anna')).toBe(false);
    const second = await device(state);
    expect(people(await second.ask())).toEqual([200, ['Anna']]);
    expect(readGalleryKey(join(state, 'gallery.key')).id).toBe(key.id);
    expect(second.faults()).toEqual([]);
  });

  it('takes the key from the credential, else from the configured file, else from the state folder', async () => {
    const folder = temporaryFolder();
    const [credential, configured] = [createGalleryKey(join(folder, 'gallery.key')), createGalleryKey(join(folder, 'configured.key'))];
    const config = { gallery: { key_file: join(folder, 'configured.key') } };
    const [a, b] = [plainState(), plainState()];
    await device(a, { env: { CREDENTIALS_DIRECTORY: folder }, config });
    expect(galleryKeyId(join(a, 'gallery.db'))).toBe(credential.id);
    // A service may have credentials, and none of this name.
    await device(b, { env: { CREDENTIALS_DIRECTORY: temporaryFolder() }, config });
    expect(galleryKeyId(join(b, 'gallery.db'))).toBe(configured.id);
    expect([a, b].map((state) => existsSync(join(state, 'gallery.key')))).toEqual([false, false]);
  });

  it('runs on without a lost key: a fault, 503, nothing deleted, no new key; and all is there when the key is back', async () => {
    const state = await sealedState();
    const [db, key] = [join(state, 'gallery.db'), join(state, 'gallery.key')];
    renameSync(key, `${key}.away`);
    const before = readFileSync(db);
    const lost = await device(state);
    expect(lost.faults()).toMatchObject([{ component: 'agent', error: { code: 'E_GALLERY_KEY', message: expect.stringMatching(/gallery\.key does not exist/) as string } }]);
    for (const answer of [await lost.ask(), await lost.ask('/1', { method: 'DELETE' })]) expect(answer).toMatchObject({ status: 503, body: { error: { code: 'E_GALLERY_KEY' } } });
    expect(await lost.health()).toBe(200);
    await lost.stop();
    expect([existsSync(key), readFileSync(db).equals(before)]).toEqual([false, true]);
    renameSync(`${key}.away`, key);
    expect(people(await (await device(state)).ask())).toEqual([200, ['Anna']]);
  });

  it.each([
    ['another key', (file: string) => void createGalleryKey(file), /is encrypted with the key [0-9a-f]{16}, and the key given is/],
    ['a damaged key file', (file: string) => writeFileSync(file, 'none'), /is malformed/],
  ])('runs on with %s', async (_, put, told) => {
    const state = await sealedState();
    rmSync(join(state, 'gallery.key'));
    put(join(state, 'gallery.key'));
    const wrong = await device(state);
    expect(wrong.faults()).toMatchObject([{ error: { code: 'E_GALLERY_KEY', message: expect.stringMatching(told) as string } }]);
    expect((await wrong.ask()).status).toBe(503);
  });

  it('is not begun without a key that is configured and not there', async () => {
    const state = join(temporaryFolder(), 'state');
    const running = await device(state, { config: { gallery: { key_file: join(state, 'nowhere.key') } } });
    expect(running.faults()).toMatchObject([{ error: { code: 'E_GALLERY_KEY' } }]);
    expect((await running.ask()).status).toBe(503);
    expect(existsSync(join(state, 'gallery.db'))).toBe(false);
  });

  it('of a later version costs the names, not the device', async () => {
    const state = plainState();
    const db = new Database(join(state, 'gallery.db'));
    db.pragma('user_version = 9');
    db.close();
    const running = await device(state);
    expect(running.faults()).toMatchObject([{ error: { code: 'E_GALLERY', message: expect.stringMatching(/version 9/) as string } }]);
    expect(await running.health()).toBe(200);
  });
});

describe('a disk that cannot be written', () => {
  const failing = (code: string): RuntimeError => new RuntimeError('E_GALLERY', 'cannot be opened', { cause: Object.assign(new Error(code), { code }) });

  /** The first attempt, where the gallery belongs, fails with this code of the file system or SQLite. */
  function openWhere(state: string, code: string): { gallery: DeviceGallery; told: string[] } {
    const told: string[] = [];
    const real = runtimePort(parseConfig({ state_dir: state }), () => undefined);
    const path = join(state, 'gallery.db');
    const openGallery: typeof real.openGallery = (where, key) => {
      if (where === path) throw failing(code);
      return real.openGallery(where, key);
    };
    const faults = { raise: (_: string, error: { code: string }): void => void told.push(error.code), clear: (): void => undefined };
    const gallery = DeviceGallery.open({ openGallery }, path, { file: join(state, 'gallery.key'), create: true }, faults);
    onTestFinished(() => gallery.close());
    return { gallery, told };
  }

  it.each(['EROFS', 'ENOSPC', 'SQLITE_FULL'])('leaves a plain gallery in use (%s), from an encrypted copy', (code) => {
    const state = plainState();
    const before = readFileSync(join(state, 'gallery.db'));
    const { gallery, told } = openWhere(state, code);
    expect(told).toEqual(['E_STATE_VOLATILE']);
    expect(gallery.match(face(0), 's')?.name).toBe('Anna');
    expect([readFileSync(join(state, 'gallery.db')).equals(before), existsSync(join(state, 'gallery.key'))]).toEqual([true, false]);
  });

  it('leaves an encrypted one in use with its key, and not without', async () => {
    const state = await sealedState();
    expect(openWhere(state, 'SQLITE_READONLY').gallery.match(face(0), 's')?.name).toBe('Anna');
    rmSync(join(state, 'gallery.key'));
    const { gallery, told } = openWhere(state, 'SQLITE_READONLY');
    expect([told, gallery.match(face(0), 's')]).toEqual([['E_STATE_VOLATILE', 'E_GALLERY_KEY'], null]);
    expect(() => gallery.list()).toThrow(expect.objectContaining({ code: 'E_GALLERY_KEY' }) as Error);
  });
});

describe('the token of the local API', () => {
  it('comes from the credential when there is one', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'api.token'), 'a-token-of-the-service-manager\n');
    const state = join(temporaryFolder(), 'state');
    expect((await (await device(state, { env: { CREDENTIALS_DIRECTORY: folder } })).ask()).status).toBe(200);
    expect(existsSync(join(state, 'api.token'))).toBe(false);
  });
});

describe('a changed record', () => {
  it('costs the names until the person is removed, and is told once', () => {
    const folder = temporaryFolder();
    const [path, file] = [join(folder, 'gallery.db'), join(folder, 'gallery.key')];
    const told: string[] = [];
    const faults = { raise: (_component: string, { code }: { code: string }): void => void told.push(code), clear: (_component: string, code?: string): void => void told.push(`cleared ${String(code)}`) };
    const gallery = DeviceGallery.open(runtimePort(parseConfig({ state_dir: folder }), () => undefined), path, { file, create: true }, faults);
    onTestFinished(() => gallery.close());
    gallery.enrol('Anna', [face(0)], 's');
    gallery.enrol('Ben', [face(1)], 's');
    expect(gallery.match(face(0), 's')?.name).toBe('Anna');
    expect([gallery.foreignTo('s'), gallery.foreignTo('t')]).toEqual([0, 2]);
    expect([gallery.foreignTo('t', 's'), gallery.foreignTo('t', 'u')]).toEqual([2, 0]);
    const other = new Database(path);
    other.exec('UPDATE sample SET embedding = zeroblob(44) WHERE person = 2');
    other.close();
    expect([gallery.match(face(0), 's'), gallery.match(face(1), 's')]).toEqual([null, null]);
    expect(told).toEqual(['E_GALLERY_TAMPERED']);
    expect(() => gallery.enrol('Cem', [face(2), face(3)].map(() => new Float32Array(4)), 's')).toThrow(expect.objectContaining({ code: 'E_GALLERY' }) as Error);
    expect(gallery.remove(2)).toBe(true);
    expect(told.slice(1)).toContain('cleared E_GALLERY_TAMPERED');
    expect(gallery.match(face(0), 's')?.name).toBe('Anna');
  });
});

describe('a gallery that is damaged while the daemon runs', () => {
  it('leaves out a sample that is damaged, says whose it is, and recognizes all others', () => {
    const folder = temporaryFolder();
    const path = join(folder, 'gallery.db');
    const plain = openGallery(path);
    for (const [i, name] of ['Anna', 'Ben', 'Cem'].entries()) plain.enrol(name, [face(i)], 's');
    plain.close();
    const other = new Database(path);
    other.exec('UPDATE sample SET embedding = zeroblob(7) WHERE person = 2');
    other.close();
    const { gallery, told } = opened(folder, path);
    expect([0, 2].map((i) => gallery.match(face(i), 's')?.name)).toEqual(['Anna', 'Cem']);
    expect(gallery.match(face(1), 's')?.name).not.toBe('Ben');
    expect(told).toEqual([expect.stringMatching(/^E_GALLERY_DAMAGED: .*1 damaged samples, of Ben/) as string]);
    expect(gallery.remove(2)).toBe(true);
    expect(told).toContain('cleared E_GALLERY_DAMAGED');
    gallery.enrol('Ben', [face(1)], 's');
    expect(gallery.match(face(1), 's')?.name).toBe('Ben');
  });

  it('costs the names, and no frame fails, when its pages are overwritten', () => {
    const folder = temporaryFolder();
    const path = join(folder, 'gallery.db');
    const { gallery, told } = opened(folder, path);
    for (const [i, name] of ['Anna', 'Ben'].entries()) gallery.enrol(name, [face(i)], 's');
    new Database(path).pragma('wal_checkpoint(TRUNCATE)');
    const bytes = readFileSync(path);
    bytes.fill(0x5a, 100);
    writeFileSync(path, bytes);
    // Another program's commit makes the daemon read its file again.
    for (const suffix of ['-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true });
    expect([gallery.match(face(0), 's'), gallery.nearest(face(1), 's', 2)]).toEqual([null, []]);
    expect(told).toEqual([expect.stringMatching(/^E_GALLERY_DAMAGED: .*restored from a copy/) as string]);
    expect(() => gallery.list()).toThrow(expect.objectContaining({ code: 'E_GALLERY_DAMAGED' }) as Error);
  });

  it('is used again by the next face when what failed has passed', () => {
    const told: string[] = [];
    let busy = true;
    const real = openGallery(':memory:');
    onTestFinished(() => real.close());
    real.enrol('Anna', [face(0)], 's');
    const flaky = new Proxy(real, { get: (target, name) => (name === 'nearest' && busy
      ? () => { throw new RuntimeError('E_GALLERY', 'The gallery is in use'); }
      : (Reflect.get(target, name) as (...args: unknown[]) => unknown).bind(target)) });
    const gallery = DeviceGallery.open({ openGallery: () => flaky }, 'x', { file: 'y', create: false }, noting(told));
    expect(gallery.match(face(0), 's')).toBeNull();
    busy = false;
    expect(gallery.match(face(0), 's')?.name).toBe('Anna');
    expect(told).toEqual(['E_GALLERY: The gallery is in use', 'cleared E_GALLERY']);
  });
});

type Faults = Parameters<typeof DeviceGallery.open>[3];

function noting(told: string[]): Faults {
  return { raise: (_component, { code, message }) => void told.push(`${code}: ${message}`), clear: (_component, code) => void told.push(`cleared ${String(code)}`) };
}

/** The gallery as a daemon opens it, and what it says of it. */
function opened(folder: string, path: string): { gallery: DeviceGallery; told: string[] } {
  const told: string[] = [];
  const runtime = runtimePort(parseConfig({ state_dir: folder }), () => undefined);
  const gallery = DeviceGallery.open(runtime, path, { file: join(folder, 'gallery.key'), create: true }, noting(told));
  onTestFinished(() => gallery.close());
  return { gallery, told };
}
