/** `sterna fleet ...` with devices that answer as a test wants. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { connectLink } from '../../../deploy/mqtt/link.js';
import { buildPipelinePackage } from '../../../deploy/package/build.js';
import { aedesBroker } from '../../agent/support/brokers.js';
import { temporaryFolder, until } from '../../agent/support/tools.js';
import { captureCli } from '../cli/capture.js';
import { status } from '../fixtures.js';
import { tinyModels } from '../package/tiny-models.js';
import { FakeDevice } from './fake-device.js';

const main = fileURLToPath(new URL('../../../dist/deploy/cli/main.js', import.meta.url));
const active = { name: 'faces', version: '1.0.0', digest: 'ab'.repeat(32), size_bytes: 5000, since_ms: 1 };

/** Commands that change a device are sent without signatures: the device here is not a real one. */
async function fleet(url: string, ...words: string[]): Promise<{ code: number; json: Record<string, unknown> }> {
  const { code, out } = await captureCli(['fleet', ...words, '--broker', url, ...(words[0] === 'status' || words[0] === 'devices' ? [] : ['--unsigned']), '--json']);
  return { code, json: JSON.parse(out) as Record<string, unknown> };
}

const command = (url: string, word: string, ...more: string[]): ReturnType<typeof fleet> => fleet(url, word, 'door-1', '--fleet', 'demo', ...more);

describe('sterna fleet rollback, self-test, bench, log, rebirth', () => {
  it('send the command, wait for the answer, and print it', async () => {
    const { url } = await aedesBroker();
    const device = await new FakeDevice('door-1').start({ url });
    const figures = { name: 'faces', version: '1.0.0', p50_ms: 3.25, p99_ms: 4, golden: 5, golden_failed: 0 };
    device.answers = {
      rollback: { ok: true, result: { active } }, 'self-test': { ok: true, result: figures }, bench: { ok: true, result: figures },
      'log-tail': { ok: true, result: { lines: ['one', 'two'] } }, rebirth: { ok: true, result: {} },
    };
    for (const word of ['rollback', 'self-test', 'bench', 'log', 'rebirth']) expect(await command(url, word), word).toMatchObject({ code: 0, json: { device: 'door-1' } });
    expect(device.commands.map(({ name }) => name)).toEqual(['rollback', 'self-test', 'bench', 'log-tail', 'rebirth']);
    expect(device.commands[3]?.args).toEqual({ lines: 50 });
    expect(device.commands[0]?.expires_ms).toBeGreaterThan(Date.now());
    const text = async (word: string): Promise<string> => (await captureCli(['fleet', word, 'door-1', '--fleet', 'demo', '--broker', url, '--unsigned'])).out;
    expect(await text('self-test')).toBe('door-1: faces 1.0.0: p50 3.25 ms, p99 4.00 ms, 5 golden vectors, 0 failed\n');
    expect(await text('log')).toBe('one\ntwo\n');
    expect(await text('rollback')).toBe('door-1: runs faces 1.0.0\n');
  });

  it('exit with 1 and the code of the device, with 5 without an answer, and know who is away', async () => {
    const { url } = await aedesBroker();
    const device = await new FakeDevice('door-1').start({ url });
    device.answers = { 'self-test': { ok: false, code: 'E_OTA_GATE_ACCURACY', message: '2 golden vectors differ' } };
    expect(await command(url, 'self-test')).toMatchObject({ code: 1, json: { error: { code: 'E_DEVICE_COMMAND', message: expect.stringContaining('E_OTA_GATE_ACCURACY') as string } } });
    expect(await command(url, 'rollback', '--timeout', '1')).toMatchObject({ code: 5, json: { error: { code: 'E_DEVICE_TIMEOUT' } } });
    await device.send({ kind: 'status' }, status({ state: 'offline', birth_seq: 99 }));
    expect(await command(url, 'rollback')).toMatchObject({ code: 1, json: { error: { code: 'E_DEVICE_OFFLINE' } } });
    expect(await fleet(url, 'rollback', 'nobody', '--fleet', 'demo')).toMatchObject({ code: 1, json: { error: { code: 'E_DEVICE_UNKNOWN' } } });
  });
});

