import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createLog } from '../../agent/platform/log.js';
import { deviceTopic } from '../../agent/contracts/index.js';
import { parseConfig, startAgent, type Agent, type Config } from '../../agent/main.js';
import { aedesBroker, freePort, mosquittoBroker, mosquittoMissing, proxy, type TestBroker } from './support/brokers.js';
import { FakeRuntime, packageBytes, type FakePackage } from './support/fake-runtime.js';
import { FleetSide } from './support/fleet-side.js';
import { desiredPackage, quietLog, temporaryFolder, until } from './support/tools.js';
import { PATIENT_OTA } from './support/update-rules.js';

const address = { fleet: 'test', device: 'door' };
const one: FakePackage = { name: 'faces', version: '1.0.0', padding: 5000 };
const two: FakePackage = { name: 'faces', version: '2.0.0', padding: 9000 };
const packages = new Map([one, two].map((fake) => [desiredPackage(fake, packageBytes(fake)).digest, packageBytes(fake)]));
const wanted = (fake: FakePackage): ReturnType<typeof desiredPackage> => desiredPackage(fake, packageBytes(fake));

function config(over: { url: string | null; state?: string; broker?: Record<string, unknown>; telemetryMs?: number }): Config {
  return parseConfig({
    device_id: address.device, fleet: address.fleet, state_dir: over.state ?? temporaryFolder(),
    broker: { url: over.url, ...over.broker }, camera: { input: '/camera', loop: true }, api: { port: 0 },
    telemetry: { interval_ms: over.telemetryMs ?? 1000 }, ota: PATIENT_OTA, trust: { unsigned: true },
  });
}

async function start(settings: Config, runtime = new FakeRuntime()): Promise<{ agent: Agent; runtime: FakeRuntime }> {
  const agent = await startAgent(settings, { runtime, log: quietLog, env: {}, backoff: { baseMs: 20, capMs: 100 } });
  onTestFinished(() => agent.stop());
  return { agent, runtime };
}

const connected = (agent: Agent): boolean => {
  const { broker } = agent.status();
  return typeof broker === 'object' && broker !== null && 'state' in broker && broker.state === 'connected';
};

describe.each([
  { name: 'aedes (MQTT 3.1.1)', open: () => aedesBroker(), skip: false, protocol: '3.1.1' },
  { name: mosquittoMissing ? 'mosquitto (skipped: it is not installed)' : 'mosquitto (MQTT 5)', open: () => mosquittoBroker(), skip: mosquittoMissing, protocol: '5' },
])('a device with $name', ({ open, skip, protocol }) => {
  it.skipIf(skip)('receives a package, runs it, reports, and says goodbye', async () => {
    const broker = await open();
    const fleet = await FleetSide.connect(broker.url, address);
    fleet.packages = packages;
    const { agent, runtime } = await start(config({ url: broker.url }));
    await until('online', () => fleet.statuses.at(-1)?.state === 'online');
    await until('the birth is acknowledged', () => connected(agent)); // others may see it before the device knows that it arrived
    expect(agent.status()['broker']).toMatchObject({ state: 'connected', protocol });
    await fleet.desire({ generation: 1, settings: {}, package: wanted(one) });
    await fleet.untilReported('version 1', (r) => r.slots.active?.version === '1.0.0' && r.ota.state === 'committed');
    await fleet.desire({ generation: 2, settings: { telemetry_interval_ms: 1000, match_threshold: 0.6 }, package: wanted(two) });
    await fleet.untilReported('version 2', (r) => r.slots.active?.version === '2.0.0' && r.slots.previous?.version === '1.0.0' && r.generation_applied === 2);
    expect(runtime.opened.at(-1)?.overrides).toEqual({ match_threshold: 0.6 });
    await until('telemetry of version 2', () => fleet.telemetry.some((t) => t.pipelines[0]?.model?.version === '2.0.0' && (t.pipelines[0].counters['frames_processed_total'] ?? 0) > 10));
    await until('the event of version 2', () => fleet.events.some((e) => e.type === 'model' && e.package.version === '2.0.0')); // it and the telemetry come in any order
    // Twice: the new threshold opens version 1 again at once, version 2 comes when it is there.
    expect({ frames_dropped_by_swap_total: 0, frames_failed_total: 0, ...fleet.telemetry.at(-1)?.pipelines[0]?.counters }).toMatchObject({ frames_dropped_by_swap_total: 0, frames_failed_total: 0, model_swaps_total: 2 });
    expect(fleet.events.filter((e) => e.type === 'model').map((e) => [e.action, e.package.version])).toEqual([['activated', '1.0.0'], ['activated', '2.0.0']]);
    await agent.stop();
    await until('stopped', () => fleet.statuses.at(-1)?.state === 'stopped');
    expect([...fleet.kinds].sort()).toEqual(['caps', 'event', 'ota_get', 'reported', 'status', 'telemetry']);
    expect(runtime.open).toBe(0);
    expect(runtime.gallery.closed).toBe(true);
  });

  it.skipIf(skip)('loses its connection in the middle of a download and goes on', async () => {
    const broker = await open();
    const through = await proxy(broker.port);
    const fleet = await FleetSide.connect(broker.url, address);
    fleet.packages = packages;
    fleet.budget = 10;
    const { agent } = await start(config({ url: through.url }));
    await until('online', () => fleet.statuses.at(-1)?.state === 'online');
    await fleet.desire({ generation: 1, settings: {}, package: wanted(two) });
    await until('10 blocks', () => fleet.budget === 0);
    through.dropAll();
    await until('the will', () => fleet.statuses.some((s) => s.state === 'offline'));
    fleet.budget = Infinity;
    await fleet.untilReported('committed', (r) => r.ota.state === 'committed');
    const births = fleet.statuses.filter((s) => s.state === 'online').map((s) => s.birth_seq);
    expect(births).toEqual([...births].sort((a, b) => a - b));
    expect(new Set(births).size).toBeGreaterThanOrEqual(2);
    await agent.stop();
  });
});

