/** Roll-outs over a real broker, with devices that fetch, test and report. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { desiredPackage, type HeldPackage } from '../../../deploy/publish/packages.js';
import { Publisher } from '../../../deploy/publish/publisher.js';
import { Director } from '../../../deploy/repository/director.js';
import { planRollout } from '../../../deploy/rollout/plan.js';
import { openRollouts } from '../../../deploy/rollout/server.js';
import { defaultSpec, parseWave, type RolloutSpec } from '../../../deploy/rollout/spec.js';
import type { RolloutStore } from '../../../deploy/rollout/store.js';
import { rolloutView, strip } from '../../../deploy/rollout/view.js';
import { aedesBroker } from '../../agent/support/brokers.js';
import { temporaryFolder, until } from '../../agent/support/tools.js';
import { item, SignedFleet } from '../../agent/trust/fleet.js';
import { SimulatedFleet } from './simulated-fleet.js';

const names = (n: number): string[] => Array.from({ length: n }, (_, i) => `door-${i}`);
const bytes = Uint8Array.from({ length: 3000 }, (_, i) => (i * 31) & 0xff);
const held: HeldPackage = { name: 'faces', version: '2.0.0', releaseCounter: 2, digest: createHash('sha256').update(bytes).digest('hex'), bytes };

interface Bench { fleet: SimulatedFleet; publisher: Publisher; store: RolloutStore; lines: string[]; folder: string; begin: (over?: Partial<RolloutSpec>) => void }

async function bench(n: number, prepare: (fleet: SimulatedFleet) => void = () => undefined, director: Director | null = null): Promise<Bench> {
  const { url } = await aedesBroker();
  const fleet = new SimulatedFleet(names(n));
  prepare(fleet);
  await fleet.start({ url });
  const lines: string[] = [];
  const folder = temporaryFolder();
  const publisher = new Publisher({ url, fleet: 'demo', blocksPerSecond: 5000, ...(director === null ? {} : { signer: director }) });
  publisher.hold(held);
  const server = openRollouts({ folder, fleet: 'demo', publisher, director, link: { url }, line: (line) => lines.push(line), tickMs: 20 });
  await publisher.start();
  server.runner.start();
  onTestFinished(async () => { await server.stop(); await publisher.stop(); });
  const begin = (over: Partial<RolloutSpec> = {}): void => {
    const spec: RolloutSpec = { ...defaultSpec, seed: 'seed', spread_ms: 100, soak_ms: 0, ...over };
    const plan = planRollout(spec, [...fleet.devices.keys()].map((device) => ({ device, pipeline: 'main', labels: {}, active: null })), held.digest);
    server.store.create({ id: 'r1', fleet: 'demo', package: desiredPackage(held), spec, created_ms: Date.now(), created_by: 'ada' }, plan.devices);
  };
  return { fleet, publisher, store: server.store, lines, folder, begin };
}

const phaseOf = (store: RolloutStore): string => store.require('r1').state.phase;

describe('a roll-out to simulated devices', () => {
  it('brings the package to all of them, in waves, and keeps their settings', async () => {
    const { fleet, store, begin } = await bench(40);
    begin();
    await until('it is complete', () => phaseOf(store) === 'complete', 50_000);
    expect(fleet.running(held.digest)).toHaveLength(40);
    expect([...fleet.devices.values()].every(({ told, report }) => told.length === 1 && report.settings.fps === 5)).toBe(true);
    const asked = store.devices('r1').map(({ wave, asked_ms }) => ({ wave, asked_ms: asked_ms ?? 0 }));
    const latest = (wave: number): number => Math.max(...asked.filter((row) => row.wave === wave).map((row) => row.asked_ms));
    for (const { wave, asked_ms } of asked) if (wave > 0) expect(asked_ms).toBeGreaterThanOrEqual(latest(wave - 1));
  });

  it('of 100, of which 10 have a model that fails its gate, halts in the first wave that shows it, and says why', async () => {
    const bad = names(100).filter((_, i) => i % 10 === 3);
    const { fleet, store, lines, begin } = await bench(100, (all) => { for (const name of bad) all.get(name).verdict = 'gate'; });
    begin();
    await until('it halts', () => phaseOf(store) === 'halted', 30_000);
    const { state } = store.require('r1');
    const rows = store.devices('r1');
    const first = Math.min(...rows.filter(({ device }) => bad.includes(device)).map(({ wave }) => wave));
    expect(state.wave).toBe(first);
    expect(state.halt).toMatchObject({ rule: 'errors', wave: first, codes: { E_OTA_GATE_LATENCY: state.halt?.failed } });
    expect(state.halt?.text).toMatch(/^\d+ of \d+ results of wave \d .* are failures \([\d.]+ %\), and at most 5 % may be\. E_OTA_GATE_LATENCY on \d+ devices?: door-/);
    for (const { device, code, message } of state.halt?.devices ?? []) expect({ bad: bad.includes(device), code, message }).toEqual({ bad: true, code: 'E_OTA_GATE_LATENCY', message: 'p99 is 240 ms, and 120 ms are allowed' });
    const later = rows.filter(({ wave }) => wave > first).map(({ device }) => device);
    await new Promise((resolve) => { setTimeout(resolve, 200); });
    expect(later.filter((device) => fleet.get(device).told.length > 0)).toEqual([]);
    expect(later.length).toBeGreaterThan(0);
    expect(lines.at(-1)).toContain('are failures');
    const view = rolloutView(store, store.require('r1'));
    expect(strip(view.waves[first] ?? { size: 0, groups: { succeeded: 0, running: 0, failed: 0, away: 0, returned: 0, waiting: 0 } })).toMatch(/^#*>*x+\.*$/);
  }, 60_000);

  it('waits while paused, goes on when resumed, and takes everything back when aborted', async () => {
    const { fleet, store, begin } = await bench(20, (all) => { all.get('door-7').online = false; });
    begin({ waves: ['50%', '100%'].map(parseWave), min_success_percent: 50, min_samples: 1 });
    await until('some run it', () => fleet.running(held.digest).length > 2);
    store.request('r1', { kind: 'pause', by: 'ada' }, Date.now());
    await until('it is paused', () => phaseOf(store) === 'paused');
    // Devices that were about to be told when the pause came are told.
    await until('nobody is about to be told', () => store.devices('r1').every(({ phase }) => phase !== 'asking'));
    const told = (): number => [...fleet.devices.values()].reduce((sum, device) => sum + device.told.length, 0);
    const before = told();
    await new Promise((resolve) => { setTimeout(resolve, 250); });
    expect(told()).toBe(before);
    store.request('r1', { kind: 'resume', by: 'ada' }, Date.now());
    await until('all that are there run it', () => fleet.running(held.digest).length === 19);
    store.request('r1', { kind: 'abort', by: 'ben' }, Date.now());
    await until('they are back', () => fleet.running(held.digest).length === 0);
    await until('only the one that is away is missing', () => store.devices('r1').filter(({ phase }) => phase !== 'returned').length <= 1);
    expect(phaseOf(store)).toBe('aborting');
    expect(store.device('r1', 'door-7')?.phase).toBe('returning');
    const away = fleet.get('door-7');
    away.report = { ...away.report, generation_seen: Date.now() };
    await fleet.setOnline('door-7', true);
    await fleet.nudge();
    expect([...fleet.devices.values()].every(({ name, rollbacks }) => rollbacks === (name === 'door-7' ? 0 : 1))).toBe(true);
    expect(store.notes('r1').map(({ kind, by }) => [kind, by]).filter(([, by]) => by !== null)).toEqual([['paused', 'ada'], ['resumed', 'ada'], ['aborting', 'ben']]);
  });

  it('counts a device that returns in its probation, and one that somebody else told otherwise', async () => {
    const { fleet, store, publisher, begin } = await bench(10, (all) => { all.probationMs = 60_000; all.get('door-1').verdict = 'probation'; });
    begin({ waves: [parseWave('100%')], max_error_percent: 50, min_success_percent: 10 });
    await until('one has returned', () => store.device('r1', 'door-1')?.phase === 'failed');
    expect(store.device('r1', 'door-1')).toMatchObject({ error: { code: 'E_OTA_CRASHES' }, before: { version: '1.0.0' } });
    await until('the others are in probation', () => store.devices('r1').filter(({ phase }) => phase === 'proving').length === 9);
    await publisher.state('door-2', { name: 'other', version: '9.0.0', digest: 'cd'.repeat(32), size_bytes: 10, block_bytes: 65_536 });
    fleet.get('door-2').report = { ...fleet.get('door-2').report, slots: { active: null, previous: null } };
    await until('it is superseded', () => store.device('r1', 'door-2')?.phase === 'superseded');
    expect(phaseOf(store)).toBe('running');
  });

  it('signs what it tells with the key of the director, and halts when it cannot', async () => {
    const signed = new SignedFleet();
    const pack = item('faces', '2.0.0', 2);
    signed.add(pack);
    const { fleet, store, begin } = await bench(4, () => undefined, new Director(signed.repository, () => signed.nowMs));
    begin({ waves: [parseWave('100%')] });
    // The package of this bench is not in the repository.
    await until('it halts', () => phaseOf(store) === 'halted');
    expect(store.require('r1').state.halt).toMatchObject({ rule: 'unpublishable', text: expect.stringContaining('E_REPOSITORY_TARGET') as string });
    expect([...fleet.devices.values()].every(({ told }) => told.length === 0)).toBe(true);
  });
});

describe('the store of roll-outs', () => {
  it('has a device in one unfinished roll-out at a time, and knows what is not there', async () => {
    const { store, begin, folder } = await bench(3);
    begin();
    const again = { id: 'r2', fleet: 'demo', package: desiredPackage(held), spec: { ...defaultSpec, seed: 's' }, created_ms: 1, created_by: 'ada' };
    expect(() => store.create(again, [{ device: 'door-1', pipeline: 'main', wave: 0, offset_ms: 0 }])).toThrow(/door-1 is in the roll-out r1, which is not finished/);
    expect(store.find('r2')).toBeNull();
    expect(() => store.request('r9', { kind: 'pause', by: 'ada' }, 1)).toThrow('There is no roll-out r9; these are here: r1');
    await until('it is complete', () => phaseOf(store) === 'complete');
    expect(() => store.request('r1', { kind: 'abort', by: 'ada' }, 1)).toThrow('The roll-out r1 is complete: there is nothing to abort');
    store.create({ ...again, fleet: 'demo' }, [{ device: 'door-1', pipeline: 'main', wave: 0, offset_ms: 0 }]);
    expect(store.list().map(({ id }) => id)).toEqual(['r1', 'r2']);
    expect(join(folder, 'rollouts.sqlite')).toContain('rollouts');
  });
});
