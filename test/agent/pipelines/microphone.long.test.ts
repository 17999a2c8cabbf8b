/** A microphone beside a camera: from generated sound to events over MQTT, the event stream and telemetry, on the real runtime; and faults on a fake one. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { ofPipeline, type FindingEvent } from '../../../agent/contracts/index.js';
import { parseConfig, startAgent, type Agent, type AgentDeps } from '../../../agent/main.js';
import { buildPipelinePackage } from '../../../deploy/package/build.js';
import { ffmpeg } from '../../runtime/media/ffmpeg-available.js';
import { nativeMissing } from '../../runtime/support/native.js';
import { tinyEars, tinyEarsSettings, tones, waveFile } from '../../support/tiny-ears.js';
import { aedesBroker } from '../support/brokers.js';
import { FakeRuntime, packageBytes, type FakePackage } from '../support/fake-runtime.js';
import { FleetSide } from '../support/fleet-side.js';
import { desiredPackage, quietLog, temporaryFolder, until } from '../support/tools.js';

const address = { fleet: 'test', device: 'house' };

async function start(config: object, deps: Partial<AgentDeps> = {}): Promise<Agent> {
  const agent = await startAgent(parseConfig({ device_id: address.device, fleet: address.fleet, api: { port: 0 }, telemetry: { interval_ms: 1000 }, trust: { unsigned: true }, state_dir: temporaryFolder(), ...config }), { log: quietLog, env: {}, ...deps });
  onTestFinished(() => agent.stop());
  return agent;
}

interface PipelineStatus { name: string; camera: { state: string; frames: number }; counters: Record<string, number>; present: { label: string; onset_ms?: number }[] }
const statusOf = (agent: Agent, name: string): PipelineStatus | undefined => (agent.status()['pipelines'] as PipelineStatus[]).find((pipeline) => pipeline.name === name);

const missing = nativeMissing ?? (ffmpeg === null ? 'ffmpeg is not installed' : undefined);

describe.skipIf(missing !== undefined)(`a microphone on the real runtime${missing === undefined ? '' : ` (${missing})`}`, () => {
  it('tells of a whistle over MQTT and on the page, with onset, duration and the budget of each stage', async () => {
    const folder = temporaryFolder();
    const [packagePath, wave] = [join(folder, 'ears.sterna'), join(folder, 'street.wav')];
    writeFileSync(packagePath, (await buildPipelinePackage('sound', { classifier: tinyEars() }, { name: 'ears', version: '1.0.0', overrides: tinyEarsSettings })).bytes);
    writeFileSync(wave, waveFile(tones([[0, 1], [3000, 2], [0, 2]])));
    const broker = await aedesBroker();
    const fleet = await FleetSide.connect(broker.url, address);
    const state = join(folder, 'state');
    const agent = await start({ state_dir: state, broker: { url: broker.url }, inputs: { street: { input: wave, loop: true } }, pipelines: { ears: { input: 'street', package: packagePath } } });
    const heard = (): FindingEvent[] => fleet.events.filter((event): event is FindingEvent => event.type === 'finding');
    await until('it began and ended', () => heard().some(({ action, finding }) => action === 'left' && finding.label === 'whistle'), 60_000);
    const [began, over] = (['appeared', 'left'] as const).map((action) => heard().find((event) => event.action === action && event.finding.label === 'whistle'));
    expect(began).toMatchObject({ pipeline: 'ears', finding: { type: 'sound', label: 'whistle' }, model: { name: 'ears' } });
    expect(Object.keys(began?.stages_ms ?? {})).toEqual(['chunk', 'buffer', 'levels', 'features', 'infer', 'smooth']);
    // A busy machine may lose chunks, which ends a sound: then it is shorter.
    expect(over?.finding.onset_ms).toBeCloseTo(began?.finding.onset_ms ?? 0, -1);
    expect(over?.finding.duration_ms).toBeGreaterThan(0);
    expect(over?.finding.duration_ms).toBeLessThan(2500);
    expect(over?.visible_ms).toBe(over?.finding.duration_ms);
    await until('telemetry', () => ofPipeline(fleet.telemetry.at(-1), 'ears')?.stages.some(({ stage }) => stage === 'publish') === true || fleet.telemetry.some((window) => ofPipeline(window, 'ears')?.stages.some(({ stage }) => stage === 'publish')), 30_000);
    const stages = new Set(fleet.telemetry.flatMap((window) => ofPipeline(window, 'ears')?.stages.map(({ stage }) => stage) ?? []));
    for (const stage of ['chunk', 'buffer', 'features', 'infer', 'smooth', 'publish']) expect(stages).toContain(stage);
    // A busy machine may lose chunks, which ends the whistle before its silence was heard. The recording repeats, so the silence comes.
    await until('silence', () => (statusOf(agent, 'ears')?.counters['frames_exit_silence_total'] ?? 0) > 0, 30_000);
    await streams(agent, readFileSync(join(state, 'api.token'), 'utf8').trim());
  }, 150_000);
});

/** The event stream shows pieces of sound, and there is no picture of them. */
async function streams(agent: Agent, token: string): Promise<void> {
  const headers = { authorization: `Bearer ${token}` };
  const stop = new AbortController();
  const response = await fetch(`${agent.apiUrl ?? ''}/api/events?frames=1`, { headers, signal: stop.signal });
  let text = '';
  const decoder = new TextDecoder();
  for await (const piece of response.body ?? []) {
    text += decoder.decode(piece as Uint8Array, { stream: true });
    if (/^event: sound\ndata: .+\n\n/m.test(text)) break;
  }
  stop.abort();
  const [, data = '{}'] = /^event: sound\ndata: (.+)$/m.exec(text) ?? [];
  expect(JSON.parse(data)).toMatchObject({ pipeline: 'ears', deadline_ms: 60_000, spectrum: null, scores: [{ label: expect.any(String) as string }, {}], level_db: expect.any(Number) as number });
  expect(text).not.toContain('event: frame');
  const snapshot = await fetch(`${agent.apiUrl ?? ''}/api/snapshot.jpg`, { headers });
  expect([snapshot.status, await snapshot.json()]).toEqual([404, { error: { code: 'E_NO_FRAME', message: 'The pipeline ears listens, so it has no pictures' } }]);
}

