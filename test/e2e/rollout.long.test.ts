/** `sterna rollout` as a user runs it: a signed repository, a server, and real daemons that test what they are told to run. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { runCli } from '../../deploy/cli/program.js';
import { PointerFile } from '../../agent/ota/pointer-file.js';
import { buildPipelinePackage } from '../../deploy/package/build.js';
import { rolloutFile } from '../../deploy/rollout/server.js';
import { RolloutStore } from '../../deploy/rollout/store.js';
import { aedesBroker } from '../agent/support/brokers.js';
import { temporaryFolder, until } from '../agent/support/tools.js';
import { meanModel, tinyModels } from '../deploy/package/tiny-models.js';

const agentEntry = resolve(import.meta.dirname, '../../dist/agent/main.js');
const cliEntry = resolve(import.meta.dirname, '../../dist/deploy/cli/main.js');
const PATIENCE_MS = 120_000;
/** Between what the models of the two releases need: a few megabytes, and thirty for the input of the second one. */
const SMALL_DEVICE_BYTES = 16 * 2 ** 20;

async function sterna(...args: string[]): Promise<{ code: number; json: Record<string, unknown> }> {
  let out = '';
  const code = await runCli([...args, '--json'], { out: (text) => { out += text; }, err: () => undefined });
  return { code, json: JSON.parse(out) as Record<string, unknown> };
}

