/** The repository as its users see it: files, thresholds, rotation, delegations, expiry. What devices make of it is tested in test/agent/trust. */
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Repository } from '../../../deploy/repository/repository.js';
import { createCommandKey, createKey, openSigner, readKey, rewriteKey } from '../../../deploy/repository/keys.js';
import { DAY_MS, digestOf, item, SignedFleet } from '../../agent/trust/fleet.js';
import { temporaryFolder } from '../../support/folder.js';

const door = item('door', '1.0.0', 1);

function versions(folder: string): Record<string, number> {
  const read = (path: string): { signed: { version: number; meta: Record<string, { version: number }> } } => JSON.parse(readFileSync(join(folder, 'image', path), 'utf8')) as never;
  const timestamp = read('timestamp.json').signed;
  const snapshot = timestamp.meta['snapshot.json']?.version ?? 0;
  return { timestamp: timestamp.version, snapshot, ...Object.fromEntries(Object.entries(read(`${snapshot}.snapshot.json`).signed.meta).map(([file, { version }]) => [file, version])) };
}

describe('a repository', () => {
  it('is plain files that any web server can host to any TUF client', () => {
    const fleet = new SignedFleet();
    fleet.add(door);
    expect(readdirSync(join(fleet.folder, 'image')).sort()).toEqual(['1.root.json', '1.snapshot.json', '1.targets.json', '2.snapshot.json', '2.targets.json', 'packages', 'root.json', 'targets', 'timestamp.json']);
    expect(readdirSync(join(fleet.folder, 'director')).sort()).toEqual(['1.root.json', 'root.json']);
    expect(readFileSync(join(fleet.folder, 'image', 'targets', 'all', `${digestOf(door.bytes)}.door-1.0.0.sterna`))).toEqual(door.bytes);
    expect(versions(fleet.folder)).toEqual({ timestamp: 2, snapshot: 2, 'targets.json': 2 });
  });

  it('does nothing when the same package is added again, and refuses a smaller release counter', () => {
    const fleet = new SignedFleet();
    fleet.add(door);
    fleet.add(door);
    expect(versions(fleet.folder)).toMatchObject({ timestamp: 2 });
    expect(() => fleet.add(item('door', '0.9.0', 0))).toThrow(/release counter 0, and 1 is in the repository already/);
    fleet.add(item('other', '0.1.0', 0));
    expect(fleet.repository.targets().map(({ path }) => path)).toEqual(['all/door-1.0.0.sterna', 'all/other-0.1.0.sterna']);
  });

  it('stages what lacks signatures, and publishes it when the threshold is reached, whoever signs last', () => {
    const fleet = new SignedFleet();
    const second = fleet.key('targets-2');
    fleet.repository.rotate('image', 'targets', { add: [second], remove: [], threshold: 2 });
    const away = join(temporaryFolder(), 'targets-2.json');
    renameSync(join(fleet.folder, 'keys', 'targets-2.json'), away);
    const alone = Repository.open(fleet.folder, { now: () => fleet.nowMs });
    const { progress } = alone.add({ ...door, digest: digestOf(door.bytes) }, { hardwareIds: ['x64'], releaseCounter: 1 });
    expect(progress.published).toEqual([]);
    expect(progress.pending).toMatchObject([{ repository: 'image', role: 'targets', signatures: 1, threshold: 2, missing: [second.id] }]);
    expect(alone.find(digestOf(door.bytes), 'test')).toBeNull();
    const both = Repository.open(fleet.folder, { now: () => fleet.nowMs, keyFiles: [away] });
    expect(both.sign().published.map(({ role }) => role)).toEqual(['targets', 'snapshot', 'timestamp']);
    expect(both.find(digestOf(door.bytes), 'test')?.path).toBe('all/door-1.0.0.sterna');
  });

  it('rotates root keys with the signatures of the old and the new ones', () => {
    const fleet = new SignedFleet({ rootKeys: 2, rootThreshold: 2 });
    const old = readKey(join(fleet.folder, 'keys', 'root-1.json'));
    const next = fleet.key('root-3');
    const progress = fleet.repository.rotate('image', 'root', { add: [next], remove: [old.id] });
    expect(progress).toEqual({ published: [{ repository: 'image', role: 'root', version: 2 }], pending: [] });
    rmSync(join(fleet.folder, 'keys', 'root-1.json'));
    expect(Repository.open(fleet.folder).rootsAfter('image', 0)).toHaveLength(2);
    expect(() => fleet.repository.rotate('image', 'root', { add: [], remove: [next.id], threshold: 2 })).toThrow('Expected a threshold of root from 1 to its 1 keys but received 2');
  });

  it('signs targets, snapshot and timestamp again when their keys change', () => {
    const fleet = new SignedFleet();
    fleet.add(door);
    const before = versions(fleet.folder);
    const old = readKey(join(fleet.folder, 'keys', 'timestamp-1.json'));
    const { published } = fleet.repository.rotate('image', 'timestamp', { add: [fleet.key('timestamp-2')], remove: [old.id] });
    expect(published.map(({ role }) => role)).toEqual(['root', 'timestamp']);
    expect(versions(fleet.folder)).toEqual({ ...before, timestamp: (before['timestamp'] ?? 0) + 1 });
  });

  it('delegates the packages of one fleet to keys of its own', () => {
    const fleet = new SignedFleet();
    fleet.repository.delegate('yard', { keys: [fleet.key('yard-1')], threshold: 1 });
    expect(fleet.add(door, { fleet: 'yard' })).toBe('yard/door-1.0.0.sterna');
    expect(fleet.repository.find(digestOf(door.bytes), 'yard')).toMatchObject({ role: 'fleet-yard' });
    expect(fleet.repository.find(digestOf(door.bytes), 'door')).toBeNull();
    expect(fleet.repository.remove('yard/door-1.0.0.sterna').published.map(({ role }) => role)).toEqual(['fleet-yard', 'snapshot', 'timestamp']);
    expect(() => fleet.repository.remove('yard/door-1.0.0.sterna')).toThrow('No role lists yard/door-1.0.0.sterna');
  });

  it('says that metadata has expired before a device would, and refreshes it', () => {
    const fleet = new SignedFleet();
    fleet.add(door);
    fleet.nowMs += 31 * DAY_MS;
    expect(() => fleet.desired(1, door)).toThrow(/timestamp metadata .* expired at 2030-02-14T00:00:00Z. Sign it again: sterna repository refresh/);
    expect(fleet.repository.refresh().published.map(({ role }) => role)).toEqual(['timestamp']);
    expect(fleet.desired(1, door).signed.image).not.toBeNull();
    fleet.nowMs += 200 * DAY_MS;
    expect(fleet.repository.refresh().published.map(({ role }) => role)).toEqual(['targets', 'snapshot', 'timestamp']);
  });

  it('is complete at every moment: a timestamp is written last', () => {
    const fleet = new SignedFleet();
    fleet.add(door);
    const timestamp = readFileSync(join(fleet.folder, 'image', 'timestamp.json'), 'utf8');
    fleet.add(item('door', '1.1.0', 2));
    writeFileSync(join(fleet.folder, 'image', 'timestamp.json'), timestamp); // as if it had been cut off just before
    const found = Repository.open(fleet.folder);
    expect(found.find(digestOf(door.bytes), 'test')).not.toBeNull();
    expect(found.find(digestOf(item('door', '1.1.0', 2).bytes), 'test')).toBeNull();
  });

  it('refuses a folder that is none, and one that is', () => {
    const fleet = new SignedFleet();
    expect(() => Repository.open(temporaryFolder())).toThrow(/Make one with sterna repository init/);
    expect(() => new SignedFleet({ folder: fleet.folder })).toThrow();
  });
});