const ears: FakePackage = { name: 'ears', version: '1.0.0', listens: { rate: 16_000, step: 1600 } };
const fine: FakePackage = { name: 'ears', version: '2.0.0', listens: { rate: 8000, step: 256 } };
const eyes: FakePackage = { name: 'eyes', version: '1.0.0' };

describe('a microphone beside a camera', () => {
  const packages = new Map([ears, fine, eyes].map((fake) => [desiredPackage(fake, packageBytes(fake)).digest, packageBytes(fake)]));
  const wanted = (fake: FakePackage): ReturnType<typeof desiredPackage> => desiredPackage(fake, packageBytes(fake));

  async function house(): Promise<{ fleet: FleetSide; agent: Agent; runtime: FakeRuntime }> {
    const broker = await aedesBroker();
    const fleet = await FleetSide.connect(broker.url, address);
    fleet.packages = packages;
    const runtime = new FakeRuntime();
    const agent = await start({
      broker: { url: broker.url }, ota: { stall_ms: 200 }, inputs: { door: { input: '/dev/door' }, mic: { input: 'alsa:default' } }, pipelines: { front: { input: 'door' }, ears: { input: 'mic' } },
    }, { runtime, backoff: { baseMs: 20, capMs: 100 } });
    await fleet.desire({ generation: 1, settings: {}, package: wanted(eyes) }, 'front');
    await fleet.desire({ generation: 1, settings: {}, package: wanted(ears) }, 'ears');
    await until('both run', () => ['front', 'ears'].every((name) => ofPipeline(fleet.reported.at(-1), name)?.ota.state === 'committed'));
    return { fleet, agent, runtime };
  }

  it('is reopened when it was lost, under a name of its own, and the camera goes on', async () => {
    const { fleet, agent, runtime } = await house();
    runtime.lost.add('alsa:default');
    await until('the fault', () => fleet.reported.at(-1)?.faults.some(({ code }) => code === 'E_MICROPHONE_LOST') === true);
    expect(fleet.reported.at(-1)?.faults.find(({ code }) => code === 'E_MICROPHONE_LOST')).toMatchObject({ pipeline: 'ears', component: 'microphone' });
    const health = await (await fetch(`${agent.apiUrl ?? ''}/health`)).json() as { reasons: string[] };
    expect(health.reasons).toEqual(['the microphone of ears is lost']);
    const before = statusOf(agent, 'front')?.camera.frames ?? 0;
    await until('frames go on', () => (statusOf(agent, 'front')?.camera.frames ?? 0) > before + 3);
    runtime.lost.clear();
    await until('it is over', () => fleet.reported.at(-1)?.faults.every(({ code }) => code !== 'E_MICROPHONE_LOST') === true);
    expect(statusOf(agent, 'ears')?.counters['camera_reopened_total']).toBeGreaterThan(0);
  });

  it('is told of when its samples come at another rate than they are said to', async () => {
    const { fleet, runtime } = await house();
    const codes = (): string[] => fleet.reported.at(-1)?.faults.map(({ code }) => code) ?? [];
    runtime.clock = { driftPpm: -81_250, jitterMs: 2 };
    await until('the warning', () => codes().includes('E_SOUND_RATE'));
    expect(fleet.reported.at(-1)?.faults.find(({ code }) => code === 'E_SOUND_RATE')).toMatchObject({ pipeline: 'ears', component: 'microphone', message: expect.stringMatching(/8\.1 % slower/) as unknown });
    runtime.lost.add('alsa:default');
    await until('the microphone is gone, and its rate with it', () => codes().includes('E_MICROPHONE_LOST') && !codes().includes('E_SOUND_RATE'));
    runtime.clock = { driftPpm: 40, jitterMs: 2 };
    runtime.lost.clear();
    await until('it is back, and in time', () => codes().every((code) => code !== 'E_MICROPHONE_LOST' && code !== 'E_SOUND_RATE'));
  });

  it('is opened again when another package wants other chunks', async () => {
    const { fleet, agent, runtime } = await house();
    await until('the serving package hears', () => (statusOf(agent, 'ears')?.camera.frames ?? 0) > 0);
    expect(runtime.sounds.at(-1)).toMatchObject({ input: 'alsa:default', rate: 16_000, step: 1600 });
    await fleet.desire({ generation: 2, settings: {}, package: wanted(fine) }, 'ears');
    await until('other chunks', () => runtime.sounds.at(-1)?.step === 256);
    expect(runtime.sounds.at(-1)).toMatchObject({ rate: 8000 });
    await expect.poll(() => ofPipeline(fleet.reported.at(-1), 'ears')?.ota.shadow).toMatchObject({ state: 'skipped', note: 'the package needs sound of 8000 samples a second, and the serving one gets 16000' });
  });

  it('refuses a package that sees, and keeps the one that listens', async () => {
    const { fleet } = await house();
    await fleet.desire({ generation: 2, settings: {}, package: wanted(eyes) }, 'ears');
    await until('refused', () => ofPipeline(fleet.reported.at(-1), 'ears')?.ota.state === 'rejected');
    expect(ofPipeline(fleet.reported.at(-1), 'ears')).toMatchObject({ ota: { error: { code: 'E_PACKAGE_MEDIUM' } }, slots: { active: { name: 'ears' } } });
  });
});
