import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { bundleDaemon, daemonScript } from './support/bundle.js';
import { packageBytes, type FakePackage } from './support/fake-runtime.js';
import { temporaryFolder, until } from './support/tools.js';

const one: FakePackage = { name: 'faces', version: '1.0.0', padding: 5000 };

/** Only root may mount; in a mount namespace of its own nobody else sees it, and it is gone with its last process. */
const canMount = spawnSync('unshare', ['--mount', 'sh', '-c', 'mount -t tmpfs tmpfs /mnt']).status === 0;

beforeAll(bundleDaemon, 60_000);

interface Daemon {
  child: ChildProcess;
  get(path: string): Promise<Response>;
  /** On stderr. */
  said(): string;
  end(): { code: number | null; signal: string | null } | null;
}

/** @param prefix a program that starts what follows it */
async function startDaemon(state: string, args: readonly string[] = [], prefix: readonly string[] = []): Promise<Daemon> {
  const [command = '', ...rest] = [...prefix, process.execPath, daemonScript, state, ...args];
  const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  let end: ReturnType<Daemon['end']> = null;
  child.stdout.on('data', (piece: Buffer) => { out += piece.toString(); });
  child.stderr.on('data', (piece: Buffer) => { err += piece.toString(); });
  child.once('close', (code, signal) => { end = { code, signal }; });
  onTestFinished(() => void child.kill('SIGKILL'));
  await until('it says where its API is', () => {
    if (end !== null) throw new Error(`the daemon ended: ${JSON.stringify(end)} ${err}`);
    return out.includes('\n');
  }, 50_000);
  const { api } = JSON.parse(out) as { api: string };
  const token = (): string => readFileSync(join(state, 'api.token'), 'utf8').trim();
  return { child, get: (path) => fetch(`${api}${path}`, { headers: { authorization: `Bearer ${token()}` } }), end: () => end, said: () => err };
}

async function stopDaemon({ child, end, said }: Daemon): Promise<void> {
  child.kill('SIGTERM');
  await until('it has ended', () => end() !== null, 30_000);
  expect(end(), said()).toEqual({ code: 0, signal: null });
}

interface Status {
  pipelines: { model: { version: string } | null; camera: { frames: number } }[];
  faults: { component: string; error: { code: string; message: string } }[];
}

const statusOf = async ({ get }: Daemon): Promise<Status> => (await get('/api/status')).json() as Promise<Status>;

/** A state folder in which version 1 was installed. */
async function installed(): Promise<string> {
  const state = join(temporaryFolder(), 'state');
  mkdirSync(state);
  writeFileSync(join(state, '..', 'one.sterna'), packageBytes(one));
  const daemon = await startDaemon(state, [join(state, '..', 'one.sterna')]);
  await until('version 1 runs', async () => (await statusOf(daemon)).pipelines[0]?.model?.version === '1.0.0');
  await stopDaemon(daemon);
  return state;
}

describe('a state folder that cannot be written', () => {
  const mounts = [
    ['read-only', 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && exec "$@"'],
    // The copy fits, and then every page that is left is taken.
    ['full', 'mkdir "$0.copy" && cp -a "$0/." "$0.copy" && mount -t tmpfs -o size=4m tmpfs "$0" && cp -a "$0.copy/." "$0" && { dd if=/dev/zero of="$0/filler" bs=4k 2>/dev/null; exec "$@"; }'],
  ] as const;

  it.skipIf(!canMount).each(mounts)(canMount ? 'because it is %s: the daemon runs the last model, says so, and takes its token' : 'because it is %s (skipped: only root may mount)', async (_, mount) => {
    const state = await installed();
    const daemon = await startDaemon(state, [], ['unshare', '--mount', 'sh', '-c', mount, state]);
    const status = await statusOf(daemon);
    expect(status.pipelines[0]?.model).toMatchObject({ version: '1.0.0' });
    expect(status.faults.map(({ component, error }) => `${component} ${error.code}`)).toContain('ota E_STATE_VOLATILE');
    expect(status.faults.filter(({ error }) => error.code === 'E_STATE_VOLATILE').map(({ error }) => error.message.replace(/^.*\/(\w+\.db) .*$/, '$1'))).toContain('state.db');
    await until('frames go through', async () => ((await statusOf(daemon)).pipelines[0]?.camera.frames ?? 0) > 5);
    expect((await daemon.get('/health')).status).toBe(200);
    expect((await daemon.get('/api/gallery')).status).toBe(200);
    await stopDaemon(daemon);
  });

  it('that others could read is theirs no more after a start', async () => {
    const state = await installed();
    chmodSync(state, 0o755);
    chmodSync(join(state, 'state.db'), 0o644);
    chmodSync(join(state, 'api.token'), 0o644);
    await stopDaemon(await startDaemon(state));
    expect([state, join(state, 'state.db'), join(state, 'api.token')].map((path) => statSync(path).mode & 0o077)).toEqual([0, 0, 0]);
  });
});

describe('the process that tests a candidate', () => {
  /** A daemon in the middle of a test that never comes back. */
  async function testing(): Promise<{ daemon: Daemon; pid: number }> {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'spins.sterna'), packageBytes({ ...one, spins: true }));
    const pidFile = join(folder, 'pid');
    const daemon = await startDaemon(join(folder, 'state'), [join(folder, 'spins.sterna'), pidFile]);
    await until('the test runs', () => existsSync(pidFile) && readFileSync(pidFile, 'utf8') !== '', 30_000);
    return { daemon, pid: Number(readFileSync(pidFile, 'utf8')) };
  }

  it('does not keep the daemon from obeying SIGTERM when it hangs, and is gone with it', async () => {
    const { daemon, pid } = await testing();
    await stopDaemon(daemon);
    expect(() => process.kill(pid, 0)).toThrow(/ESRCH/);
  });

  it.skipIf(process.platform !== 'linux')('dies with a daemon that is killed, though it hears nothing of it', async () => {
    const { daemon, pid } = await testing();
    daemon.child.kill('SIGKILL');
    await until('it is gone', () => {
      try {
        process.kill(pid, 0);
        return false;
      } catch {
        return true;
      }
    });
  });
});
