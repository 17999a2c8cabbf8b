import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ofPipeline, type PipelineReport, type PipelineWindow } from '../../../agent/contracts/index.js';
import { framesOf as framesIn } from '../contracts/fixtures.js';
import { parseConfig, startAgent, type Agent, type Config } from '../../../agent/main.js';
import { aedesBroker } from '../support/brokers.js';
import { FakeRuntime, packageBytes, type FakePackage } from '../support/fake-runtime.js';
import { FleetSide } from '../support/fleet-side.js';
import { desiredPackage, quietLog, temporaryFolder, until } from '../support/tools.js';
import { PATIENT_OTA } from '../support/update-rules.js';

const address = { fleet: 'test', device: 'house' };
const faces: FakePackage = { name: 'faces', version: '1.0.0', padding: 6000 };
const objects: FakePackage = { name: 'objects', version: '4.0.0', padding: 9000, space: 'space-1' };
const bad: FakePackage = { name: 'objects', version: '5.0.0', golden: false };
const packages = new Map([faces, objects, bad].map((fake) => [desiredPackage(fake, packageBytes(fake)).digest, packageBytes(fake)]));
const wanted = (fake: FakePackage): ReturnType<typeof desiredPackage> => desiredPackage(fake, packageBytes(fake));

/** A camera at the door, and one in the yard. */
function config(url: string | null, state = temporaryFolder()): Config {
  return parseConfig({
    device_id: address.device, fleet: address.fleet, state_dir: state, broker: { url }, api: { port: 0 }, telemetry: { interval_ms: 1000 }, ota: PATIENT_OTA, trust: { unsigned: true },
    inputs: { door: { input: '/dev/door' }, yard: { input: '/dev/yard' } },
    pipelines: { front: { input: 'door' }, back: { input: 'yard', threads: 2 } },
  });
}

async function start(settings: Config, runtime = new FakeRuntime()): Promise<{ agent: Agent; runtime: FakeRuntime }> {
  const agent = await startAgent(settings, { runtime, log: quietLog, env: {}, backoff: { baseMs: 20, capMs: 100 } });
  onTestFinished(() => agent.stop());
  return { agent, runtime };
}

interface House { fleet: FleetSide; agent: Agent; runtime: FakeRuntime; state: string }

/** Both pipelines run, each its own package. */
async function house(): Promise<House> {
  const broker = await aedesBroker();
  const fleet = await FleetSide.connect(broker.url, address);
  fleet.packages = packages;
  const state = temporaryFolder();
  const { agent, runtime } = await start(config(broker.url, state));
  await until('online', () => fleet.statuses.at(-1)?.state === 'online');
  // At the same time: two downloads share the connection.
  await fleet.desire({ generation: 1, settings: {}, package: wanted(faces) }, 'front');
  await fleet.desire({ generation: 7, settings: {}, package: wanted(objects) }, 'back');
  await until('both run', () => ['front', 'back'].every((name) => reportOf(fleet, name)?.ota.state === 'committed'));
  return { fleet, agent, runtime, state };
}

const reportOf = (fleet: FleetSide, name: string): PipelineReport | null => ofPipeline(fleet.reported.at(-1), name);
const windowOf = (fleet: FleetSide, name: string): PipelineWindow | null => ofPipeline(fleet.telemetry.at(-1), name);
const framesOf = (agent: Agent, name: string): number => (agent.status()['pipelines'] as { name: string; counters: Record<string, number> }[]).find((p) => p.name === name)?.counters['frames_processed_total'] ?? 0;