describe('a broker that is away', () => {
  it('costs nothing: the device runs, and what happened meanwhile arrives later, flagged', async () => {
    const port = await freePort();
    const { agent, runtime } = await start(config({ url: `mqtt://127.0.0.1:${port}` }));
    runtime.findings = [{ type: 'detection', box: [0, 0, 10, 10], score: 0.9, label: 'face', identity: { personId: 1, name: 'Ann', similarity: 0.8 } }];
    // One message is the event of the unsigned mode.
    await until('two windows', () => { const { outbox } = agent.status(); return typeof outbox === 'object' && outbox !== null && 'messages' in outbox && Number(outbox.messages) >= 3; });
    const broker = await aedesBroker(port);
    const fleet = await FleetSide.connect(broker.url, address);
    await until('backfill', () => fleet.telemetry.filter((t) => t.backfill).length >= 2);
    expect(fleet.telemetry.filter((t) => t.backfill).map((t) => t.seq).slice(0, 2)).toEqual([0, 1]);
    await until('live', () => fleet.telemetry.some((t) => !t.backfill));
  });

  it('that refuses the password is a fault with a code, and the right password ends it', async () => {
    if (mosquittoMissing) return expect(mosquittoMissing).toBe(true);
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'users'), 'door:secret\n', { mode: 0o600 });
    await new Promise<void>((resolve) => spawn('mosquitto_passwd', ['-U', join(folder, 'users')]).once('exit', () => resolve()));
    const broker = await mosquittoBroker([`password_file ${join(folder, 'users')}`, 'allow_anonymous false', 'user root']);
    writeFileSync(join(folder, 'password'), 'wrong\n');
    const { agent } = await start(config({ url: broker.url, broker: { username: 'door', password_file: join(folder, 'password') } }));
    await until('refused', () => JSON.stringify(agent.status()['faults']).includes('E_BROKER_REFUSED'));
    writeFileSync(join(folder, 'password'), 'secret\n');
    await until('connected', () => connected(agent));
    expect(JSON.stringify(agent.status()['faults'])).not.toContain('E_BROKER_REFUSED');
  });
});

