/** `sterna rollout` and the server that carries it out, as processes; the server is killed again and again. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { buildPipelinePackage } from '../../../deploy/package/build.js';
import { rolloutFile } from '../../../deploy/rollout/server.js';
import { countOfPhases, devicePhases, type DevicePhase } from '../../../deploy/rollout/state.js';
import { RolloutStore } from '../../../deploy/rollout/store.js';
import { aedesBroker } from '../../agent/support/brokers.js';
import { temporaryFolder, until } from '../../agent/support/tools.js';
import { captureCli } from '../cli/capture.js';
import { tinyModels } from '../package/tiny-models.js';
import { SimulatedFleet } from './simulated-fleet.js';

const main = fileURLToPath(new URL('../../../dist/deploy/cli/main.js', import.meta.url));
const KILLS = 3;

interface Json { code: number; json: Record<string, unknown> & { error?: { code: string; message: string } } }
async function rollout(...words: string[]): Promise<Json> {
  const { code, out } = await captureCli(['rollout', ...words, '--json']);
  return { code, json: JSON.parse(out) as Json['json'] };
}

async function server(url: string, store: string): Promise<{ kill: () => Promise<void>; err: () => string }> {
  const child: ChildProcess = spawn(process.execPath, [main, 'fleet', 'serve', '--broker', url, '--fleet', 'demo', '--store', store, '--unsigned'], { stdio: ['ignore', 'ignore', 'pipe'] });
  let err = '';
  child.stderr?.on('data', (chunk: Buffer) => { err += chunk.toString(); });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const kill = async (): Promise<void> => { child.kill('SIGKILL'); await ended; };
  onTestFinished(kill);
  await until('the server runs', () => err.includes('Serving fleet demo and its roll-outs'), 60_000);
  return { kill, err: () => err };
}

interface Bench { url: string; folder: string; path: string; digest: string; fleet: SimulatedFleet }
async function bench(n: number): Promise<Bench> {
  const { url } = await aedesBroker();
  const folder = temporaryFolder();
  const path = join(folder, 'faces.sterna');
  const { bytes } = await buildPipelinePackage('face-recognition', tinyModels(), { name: 'faces', version: '2.0.0' });
  writeFileSync(path, bytes);
  const fleet = await new SimulatedFleet(Array.from({ length: n }, (_, i) => `door-${i}`)).start({ url }, (name) => ({ ring: name === 'door-3' ? 'canary' : 'rest' }));
  return { url, folder, path, digest: createHash('sha256').update(bytes).digest('hex'), fleet };
}

describe('sterna rollout', () => {
  it('says in a dry run which device would start when, and changes nothing', async () => {
    const { url, folder, path, fleet } = await bench(8);
    const words = ['create', path, '--broker', url, '--fleet', 'demo', '--wave', 'ring=canary', '--wave', '50%', '--wave', '100%', '--spread', '10', '--id', 'r1', '--store', folder];
    const { code, json } = await rollout(...words, '--dry-run');
    expect({ code, json }).toMatchObject({ code: 0, json: { id: 'r1', dry_run: true, devices: 8, waves: [{ name: 'ring=canary', earliest_s: 0, devices: [{ device: 'door-3', pipeline: 'main' }] }, { earliest_s: 300 }, { earliest_s: 600 }] } });
    const text = (await captureCli(['rollout', ...words, '--dry-run'])).out;
    expect(text).toMatch(/faces 2\.0\.0 .* to 8 devices of fleet demo[\s\S]*Wave 1 \(ring=canary\): 1 device, at once[\s\S]*Wave 2 \(50 %\).*at the earliest 5 min after wave 1 has passed[\s\S]*1 {2}door-3 +main +\+\d/);
    expect(existsSync(rolloutFile(folder))).toBe(false);
    expect([...fleet.devices.values()].every(({ report }) => report.generation_seen === null)).toBe(true);
  });

  it('says what is missing: a server, devices, waves, a roll-out', async () => {
    const { url, folder, path } = await bench(2);
    const create = (...more: string[]): Promise<Json> => rollout('create', path, '--broker', url, '--fleet', 'demo', '--store', folder, ...more);
    expect(await create()).toMatchObject({ code: 1, json: { error: { code: 'E_HANDOVER', message: expect.stringContaining('--repository FOLDER') as string } } });
    expect(await create('--label', 'ring=none')).toMatchObject({ code: 1, json: { error: { code: 'E_DEVICE_UNKNOWN' } } });
    expect(await create('--wave', 'ring')).toMatchObject({ code: 2, json: { error: { code: 'E_USAGE' } } });
    expect(await create('--on-halt', 'panic')).toMatchObject({ code: 2, json: { error: { code: 'E_USAGE', message: expect.stringContaining('on_halt') as string } } });
    expect(await rollout('status', '--store', folder)).toMatchObject({ code: 1, json: { error: { code: 'E_ROLLOUT' } } });
    expect(await rollout('pause', '--store', folder)).toMatchObject({ code: 1, json: { error: { code: 'E_ROLLOUT', message: 'There is no unfinished roll-out to pause' } } });
    expect(await rollout('list', '--store', folder)).toEqual({ code: 0, json: { rollouts: [] } });
  });
});

describe.skipIf(!existsSync(main))('a server of roll-outs that is killed (needs dist)', () => {
  it('goes on where it was after every SIGKILL, and brings the package to all devices', async () => {
    const { url, folder, path, digest, fleet } = await bench(24);
    let running = await server(url, folder);
    const { code } = await rollout('create', path, '--broker', url, '--fleet', 'demo', '--store', folder, '--id', 'r1', '--wave', '50%', '--wave', '100%', '--spread', '3', '--soak', '0', '--min-success', '100');
    expect(code).toBe(0);
    const store = new RolloutStore(rolloutFile(folder));
    onTestFinished(() => store.close());
    const done = (): number => store.require('r1').state.waves.reduce((sum, { counts }) => sum + counts.succeeded, 0);
    let before = 0;
    for (let i = 0; i < KILLS; i++) {
      await new Promise((resolve) => { setTimeout(resolve, 100 + ((i * 397) % 900)); });
      await running.kill();
      const { waves } = store.require('r1').state;
      waves.forEach((wave, index) => {
        const rows = store.devices('r1').filter((row) => row.wave === index);
        for (const phase of devicePhases) expect(countOfPhases(wave, [phase])).toBe(rows.filter((row) => row.phase === phase).length);
      });
      expect(done()).toBeGreaterThanOrEqual(before);
      before = done();
      running = await server(url, folder);
      await fleet.nudge();
    }
    await until('it is complete', async () => { await fleet.nudge(); return store.require('r1').state.phase === 'complete'; }, 60_000);
    expect(fleet.running(digest)).toHaveLength(24);
    expect(store.devices('r1').map(({ phase }): DevicePhase => phase).every((phase) => phase === 'succeeded')).toBe(true);
    // Wherever a kill fell, a device heard of one generation.
    for (const { told, report } of fleet.devices.values()) expect({ told: told.length, settings: report.settings }).toEqual({ told: 1, settings: { fps: 5 } });
    expect(await rollout('status', 'r1', '--store', folder, '--check', '--devices')).toMatchObject({ code: 0, json: { phase: 'complete', finished: true, waves: [{ groups: { succeeded: 12 } }, { groups: { succeeded: 12 } }] } });
    expect(await rollout('abort', 'r1', '--store', folder)).toMatchObject({ code: 1, json: { error: { code: 'E_ROLLOUT' } } });
  }, 180_000);

  it('is paused, resumed and aborted from the command line, and says what it does', async () => {
    const { url, folder, path, digest, fleet } = await bench(6);
    const { err } = await server(url, folder);
    await rollout('create', path, '--broker', url, '--fleet', 'demo', '--store', folder, '--id', 'r1', '--wave', '50%', '--wave', '100%', '--spread', '0', '--soak', '3600', '--min-samples', '1');
    await until('the first wave runs it', () => fleet.running(digest).length === 3, 30_000);
    expect(await rollout('pause', '--store', folder)).toMatchObject({ code: 0, json: { id: 'r1', done: true, phase: 'paused' } });
    expect(await rollout('resume', 'r1', '--store', folder)).toMatchObject({ code: 0, json: { done: true, phase: 'running' } });
    expect(await rollout('abort', '--store', folder)).toMatchObject({ code: 0, json: { done: true } });
    await until('they are back', () => fleet.running(digest).length === 0, 30_000);
    await until('it has ended', () => err().includes('Every device runs what it ran before'), 30_000);
    const text = (await captureCli(['rollout', 'status', '--store', folder])).out;
    expect(text).toMatch(/^r1: faces 2\.0\.0 to 6 devices of fleet demo: aborted\n1 {2}50 % +<{40} +passed: 3 returned\n2 {2}100 % +\.{40} +not opened: 3 waiting\n/);
    expect((await captureCli(['rollout', 'list', '--store', folder])).out).toMatch(/r1 +demo +faces 2\.0\.0 +aborted +1 of 2 +6 +0 +0/);
    expect((await rollout('status', '--store', folder, '--check')).code).toBe(1);
  }, 120_000);
});
