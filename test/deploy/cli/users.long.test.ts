/** The compiled commands `sterna users` and `sterna audit`: what an operator types, prints and reads. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { AuditLog } from '../../../deploy/users/audit.js';
import { passwordFits, readUsers } from '../../../deploy/users/users.js';

const main = fileURLToPath(new URL('../../../dist/deploy/cli/main.js', import.meta.url));
/** Each step starts Node anew, and hashes of passwords take a core. */
const TIMEOUT_MS = 240_000;

interface Ended { code: number | null; out: string; err: string }

/** Runs the compiled command with this on its standard input. */
function sterna(argv: readonly string[], input = ''): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [main, ...argv], { stdio: ['pipe', 'pipe', 'pipe'] });
    const ended: Ended = { code: null, out: '', err: '' };
    child.stdout.on('data', (chunk: Buffer) => (ended.out += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (ended.err += chunk.toString()));
    child.stdin.on('error', () => undefined); // a command that refuses its arguments reads nothing
    child.stdin.end(input);
    child.on('error', reject);
    child.on('close', (code) => resolve({ ...ended, code }));
  });
}

describe.skipIf(!existsSync(main))('the compiled commands for people (need dist)', () => {
  let folder: string;
  beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'sterna-users-')); });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('keep users: add, list, change the password and the role, remove', async () => {
    const file = join(folder, 'users.json');
    const users = (argv: readonly string[], input?: string): Promise<Ended> => sterna(['users', ...argv, '--users', file], input);
    expect((await users(['list'])).out).toContain('There are no users');
    expect(await users(['add', 'ada', '--role', 'operator'], 'correct horse battery\nnot this line\n')).toMatchObject({ code: 0, out: expect.stringContaining('ada is an operator now') as string });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, 'utf8')).not.toContain('correct horse');
    expect(await passwordFits(readUsers(file)[0], 'correct horse battery')).toBe(true);
    expect((await users(['passwd', 'ada'], 'another long password\n')).code).toBe(0);
    expect(await passwordFits(readUsers(file)[0], 'another long password')).toBe(true);
    expect((await users(['role', 'ada', '--role', 'viewer'])).out).toContain('ada is a viewer now');
    expect(JSON.parse((await users(['list', '--json'])).out)).toEqual({ file, users: [{ name: 'ada', role: 'viewer' }] });
    expect((await users(['list'])).out).toMatch(/ada\s+viewer/);
    expect((await users(['remove', 'ada'])).code).toBe(0);
    expect(readUsers(file)).toEqual([]);
  }, TIMEOUT_MS);

  it('refuse what they cannot keep, with a code and without a change', async () => {
    const file = join(folder, 'users.json');
    const refused = async (argv: readonly string[], input?: string): Promise<unknown> => {
      const { code, out } = await sterna(['users', ...argv, '--users', file, '--json'], input);
      expect(code).not.toBe(0);
      return (JSON.parse(out) as { error: { code: string } }).error.code;
    };
    expect(await refused(['add', 'ada', '--role', 'operator'], 'short\n')).toBe('E_USERS');
    expect(await refused(['add', 'Not A Name', '--role', 'viewer'], 'correct horse battery\n')).toBe('E_USERS');
    expect(await refused(['remove', 'nobody'])).toBe('E_USERS');
    expect((await sterna(['users', 'add', 'ada', '--users', file], 'correct horse battery\n')).code).toBe(2); // no role
    expect(existsSync(file) ? readUsers(file) : []).toEqual([]);
  }, TIMEOUT_MS);

  it('print the audit log, newest first, bounded and of one user', async () => {
    const file = join(folder, 'audit.db');
    expect(JSON.parse((await sterna(['audit', '--audit', file, '--json'])).out)).toMatchObject({ error: { code: 'E_AUDIT' } }); // a page begins it
    const log = new AuditLog(file);
    expect((await sterna(['audit', '--audit', file])).out).toBe('Nothing has been noted.\n');
    const day = 86_400_000;
    for (const [ageDays, user, action, result] of [[9, 'ada', 'login', 'ok'], [2, 'eve', 'login', 'E_LOGIN'], [1, 'ada', 'rollout.pause', 'ok']] as const) {
      log.add({ time_ms: Date.now() - ageDays * day, user, address: '192.0.2.7', action, target: action === 'login' ? '' : 'r-1', result });
    }
    log.close();
    const text = (await sterna(['audit', '--audit', file])).out;
    expect(text.match(/rollout\.pause|E_LOGIN|login {2,}.*ok/g)?.length).toBeGreaterThanOrEqual(3);
    expect(text.indexOf('rollout.pause')).toBeLessThan(text.indexOf('E_LOGIN'));
    const listed = async (...argv: string[]): Promise<string[]> => (JSON.parse((await sterna(['audit', '--audit', file, '--json', ...argv])).out) as { entries: { user: string; action: string }[] }).entries.map(({ user, action }) => `${user} ${action}`);
    expect(await listed('--limit', '1')).toEqual(['ada rollout.pause']);
    expect(await listed('--user', 'ada')).toEqual(['ada rollout.pause', 'ada login']);
    expect(await listed('--days', '5')).toEqual(['ada rollout.pause', 'eve login']);
    expect((await sterna(['audit', '--audit', file, '--limit', 'x'])).code).toBe(2);
  }, TIMEOUT_MS);
});