/** A process that ends with the test. What it says goes to the message of a failed wait. */
function start(words: readonly string[]): { said: () => string } {
  const child: ChildProcess = spawn(process.execPath, [...words], { stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (piece: Buffer) => { said = (said + piece.toString()).slice(-4000); });
  const ended = new Promise<void>((done) => child.once('close', () => done()));
  onTestFinished(async () => { child.kill('SIGKILL'); await ended; });
  return { said: () => said };
}

interface Release { path: string; digest: string }

/** Two releases of one package; the second one has a detector with a larger input, and other results. */
async function releases(folder: string): Promise<{ one: Release; two: Release }> {
  const models = tinyModels();
  const large = meanModel([1, 3, 960, 1280], [
    { name: 'scores', weights: [[0, 0, 0], [0, 0, 0]], bias: [0.2, 0.8], dims: [1, 1, 2] },
    { name: 'boxes', weights: [[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]], bias: [0.3, 0.3, 0.7, 0.7], dims: [1, 1, 4] },
  ]);
  const write = async (version: string, releaseCounter: number, detector: Uint8Array): Promise<Release> => {
    const { bytes } = await buildPipelinePackage('face-recognition', { ...models, detector }, { name: 'faces', version, releaseCounter, budget: { p99_ms: 60_000 } });
    const path = join(folder, `faces-${version}.sterna`);
    writeFileSync(path, bytes);
    return { path, digest: createHash('sha256').update(bytes).digest('hex') };
  };
  return { one: await write('1.0.0', 1, models.detector), two: await write('2.0.0', 2, large) };
}

interface Device { name: string; ring: string; gate?: { ram_bytes: number } }

/** Daemons that run the first release, a repository that has signed both, and a server that carries roll-outs out. */
async function fleetOf(devices: readonly Device[]): Promise<{ url: string; store: string; one: Release; two: Release; state: (name: string) => string; server: { said: () => string } }> {
  const { url } = await aedesBroker();
  const folder = temporaryFolder();
  const { one, two } = await releases(folder);
  const [repository, store] = [join(folder, 'repository'), join(folder, 'store')];
  expect((await sterna('repository', 'init', repository, '--no-passphrase')).code).toBe(0);
  expect((await sterna('repository', 'add', one.path, two.path, '--repository', repository)).json).toMatchObject({ pending: [] });
  const state = (name: string): string => join(folder, name);
  const daemons = devices.map(({ name, ring, gate }) => {
    mkdirSync(state(name));
    const config = join(folder, `${name}.yaml`);
    writeFileSync(config, JSON.stringify({ // JSON is YAML.
      device_id: name, fleet: 'demo', labels: { ring }, state_dir: state(name), log_level: 'warn', broker: { url }, api: { enabled: false }, pipeline: { package: one.path },
      ota: { probation_ms: 100, warm_timeout_ms: PATIENCE_MS, ...(gate === undefined ? {} : { gate }) },
      trust: { image_root: join(repository, 'image', '1.root.json'), director_root: join(repository, 'director', '1.root.json') },
    }));
    return { name, ...start([agentEntry, '--config', config]) };
  });
  const server = start([cliEntry, 'fleet', 'serve', '--broker', url, '--fleet', 'demo', '--store', store, '--repository', repository]);
  await until('the server runs', () => server.said().includes('and its roll-outs'), PATIENCE_MS);
  await until('all devices run the first release', async () => (await Promise.all(devices.map(({ name }) => runs(state(name))))).every((digest) => digest === one.digest), PATIENCE_MS)
    .catch((error: unknown) => { throw new Error(`${String(error)}\n${daemons.map(({ name, said }) => `${name}: ${said()}`).join('\n')}`); });
  return { url, store, one, two, state, server };
}

/** The digests of the packages in the store of a device, each of which must be that of its bytes. */
function packagesOf(state: string): string[] {
  const folder = join(state, 'packages');
  return readdirSync(folder).filter((name) => name.endsWith('.sterna')).map((name) => {
    const digest = createHash('sha256').update(readFileSync(join(folder, name))).digest('hex');
    expect(name).toBe(`${digest}.sterna`);
    return digest;
  });
}

/** What a device would run after a power cut, by the record that it keeps beside its journal. */
async function runs(state: string): Promise<string | null> {
  const pointer = await new PointerFile(join(state, 'slots.json')).read();
  return pointer.kind === 'sound' ? pointer.value.active?.digest ?? null : null;
}

describe.skipIf(!existsSync(agentEntry) || !existsSync(cliEntry))('a roll-out to real daemons (needs dist)', () => {
  it('halts on the one whose gate refuses the package, says why, leaves every device on a verified model, and is taken back', async () => {
    const devices: Device[] = [{ name: 'door-1', ring: 'canary' }, { name: 'door-2', ring: 'canary', gate: { ram_bytes: SMALL_DEVICE_BYTES } }, { name: 'door-3', ring: 'rest' }];
    const { url, store, one, two, state, server } = await fleetOf(devices);
    const created = await sterna('rollout', 'create', two.path, '--broker', url, '--fleet', 'demo', '--store', store, '--id', 'r1', '--wave', 'ring=canary', '--wave', '100%', '--spread', '0', '--soak', '0', '--min-samples', '2');
    expect(created).toMatchObject({ code: 0, json: { waves: [{ devices: [{}, {}] }, { devices: [{ device: 'door-3' }] }] } });
    const rollouts = new RolloutStore(rolloutFile(store));
    onTestFinished(() => rollouts.close());
    const phaseOf = (name: string): string => rollouts.device('r1', name)?.phase ?? 'unknown';
    await until('both of the first wave have a result', () => phaseOf('door-1') === 'succeeded' && phaseOf('door-2') === 'failed', PATIENCE_MS);
    const halted = await sterna('rollout', 'status', 'r1', '--store', store, '--devices', '--check');
    expect(halted).toMatchObject({
      code: 1, json: { phase: 'halted', halt: { rule: 'errors', wave: 0, codes: { E_OTA_LIMIT_MEMORY: 1 }, devices: [{ device: 'door-2', code: 'E_OTA_LIMIT_MEMORY' }] } },
    });
    expect((halted.json['halt'] as { text: string }).text).toContain('E_OTA_LIMIT_MEMORY on 1 device: door-2');
    expect(server.said()).toContain('E_OTA_LIMIT_MEMORY on 1 device: door-2');
    // The one that took it keeps the release before as its way back; the one that refused it has nothing of it; the third one was never told.
    expect(phaseOf('door-3')).toBe('waiting');
    expect(await Promise.all(devices.map(({ name }) => runs(state(name))))).toEqual([two.digest, one.digest, one.digest]);
    expect(devices.map(({ name }) => packagesOf(state(name)).sort())).toEqual([[one.digest, two.digest].sort(), [one.digest], [one.digest]]);

    expect(await sterna('rollout', 'abort', 'r1', '--store', store)).toMatchObject({ code: 0 });
    await until('it has been taken back', () => rollouts.require('r1').state.phase === 'aborted', PATIENCE_MS);
    expect(devices.map(({ name }) => phaseOf(name))).toEqual(['returned', 'returned', 'waiting']);
    await until('the first release is in every slot', async () => (await Promise.all(devices.map(({ name }) => runs(state(name))))).every((digest) => digest === one.digest), PATIENCE_MS);
  }, 300_000);
});