describe('commands', () => {
  async function device(): Promise<{ fleet: FleetSide; broker: TestBroker; agent: Agent }> {
    const broker = await aedesBroker();
    const fleet = await FleetSide.connect(broker.url, address);
    fleet.packages = packages;
    const { agent } = await start(config({ url: broker.url }));
    await until('online', () => fleet.statuses.at(-1)?.state === 'online');
    return { fleet, broker, agent };
  }

  it('are answered once for each id, and refused when unknown, expired, or impossible', async () => {
    const { fleet } = await device();
    expect(await fleet.command('self-test', 'a1')).toMatchObject({ ok: false, code: 'E_NO_MODEL' });
    expect(await fleet.command('rollback', 'a2')).toMatchObject({ ok: false, code: 'E_OTA_NO_PREVIOUS' });
    expect(await fleet.command('fly', 'a3')).toMatchObject({ ok: false, code: 'E_COMMAND' });
    expect(await fleet.command('rebirth', 'a4', {}, 1)).toMatchObject({ ok: false, code: 'E_COMMAND' });
    await fleet.desire({ generation: 1, settings: {}, package: wanted(one) });
    await fleet.untilReported('committed', (r) => r.ota.state === 'committed');
    const first = await fleet.command('bench', 'b1');
    expect(first).toMatchObject({ ok: true, result: { p99_ms: 1, golden: 1, golden_failed: 0 } });
    expect(await fleet.command('bench', 'b1')).toEqual(first);
    expect(await fleet.command('self-test', 'b2')).toMatchObject({ ok: true });
    expect(await fleet.command('log-tail', 'b3', { lines: 3 })).toMatchObject({ ok: true });
    expect(await fleet.command('log-tail', 'b4', { lines: -3 })).toMatchObject({ ok: false, code: 'E_COMMAND' });
    const reports = fleet.reported.length;
    expect(await fleet.command('rebirth', 'b5')).toMatchObject({ ok: true });
    expect(fleet.reported.length).toBeGreaterThan(reports);
    // Somebody wrote over what the broker retained: a reader that comes now sees the device again, of the same connection.
    const before = fleet.statuses.at(-1);
    await fleet.client.publishAsync(deviceTopic(address, { kind: 'status' }), JSON.stringify({ ...before, state: 'offline' }), { qos: 1, retain: true });
    await until('the device seems to be gone', () => fleet.statuses.at(-1)?.state === 'offline');
    expect(await fleet.command('rebirth', 'b6')).toMatchObject({ ok: true });
    await until('its birth comes again', () => fleet.statuses.at(-1)?.state === 'online');
    expect(fleet.statuses.at(-1)).toMatchObject({ state: 'online', boot_id: before?.boot_id, birth_seq: before?.birth_seq });
  });

  it('and everything else from the broker may be hostile', async () => {
    const { fleet, agent } = await device();
    const send = (_kind: 'desired', payload: Buffer): Promise<unknown> => fleet.client.publishAsync(deviceTopic(address, { kind: 'desired', pipeline: 'main' }), payload, { qos: 1 });
    const refused = (count: number): Promise<void> => until(`${count} were refused`, () => JSON.stringify(agent.status()['counters']).includes(`"messages_refused_total":${count}`));
    await send('desired', Buffer.from('not json'));
    await refused(1); // of those that come together only the newest is read
    await send('desired', Buffer.from(JSON.stringify({ schema_version: 7, generation: 1 })));
    await refused(2);
    await send('desired', Buffer.from(JSON.stringify({ schema_version: 2, generation: 1, package: { digest: '../../etc/passwd' } })));
    await refused(3);
    await send('desired', Buffer.alloc(0));
    await fleet.client.publishAsync(`sterna/v2/test/door/ota/block/00000000/7`, Buffer.from('junk'), { qos: 1 });
    await fleet.client.publishAsync(`sterna/v2/test/door/cmd/self-test`, Buffer.from('{'), { qos: 1 });
    await fleet.client.publishAsync(`sterna/v2/test/door/cmd/rollback`, Buffer.from('{"schema_version":2,"id":"x"}'), { qos: 1, retain: true });
    await until('faults', () => fleet.events.some((e) => e.type === 'fault' && e.error.code === 'E_PAYLOAD_VERSION'));
    await fleet.desire({ generation: 1, settings: {}, package: wanted(one) });
    await fleet.untilReported('committed all the same', (r) => r.ota.state === 'committed');
    expect(JSON.stringify(agent.status()['counters'])).toContain('"messages_refused_total":4');
  });
});

describe('presence and faults', () => {
  it('become events', async () => {
    const broker = await aedesBroker();
    const fleet = await FleetSide.connect(broker.url, address);
    fleet.packages = packages;
    const { runtime } = await start(config({ url: broker.url }));
    await fleet.desire({ generation: 1, settings: {}, package: wanted(one) });
    await fleet.untilReported('committed', (r) => r.ota.state === 'committed');
    runtime.findings = [{ type: 'detection', box: [0, 0, 10, 10], score: 0.9, label: 'face', identity: { personId: 1, name: 'Ann', similarity: 0.8 } }];
    await until('appeared', () => fleet.events.some((e) => e.type === 'finding' && e.action === 'appeared'));
    runtime.findings = [];
    await until('left', () => fleet.events.some((e) => e.type === 'finding' && e.action === 'left'));
    expect(fleet.events.filter((e) => e.type === 'finding').map((e) => [e.action, e.finding.identity?.name, e.model.version])).toEqual([['appeared', 'Ann', '1.0.0'], ['left', 'Ann', '1.0.0']]);
  });

  it('a camera that cannot be opened is tried again', async () => {
    const runtime = new FakeRuntime();
    runtime.sourceError = new Error('no such device');
    const { agent } = await start(config({ url: null }), runtime);
    await until('lost', () => JSON.stringify(agent.status()['faults']).includes('E_CAMERA_LOST'));
    runtime.sourceError = null;
    await until('running', () => JSON.stringify(agent.status()['pipelines']).includes('"running"'));
    expect(agent.status()['faults']).toEqual([]);
  });

  it('a package that fails on every frame in its probation is rolled back', async () => {
    const broker = await aedesBroker();
    const bad: FakePackage = { ...two, version: '3.0.0', fails: true };
    const fleet = await FleetSide.connect(broker.url, address);
    fleet.packages = new Map([...packages, [wanted(bad).digest, packageBytes(bad)]]);
    await start(config({ url: broker.url }));
    await fleet.desire({ generation: 1, settings: {}, package: wanted(one) });
    await fleet.untilReported('committed', (r) => r.ota.state === 'committed');
    await fleet.desire({ generation: 2, settings: {}, package: wanted(bad) });
    await fleet.untilReported('rolled back', (r) => r.ota.state === 'rolled_back' && r.slots.active?.version === '1.0.0' && r.ota.error?.code === 'E_OTA_PROBATION');
  });
});

