/** Users in a file, sessions, attempts and the audit log, without a server. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Sqlite from 'better-sqlite3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Attempts } from '../../../deploy/users/attempts.js';
import { AuditLog, openAudit } from '../../../deploy/users/audit.js';
import { Sessions } from '../../../deploy/users/sessions.js';
import { addUser, changeUser, passwordFits, readUsers, removeUser, UserDirectory } from '../../../deploy/users/users.js';

const PASSWORD = 'correct horse battery';
let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sterna-users-'));
  file = join(folder, 'users.json');
});
afterEach(() => rmSync(folder, { recursive: true }));

describe('users', () => {
  it('keeps hashes alone, in a file for its owner, and compares', async () => {
    await addUser(file, { name: 'ada', role: 'operator', password: PASSWORD });
    expect(readFileSync(file, 'utf8')).not.toContain(PASSWORD);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const [ada] = readUsers(file);
    expect(ada).toMatchObject({ name: 'ada', role: 'operator', scrypt: { n: 2 ** 15, r: 8, p: 3 } });
    expect(await passwordFits(ada, PASSWORD)).toBe(true);
    expect(await passwordFits(ada, `${PASSWORD}!`)).toBe(false);
    expect(await passwordFits(undefined, PASSWORD)).toBe(false);
  });

  it('refuses bad names, short and long passwords, names that are taken or unknown', async () => {
    const add = (name: string, password: string): Promise<void> => addUser(file, { name, role: 'viewer', password });
    for (const [name, password] of [['Ada', PASSWORD], ['', PASSWORD], ['a'.repeat(33), PASSWORD], ['ada', 'short'], ['ada', 'x'.repeat(257)]] as const) await expect(add(name, password)).rejects.toMatchObject({ code: 'E_USERS' });
    await add('ada', PASSWORD);
    await expect(add('ada', PASSWORD)).rejects.toThrow(/There is a user ada already/);
    await expect(removeUser(file, 'bob')).rejects.toMatchObject({ code: 'E_USERS' });
  });

  it('refuses a file that others may read, that is damaged, or whose cost would hang the server', async () => {
    await addUser(file, { name: 'ada', role: 'viewer', password: PASSWORD });
    const good = readFileSync(file, 'utf8');
    chmodSync(file, 0o640);
    expect(() => readUsers(file)).toThrow(/chmod 600/);
    chmodSync(file, 0o600);
    for (const bad of ['', '{}', good.replace('32768', '1073741824'), good.replace('"viewer"', '"root"'), good.replace(/"hash": ".*"/, '"hash": ""')]) {
      writeFileSync(file, bad);
      expect(() => readUsers(file), bad).toThrow(expect.objectContaining({ code: 'E_USERS' }) as Error);
    }
  });

  it('stays closed once there was a user: removed, or the file damaged', async () => {
    const users = new UserDirectory(file);
    expect(users.required).toBe(false);
    await addUser(file, { name: 'ada', role: 'viewer', password: PASSWORD });
    expect([users.required, users.find('ada')?.role]).toEqual([true, 'viewer']);
    writeFileSync(file, 'damaged');
    expect([users.required, users.find('ada')]).toEqual([true, undefined]);
    rmSync(file);
    expect(users.required).toBe(true);
  });
});

describe('sessions', () => {
  it.each<[string, () => Promise<void>]>([
    ['removed', () => removeUser(file, 'ada')],
    ['password', () => changeUser(file, 'ada', { password: `${PASSWORD} 2` })],
    ['role', () => changeUser(file, 'ada', { role: 'viewer' })],
  ])('end when the user changes: %s', async (_what, change) => {
    await addUser(file, { name: 'ada', role: 'operator', password: PASSWORD });
    const users = new UserDirectory(file);
    const sessions = new Sessions(users);
    const [user] = readUsers(file);
    if (user === undefined) throw new Error('no user');
    const id = sessions.begin(user, 0);
    const session = sessions.find(id, 1);
    expect(session).toMatchObject({ user: 'ada', role: 'operator' });
    await change();
    sessions.sweep(2);
    expect([session?.ended.aborted, sessions.find(id, 3)]).toEqual([true, null]);
  });

  it('end when idle, at last in any case, and when logged out; ids are 256 bits', async () => {
    await addUser(file, { name: 'ada', role: 'operator', password: PASSWORD });
    const sessions = new Sessions(new UserDirectory(file), { idleMs: 100, absoluteMs: 250 });
    const [user] = readUsers(file);
    if (user === undefined) throw new Error('no user');
    const idle = sessions.begin(user, 0);
    expect(Buffer.from(idle, 'base64url')).toHaveLength(32);
    expect(sessions.find(idle, 100)).toBeNull();
    const busy = sessions.begin(user, 0);
    expect([90, 180, 249].map((now) => sessions.find(busy, now) !== null)).toEqual([true, true, true]);
    expect(sessions.find(busy, 250)).toBeNull();
    const out = sessions.begin(user, 0);
    sessions.end(out);
    expect([sessions.find(out, 1), sessions.find('x', 1)]).toEqual([null, null]);
  });
});

describe('attempts', () => {
  it('wait longer and longer for a name, from any address, up to a minute', () => {
    const attempts = new Attempts();
    for (let i = 0; i < 5; i++) expect(attempts.begin('ada', `10.0.0.${i}`, 0)).toBe(0);
    expect(attempts.begin('ada', '10.0.1.1', 0)).toBe(1000);
    expect(attempts.begin('ada', '10.0.1.1', 1000)).toBe(0);
    expect(attempts.begin('ada', '10.0.1.1', 1000)).toBe(2000);
    let now = 1000;
    for (let i = 0; i < 20; i++) { now += 60_000; expect(attempts.begin('ada', `10.0.2.${i}`, now)).toBe(0); }
    expect(attempts.begin('ada', '10.0.3.1', now)).toBe(60_000);
    expect(attempts.begin('bob', '10.0.3.1', now)).toBe(0);
  });

  it('wait for an address that tries many names, also within one IPv6 network; a login of its own does not reset it', () => {
    const attempts = new Attempts();
    for (let i = 0; i < 10; i++) expect(attempts.begin(`user${i}`, `2001:db8:1:2::${i}`, 0)).toBe(0);
    expect(attempts.begin('ada', '2001:db8:1:2::ff', 0)).toBe(1000);
    expect(attempts.begin('ada', '2001:db8:1:3::ff', 0)).toBe(0);
    expect(attempts.begin('own', '2001:db8:1:2::1', 1000)).toBe(0);
    attempts.succeed('own', '2001:db8:1:2::1');
    expect(attempts.begin('ada', '2001:db8:1:2::ff', 1000)).toBe(1000);
  });
});

describe('the audit log', () => {
  const entry = { time_ms: Date.now(), user: 'ada', address: '::1', action: 'rollout.pause', target: 'faces\u001b[2J', result: 'ok' };

  it('is append-only by the table itself, keeps its file private, and forgets what is too old', () => {
    const path = join(folder, 'audit.db');
    const log = new AuditLog(path);
    log.add({ ...entry, time_ms: Date.now() - 399 * 86_400_000, action: 'old' });
    log.add({ ...entry, time_ms: Date.now(), user: null });
    expect(log.list({ limit: 9 })).toMatchObject([{ user: null, target: 'faces?[2J' }, { action: 'old' }]);
    expect([log.list({ limit: 9, user: 'ada' }).length, log.list({ limit: 9, sinceMs: Date.now() - 60_000 }).length]).toEqual([1, 1]);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const db = new Sqlite(path);
    expect(() => db.exec(`UPDATE audit SET user = 'bob'`)).toThrow(/append-only/);
    expect(() => db.exec('DELETE FROM audit')).toThrow(/append-only/);
    db.close();
    log.add({ ...entry, time_ms: Date.now() + 2 * 86_400_000 });
    expect(log.list({ limit: 9 }).map(({ action }) => action)).not.toContain('old');
    log.close();
  });

  it('says that there is none', () => {
    expect(() => openAudit(join(folder, 'none.db'))).toThrow(expect.objectContaining({ code: 'E_AUDIT' }) as Error);
  });
});