describe('two cameras with two packages on one device', () => {
  it('have their own packages, generations, files and telemetry', async () => {
    const { fleet, state } = await house();
    expect(reportOf(fleet, 'front')).toMatchObject({ input: 'door', generation_applied: 1, slots: { active: { name: 'faces' }, previous: null } });
    expect(reportOf(fleet, 'back')).toMatchObject({ input: 'yard', generation_applied: 7, slots: { active: { name: 'objects' }, previous: null } });
    for (const [name, fake] of [['front', faces], ['back', objects]] as const) {
      expect(readdirSync(join(state, 'pipelines', name, 'packages'))).toEqual([`${wanted(fake).digest}.sterna`]);
    }
    expect(existsSync(join(state, 'packages'))).toBe(false);
    await until('telemetry of both', () => ['front', 'back'].every((name) => framesIn(windowOf(fleet, name)) > 3));
    expect([windowOf(fleet, 'front')?.model, windowOf(fleet, 'back')?.model]).toEqual([{ name: 'faces', version: '1.0.0' }, { name: 'objects', version: '4.0.0' }]);
    await until('events of both', () => fleet.events.filter((e) => e.type === 'model').length >= 2);
    expect(fleet.events.filter((e) => e.type === 'model').map((e) => [e.pipeline, e.action, e.package.name]).sort()).toEqual([['back', 'activated', 'objects'], ['front', 'activated', 'faces']]);
  });

  it('a package that fails its gate on one leaves the other as it is', async () => {
    const { fleet, agent } = await house();
    const before = framesOf(agent, 'front');
    await fleet.desire({ generation: 8, settings: { fps: 4 }, package: wanted(bad) }, 'back');
    await until('rejected', () => reportOf(fleet, 'back')?.ota.state === 'rejected');
    expect(reportOf(fleet, 'back')).toMatchObject({ ota: { error: { code: 'E_OTA_GATE_ACCURACY' } }, slots: { active: { version: '4.0.0' } }, settings: { fps: 4 }, generation_seen: 8 });
    expect(reportOf(fleet, 'front')).toMatchObject({ ota: { state: 'committed', error: null }, generation_seen: 1, settings: {} });
    await until('frames go on', () => framesOf(agent, 'front') > before + 5);
    await until('the event', () => fleet.events.some((e) => e.type === 'model' && e.action === 'rejected'));
    expect(fleet.events.filter((e) => e.type === 'model' && e.action === 'rejected').map((e) => e.pipeline)).toEqual(['back']);
  });

  it('a camera that is lost is a fault of its pipeline, and the other one goes on', async () => {
    const { fleet, agent, runtime } = await house();
    runtime.lost.add('/dev/yard');
    await until('the fault', () => fleet.reported.at(-1)?.faults.some(({ code }) => code === 'E_CAMERA_LOST') === true);
    expect(fleet.reported.at(-1)?.faults.map(({ pipeline, component, code }) => [pipeline, component, code])).toEqual([[null, 'ota', 'E_TRUST_OFF'], ['back', 'camera', 'E_CAMERA_LOST']]);
    const before = framesOf(agent, 'front');
    await until('frames go on', () => framesOf(agent, 'front') > before + 5);
    const health = await (await fetch(`${agent.apiUrl ?? ''}/health`)).json() as { reasons: string[] };
    expect(health.reasons).toEqual(['the camera of back is lost']);
    runtime.lost.clear();
    await until('it is over', () => fleet.reported.at(-1)?.faults.length === 1);
  });

  it('a command names the pipeline, and `desired` for one that is not there is refused', async () => {
    const { fleet } = await house();
    const selfTest = (id: string, pipeline?: string): ReturnType<FleetSide['command']> => fleet.command('self-test', id, {}, undefined, pipeline);
    expect(await selfTest('c1', 'back')).toMatchObject({ ok: true, result: { name: 'objects' } });
    expect(await selfTest('c2')).toMatchObject({ ok: true, result: { name: 'faces' } });
    expect(await selfTest('c3', 'attic')).toMatchObject({ ok: false, code: 'E_PIPELINE_UNKNOWN', message: 'This device has no pipeline attic; it has front, back' });
    await fleet.desire({ generation: 1, settings: {}, package: wanted(faces) }, 'attic');
    await until('refused', () => fleet.events.some((e) => e.type === 'fault' && e.error.code === 'E_PIPELINE_UNKNOWN'));
  });

  it('zones, classes and sizes change while the pipeline runs, without opening it again', async () => {
    const { fleet, runtime } = await house();
    const opened = runtime.opened.length;
    const zones = [{ name: 'yard', kind: 'include' as const, points: [[0, 0], [1, 0], [1, 1]] as [number, number][] }];
    await fleet.desire({ generation: 8, settings: { zones, labels: ['person'] }, package: null }, 'back');
    await until('the rules', () => runtime.rules.at(-1)?.labels?.[0] === 'person');
    expect(runtime.rules.at(-1)).toMatchObject({ zones, labels: ['person'] });
    await until('reported', () => reportOf(fleet, 'back')?.settings.zones?.[0]?.name === 'yard');
    expect(runtime.opened).toHaveLength(opened);
  });

  it('goes on with both after a restart, without a broker', async () => {
    const { agent, state } = await house();
    await agent.stop();
    const { agent: again } = await start(config(null, state));
    const running = (again.status()['pipelines'] as { name: string; model: { name: string } | null }[]).map(({ name, model }) => [name, model?.name]);
    expect(running).toEqual([['front', 'faces'], ['back', 'objects']]);
  });
});

describe('a device that had one pipeline', () => {
  it('keeps its package when a second one is added, as long as the first is called main', async () => {
    const broker = await aedesBroker();
    const fleet = await FleetSide.connect(broker.url, address);
    fleet.packages = packages;
    const state = temporaryFolder();
    const base = { device_id: address.device, fleet: address.fleet, state_dir: state, api: { port: 0 }, camera: { input: '/dev/door' }, trust: { unsigned: true } };
    const { agent } = await start(parseConfig({ ...base, broker: { url: broker.url } }));
    await fleet.desire({ generation: 1, settings: {}, package: wanted(faces) });
    await fleet.untilReported('it runs', (r) => r.ota.state === 'committed');
    await agent.stop();
    const { agent: again } = await start(parseConfig({
      ...base, broker: { url: null }, inputs: { yard: { input: '/dev/yard' } }, pipelines: { main: { input: 'camera' }, back: { input: 'yard' } },
    }));
    expect((again.status()['pipelines'] as { model: object | null }[]).map(({ model }) => model)).toMatchObject([{ name: 'faces' }, null]);
  });
});