describe('sterna fleet reset-generation', () => {
  it('states what the device runs with a generation that it accepts, in place of an absurd one', async () => {
    const { url } = await aedesBroker();
    const device = new FakeDevice('door-1');
    device.report = { ...device.report, generation_seen: 9_000_000_000_000, settings: { fps: 5 }, slots: { active, previous: null } };
    await device.start({ url });
    const stranger = await connectLink({ url, clientId: 'stranger' });
    onTestFinished(async () => { await stranger.endAsync(true); });
    await stranger.publishAsync('sterna/v2/demo/door-1/desired/main', JSON.stringify({ schema_version: 2, generation: Number.MAX_SAFE_INTEGER, package: null }), { qos: 1, retain: true });
    expect(await command(url, 'reset-generation')).toMatchObject({ code: 0, json: { generation: 9_000_000_000_001, generation_seen: 9_000_000_000_000 } });
    await until('the device takes it', () => device.report.generation_seen === 9_000_000_000_001);
    expect(device.desired).toMatchObject({ package: { digest: active.digest }, settings: { fps: 5 } });
  });
});

describe('sterna fleet status', () => {
  it('shows devices, versions, updates, health and alarms, and checks them', async () => {
    const { url } = await aedesBroker();
    const good = new FakeDevice('a');
    good.report = { ...good.report, slots: { active, previous: null } };
    await good.start({ url });
    expect(await fleet(url, 'status', '--check')).toMatchObject({ code: 0, json: { devices: [{ device: 'a', state: 'online', agent: '0.1.0', pipelines: [{ name: 'main', package: { version: '1.0.0' } }], health: 'good', alarms: [] }] } });
    const lost = new FakeDevice('b');
    lost.report = good.report;
    lost.faults = [{ pipeline: null, component: 'camera', code: 'E_CAMERA_LOST', message: 'gone' }];
    await lost.start({ url });
    expect(await fleet(url, 'devices', '--fleet', 'demo', '--check')).toMatchObject({ code: 1, json: { devices: [{ health: 'good' }, { device: 'b', health: 'bad', alarms: [{ code: 'E_CAMERA_LOST' }] }] } });
    const { code, out } = await captureCli(['fleet', 'status', '--broker', url]);
    expect({ code, out }).toMatchObject({ code: 0, out: expect.stringMatching(/demo\/b +online +0\.1\.0 +unverified +main +faces 1\.0\.0 +idle +ALARM +camera lost \(E_CAMERA_LOST\)/) as string });
  });
});

interface Running { out: () => string; err: () => string; stop: () => Promise<number | null> }
function sterna(...words: string[]): Running {
  const child = spawn(process.execPath, [main, ...words], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString(); });
  child.stderr.on('data', (chunk: Buffer) => { err += chunk.toString(); });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const stop = async (): Promise<number | null> => { child.kill('SIGINT'); return ended; };
  onTestFinished(async () => { child.kill('SIGKILL'); await ended; });
  return { out: () => out, err: () => err, stop };
}

describe.skipIf(!existsSync(main))('commands of sterna fleet that stay (need dist)', () => {
  it('serve sends what publish --detach hands over, and ends cleanly', async () => {
    const { url } = await aedesBroker();
    const folder = temporaryFolder();
    const path = join(folder, 'faces.sterna');
    const { bytes } = await buildPipelinePackage('face-recognition', tinyModels(), { name: 'faces', version: '1.0.0' });
    writeFileSync(path, bytes);
    const device = await new FakeDevice('door-1').start({ url });
    const serve = sterna('fleet', 'serve', '--broker', url, '--fleet', 'demo', '--store', folder);
    await until('it serves', () => serve.err().includes('Serving fleet demo'), 60_000);
    const { code } = await captureCli(['publish', path, '--broker', url, '--fleet', 'demo', '--device', 'door-1', '--unsigned', '--detach', '--store', folder, '--json']);
    expect(code).toBe(0);
    await until('the device runs it', () => device.report.slots.active?.digest === createHash('sha256').update(bytes).digest('hex'));
    await until('it says so', () => serve.err().includes('door-1: faces 1.0.0 committed'));
    expect(await serve.stop()).toBe(0);
  }, 120_000);

  it('serves the page against a broker that is not its own, and says what it cannot reach', async () => {
    const { url } = await aedesBroker();
    await new FakeDevice('door-1').start({ url });
    const page = sterna('fleet', '--broker', url, '--port', '0', '--json');
    await until('it is there', () => page.out().includes('\n'), 60_000);
    const { url: address, devices } = JSON.parse(page.out()) as { url: string; devices: unknown[] };
    expect(devices).toMatchObject([{ device: 'door-1', state: 'online', alarms: [{ code: 'E_NO_MODEL' }] }]);
    expect((await fetch(address)).status).toBe(200);
    expect(await (await fetch(`${address}/api/devices/demo/door-1`)).json()).toMatchObject({ local: false, health: { level: 'warning' } });
    expect(await (await fetch(`${address}/api/fleet`)).json()).toMatchObject({ broker_connected: true });
    expect(await page.stop()).toBe(0);
  }, 120_000);
});