describe('the state folder', () => {
  it('serves one daemon at a time', async () => {
    const state = temporaryFolder();
    const { agent } = await start(config({ url: null, state }));
    await expect(startAgent(config({ url: null, state }), { runtime: new FakeRuntime(), log: quietLog })).rejects.toMatchObject({ code: 'E_STATE_LOCKED' });
    await agent.stop();
    await start(config({ url: null, state }));
  });

  it('with damaged databases is begun anew, and that is said', async () => {
    const state = temporaryFolder();
    for (const name of ['state.db', 'outbox.db']) writeFileSync(join(state, name), 'this was a database once, before the power went');
    const { agent } = await start(config({ url: null, state }));
    expect(agent.status()['faults']).toMatchObject([{ component: 'ota', error: { code: 'E_STATE_CORRUPT' } }, { component: 'agent', error: { code: 'E_STATE_CORRUPT' } }]);
  });

  it('cannot be a file', async () => {
    const file = join(temporaryFolder(), 'file');
    writeFileSync(file, '');
    await expect(startAgent(config({ url: null, state: file }), { runtime: new FakeRuntime(), log: quietLog })).rejects.toMatchObject({ code: 'E_STATE' });
  });
});

describe('an address that is taken', () => {
  it('costs the API alone, says so, and is tried again until it is free', async () => {
    const { agent: first } = await start(config({ url: null }));
    const port = Number(new URL(first.apiUrl ?? '').port);
    const taken = config({ url: null });
    const { agent } = await start({ ...taken, api: { ...taken.api, port } });
    expect(agent.apiUrl).toBeNull();
    expect(agent.status()['faults']).toMatchObject([{ component: 'agent', error: { code: 'E_API_UNAVAILABLE' } }]);
    await first.stop();
    await until('the API answers', () => agent.apiUrl === `http://127.0.0.1:${port}`);
    expect(agent.status()['faults']).toEqual([]);
    expect((await fetch(`http://127.0.0.1:${port}/health`)).status).toBe(200);
  });
});

describe('a daemon that stops', () => {
  it('stops every part although some throw or hang, and logs each failure', async () => {
    const lines: string[] = [];
    const runtime = new FakeRuntime();
    const settings = config({ url: null });
    const agent = await startAgent(settings, { runtime, log: createLog('error', (line) => lines.push(line)), env: {} });
    runtime.sourceHangs = true;
    runtime.gallery.close = (): void => { throw new Error('the disk is full'); };
    await until('a frame was asked for in vain', () => runtime.hanging > 0);
    await agent.stop();
    const failures = lines.map((line) => JSON.parse(line) as { part?: string; code?: string }).filter(({ part }) => part !== undefined);
    expect(failures.map(({ part, code }) => [part, code])).toEqual([['camera', 'E_STOP_TIMEOUT'], ['gallery', 'E_INTERNAL']]);
    await start(settings, new FakeRuntime()); // the databases and the lock are free
  });

  it('stops while it starts, when its signal says so', async () => {
    const stop = new AbortController();
    const settings = config({ url: null });
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'slow.sterna'), packageBytes(one));
    const runtime = new FakeRuntime();
    runtime.describePackage = () => {
      stop.abort(new Error('enough'));
      return new Promise(() => undefined);
    };
    const starting = startAgent({ ...settings, pipeline: { ...settings.pipeline, package: join(folder, 'slow.sterna') } }, { runtime, log: quietLog, env: {}, signal: stop.signal });
    await expect(starting).rejects.toThrow('enough');
    await start(settings);
  });
});