describe('a key file', () => {
  const data = Buffer.from('signed');
  it('is encrypted with a passphrase, which alone opens it', () => {
    const path = join(temporaryFolder(), 'key.json');
    const { id } = createKey(path, 'correct horse');
    expect(readKey(path)).toMatchObject({ id, kept: 'encrypted' });
    expect(readFileSync(path, 'utf8')).not.toContain('"private"');
    expect(openSigner(path, () => 'correct horse').sign(data)).toHaveLength(64);
    expect(() => openSigner(path, () => 'wrong horse')).toThrow('the passphrase is wrong, or the file is damaged');
    expect(() => openSigner(path, () => undefined)).toThrow('--passphrase-file');
    rewriteKey(path, () => 'correct horse', 'battery staple');
    expect(openSigner(path, () => 'battery staple').id).toBe(id);
    expect(() => createKey(path)).toThrow('exists already; a key is never overwritten');
    expect(() => createKey(join(temporaryFolder(), 'k.json'), 'short')).toThrow('at least 8 characters');
  });

  it('may name a command that signs, whose signature is checked', () => {
    const folder = temporaryFolder();
    createKey(join(folder, 'token.json'));
    const { public: value } = readKey(join(folder, 'token.json'));
    const hook = join(folder, 'hook.mjs');
    writeFileSync(hook, `import { createPrivateKey, sign } from 'node:crypto'; import { readFileSync } from 'node:fs';
      const { private: key } = JSON.parse(readFileSync(${JSON.stringify(join(folder, 'token.json'))}, 'utf8'));
      const bytes = readFileSync(0);
      process.stdout.write(sign(null, process.argv[2] === 'wrong' ? Buffer.from('x') : bytes, createPrivateKey({ key: Buffer.from(key, 'base64'), format: 'der', type: 'pkcs8' })).toString('hex'));`);
    createCommandKey(join(folder, 'good.json'), value, [process.execPath, hook]);
    createCommandKey(join(folder, 'wrong.json'), value, [process.execPath, hook, 'wrong']);
    expect(openSigner(join(folder, 'good.json'), () => undefined).sign(data)).toEqual(openSigner(join(folder, 'token.json'), () => undefined).sign(data));
    expect(() => openSigner(join(folder, 'wrong.json'), () => undefined).sign(data)).toThrow('returned no valid signature');
    expect(existsSync(join(folder, 'good.json'))).toBe(true);
  });

  it('that is damaged is refused', () => {
    const path = join(temporaryFolder(), 'key.json');
    for (const text of ['', '{}', '{"schema_version":1,"keytype":"ed25519","public":"00"}', 'null']) {
      writeFileSync(path, text);
      expect(() => readKey(path)).toThrow('no usable key file');
    }
  });
});
