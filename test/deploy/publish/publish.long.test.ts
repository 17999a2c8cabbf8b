/** `sterna publish` with devices that do what a test wants of them, through the embedded broker and a real Mosquitto. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { largestGeneration } from '../../../agent/contracts/index.js';
import { buildPipelinePackage } from '../../../deploy/package/build.js';
import { askHandover, HandoverPoint, PackageStore } from '../../../deploy/publish/handover.js';
import { Publisher } from '../../../deploy/publish/publisher.js';
import { connectLink } from '../../../deploy/mqtt/link.js';
import { aedesBroker, mosquittoBroker, mosquittoMissing } from '../../agent/support/brokers.js';
import { certificates, opensslMissing } from '../../agent/support/certificates.js';
import { temporaryFolder, until } from '../../agent/support/tools.js';
import { captureCli } from '../cli/capture.js';
import { tinyModels } from '../package/tiny-models.js';
import { FakeDevice } from './fake-device.js';

const main = fileURLToPath(new URL('../../../dist/deploy/cli/main.js', import.meta.url));
let folderOfPack: string;
let pack: string;
let digest: string;
beforeAll(async () => {
  const { bytes } = await buildPipelinePackage('face-recognition', tinyModels(), { name: 'faces', version: '1.0.0' });
  folderOfPack = mkdtempSync(join(tmpdir(), 'sterna-test-'));
  pack = join(folderOfPack, 'faces.sterna');
  writeFileSync(pack, bytes);
  digest = createHash('sha256').update(bytes).digest('hex');
}, 60_000);
afterAll(() => rmSync(folderOfPack, { recursive: true, force: true }));

const words = (url: string, ...more: string[]): string[] => ['publish', pack, '--broker', url, '--fleet', 'demo', '--timeout', '30', '--unsigned', ...more];

interface PublishJson { devices?: { device: string; state: string; error: { code: string } | null }[]; error?: { code: string; message: string; details: { devices: PublishJson['devices'] } } }
async function publish(url: string, ...more: string[]): Promise<{ code: number; json: PublishJson; err: string }> {
  const { code, out, err } = await captureCli([...words(url, ...more), '--json']);
  return { code, json: JSON.parse(out) as PublishJson, err };
}

describe('sterna publish', () => {
  it('serves by default until every addressed device runs the package', async () => {
    const { url } = await aedesBroker();
    const devices = await Promise.all(['door-1', 'door-2'].map((name) => new FakeDevice(name).start({ url })));
    const { code, json, err } = await publish(url, '--device', 'door-1', '--device', 'door-2');
    expect({ code, devices: json.devices }).toMatchObject({ code: 0, devices: [{ device: 'door-1', state: 'committed', error: null }, { device: 'door-2', state: 'committed', error: null }] });
    for (const device of devices) expect(device.report.slots.active?.digest).toBe(digest);
    expect(err).toMatch(/door-1: downloading \d+ %\n/);
    expect(err).toMatch(/door-2: committed\n/);
  });

  it('exits with 1 and names who did not take it and why, while the others are served', async () => {
    const { url } = await aedesBroker();
    const devices = await Promise.all(['good', 'slow', 'shaky'].map((name) => new FakeDevice(name).start({ url })));
    if (devices[1] !== undefined) devices[1].ending = 'rejected';
    if (devices[2] !== undefined) devices[2].ending = 'rolled_back';
    const { code, json } = await publish(url, '--all');
    expect(code).toBe(1);
    expect(json.error).toMatchObject({ code: 'E_DEVICE_REJECTED', message: expect.stringMatching(/2 of 3 devices do not run faces 1\.0\.0: .*slow: rejected \(E_OTA_GATE_LATENCY: too slow\)/) as string });
    expect(json.error?.details.devices?.map(({ device, state }) => `${device} ${state}`)).toEqual(['good committed', 'shaky rolled_back', 'slow rejected']);
  });

  it('has an exit code of its own for a device that does not finish in time', async () => {
    const { url } = await aedesBroker();
    const device = await new FakeDevice('door-1').start({ url });
    device.ending = 'silent';
    const { code, json } = await publish(url, '--device', 'door-1', '--timeout', '1');
    expect({ code, error: json.error?.code, message: json.error?.message }).toMatchObject({ code: 5, error: 'E_DEVICE_TIMEOUT', message: expect.stringContaining('its update is warming') as string });
  });

  it('refuses a device that nobody knows, and names those that there are', async () => {
    const { url } = await aedesBroker();
    await new FakeDevice('door-1').start({ url });
    const { code, json } = await publish(url, '--device', 'dor-1');
    expect({ code, error: json.error }).toMatchObject({ code: 1, error: { code: 'E_DEVICE_UNKNOWN', message: 'dor-1 never reported to this broker; of fleet demo these have: door-1' } });
  });

  it('ends when somebody else asks the device for another package', async () => {
    const { url } = await aedesBroker();
    const device = await new FakeDevice('door-1').start({ url });
    device.ending = 'silent';
    const running = publish(url, '--device', 'door-1');
    await until('it warms', () => device.report.ota.state === 'warming');
    const other = new Publisher({ url, fleet: 'demo' });
    await other.start();
    onTestFinished(() => other.stop());
    await until('it knows the device', () => other.reported('door-1') !== null);
    await other.state('door-1', { name: 'faces', version: '2.0.0', digest: 'cd'.repeat(32), size_bytes: 10, block_bytes: 65_536 });
    expect(await running).toMatchObject({ code: 1, json: { error: { details: { devices: [{ state: 'superseded', error: { code: 'E_DEVICE_SUPERSEDED' } }] } } } });
  });

  it('keeps the settings that a device was given before', async () => {
    const { url } = await aedesBroker();
    const device = await new FakeDevice('door-1').start({ url });
    await device.tell({ settings: { fps: 5 } });
    expect((await publish(url, '--device', 'door-1')).code).toBe(0);
    expect(device.desired?.settings).toEqual({ fps: 5 });
  });

  it('continues after a generation of 2^53-1 that somebody left on the broker', async () => {
    const { url } = await aedesBroker();
    const device = await new FakeDevice('door-1').start({ url });
    const stranger = await connectLink({ url, clientId: 'stranger' });
    onTestFinished(async () => { await stranger.endAsync(true); });
    await stranger.publishAsync('sterna/v2/demo/door-1/desired', JSON.stringify({ schema_version: 2, generation: Number.MAX_SAFE_INTEGER, package: null }), { qos: 1, retain: true });
    expect((await publish(url, '--device', 'door-1')).code).toBe(0);
    // Accepted at the bound: every further one is still larger.
    await device.tell({ generation_seen: largestGeneration(null) });
    expect((await publish(url, '--device', 'door-1')).code).toBe(0);
    expect(device.report.generation_seen).toBe(largestGeneration(null) + 1);
  });

  it('says that a device which took the last number needs another agent', async () => {
    const { url } = await aedesBroker();
    const device = await new FakeDevice('door-1').start({ url });
    await device.tell({ generation_seen: Number.MAX_SAFE_INTEGER });
    const { code, json } = await publish(url, '--device', 'door-1');
    expect({ code, device: json.error?.details.devices?.[0] }).toMatchObject({ code: 1, device: { state: 'failed', error: { code: 'E_GENERATION' } } });
  });

  it('refuses a command line that makes no sense, options of TLS without TLS included', async () => {
    for (const [more, message] of [
      [[], /--all or --device/], [['--all', '--device', 'x'], /--all or --device/],
      [['--all', '--ca', '/x.pem'], /--ca need an encrypted connection/], [['--all', '--broker', 'carrier:pigeon'], /carrier:pigeon/],
    ] as const) {
      const { code, out } = await captureCli([...words('mqtt://127.0.0.1:1', ...more), '--json']);
      expect({ code, out: JSON.parse(out) as unknown }).toMatchObject({ code: 2, out: { error: { code: 'E_USAGE', message: expect.stringMatching(message) as string } } });
    }
    expect(await publish('mqtts://127.0.0.1:1', '--all', '--ca', '/nowhere.pem')).toMatchObject({ code: 3, json: { error: { code: 'E_FILE' } } });
    expect(await publish('mqtts://127.0.0.1:1', '--all', '--cert', '/nowhere.pem')).toMatchObject({ code: 2 });
  });

  it.skipIf(!existsSync(main))('ends cleanly with 130 on Ctrl-C (needs dist)', async () => {
    const { url } = await aedesBroker();
    const device = await new FakeDevice('door-1').start({ url });
    device.ending = 'silent';
    const child = spawn(process.execPath, [main, ...words(url, '--device', 'door-1', '--json')], { stdio: ['ignore', 'pipe', 'ignore'] });
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString(); });
    const ended = new Promise<{ code: number | null; signal: string | null }>((resolve) => child.once('close', (code, signal) => resolve({ code, signal })));
    await until('it warms', () => device.report.ota.state === 'warming');
    child.kill('SIGINT');
    expect(await ended).toEqual({ code: 130, signal: null });
    expect(JSON.parse(out)).toMatchObject({ error: { code: 'E_INTERRUPTED', details: { devices: [{ device: 'door-1', state: 'interrupted' }] } } });
  });
});

describe('sterna publish --detach', () => {
  it('hands the package over to a server that runs, and does not pretend when none does', async () => {
    const { url } = await aedesBroker();
    const folder = temporaryFolder();
    const device = await new FakeDevice('door-1').start({ url });
    const detached = (): ReturnType<typeof publish> => publish(url, '--device', 'door-1', '--detach', '--store', folder);
    expect(await detached()).toMatchObject({ code: 1, json: { error: { code: 'E_HANDOVER', message: expect.stringContaining('sterna fleet serve --broker') as string } } });
    expect(device.desired).toBeNull();

    const store = new PackageStore(folder);
    const server = new Publisher({ url, fleet: 'demo', find: (wanted) => store.find(wanted) });
    await server.start();
    onTestFinished(() => server.stop());
    const point = new HandoverPoint(folder, { fleet: 'demo', broker: url });
    await point.start();
    onTestFinished(() => point.stop());
    await expect(new HandoverPoint(folder, { fleet: 'demo', broker: url }).start()).rejects.toMatchObject({ code: 'E_HANDOVER', message: expect.stringContaining('already serves') as string });
    expect(await detached()).toMatchObject({ code: 0, json: { devices: [{ device: 'door-1', state: 'asked' }] } });
    await until('the device runs it', () => device.report.slots.active?.digest === digest);
    await point.stop();
    expect(await askHandover(folder, 'demo')).toBeNull();
  });

  it('refuses a server of another broker, and a package that is not what its name says', async () => {
    const { url } = await aedesBroker();
    const folder = temporaryFolder();
    const point = new HandoverPoint(folder, { fleet: 'demo', broker: 'mqtt://elsewhere:1883' });
    await point.start();
    onTestFinished(() => point.stop());
    expect(await publish(url, '--all', '--detach', '--store', folder)).toMatchObject({ code: 1, json: { error: { code: 'E_HANDOVER', message: expect.stringContaining('mqtt://elsewhere:1883') as string } } });
    writeFileSync(join(folder, `${'ab'.repeat(32)}.sterna`), 'not a package');
    expect(await new PackageStore(folder).find('ab'.repeat(32))).toBeNull();
  });
});

const missing = mosquittoMissing || opensslMissing;
describe.skipIf(missing)(missing ? 'sterna publish over TLS (skipped: mosquitto or openssl is not installed)' : 'sterna publish over TLS, with Mosquitto', () => {
  it('checks the broker by --ca and --server-name, and shows its own certificate', async () => {
    const { ca, of } = certificates({ broker: 'DNS:broker.example', device: 'DNS:device', operator: 'DNS:operator' });
    const [own, device, operator] = [of('broker'), of('device'), of('operator')];
    const broker = await mosquittoBroker([`cafile ${ca}`, `certfile ${own.cert}`, `keyfile ${own.key}`, 'require_certificate true', 'use_identity_as_username true', 'allow_anonymous false', 'user root']);
    const url = broker.url.replace('mqtt:', 'mqtts:');
    const door = await new FakeDevice('door-1').start({ url, caFile: ca, certFile: device.cert, keyFile: device.key, serverName: 'broker.example' });
    const identity = ['--cert', operator.cert, '--key', operator.key];

    const good = await publish(url, '--device', 'door-1', '--ca', ca, ...identity, '--server-name', 'broker.example');
    expect(good).toMatchObject({ code: 0, json: { devices: [{ device: 'door-1', state: 'committed' }] } });
    expect(door.report.slots.active?.digest).toBe(digest);

    const unknownAuthority = await publish(url, '--device', 'door-1', ...identity, '--server-name', 'broker.example');
    expect(unknownAuthority).toMatchObject({ code: 1, json: { error: { code: 'E_BROKER_CONNECT', message: expect.stringContaining('--ca') as string } } });
    const otherName = await publish(url, '--device', 'door-1', '--ca', ca, ...identity);
    expect(otherName).toMatchObject({ code: 1, json: { error: { code: 'E_BROKER_CONNECT', message: expect.stringContaining('--server-name') as string } } });
    const nobody = await publish(url, '--device', 'door-1', '--ca', ca, '--server-name', 'broker.example');
    expect(nobody).toMatchObject({ code: 1, json: { error: { code: 'E_BROKER_CONNECT' } } });
  });

  it('speaks mqtts:// with an authority alone, and as a user with a password', async () => {
    const { ca, of } = certificates({ broker: 'IP:127.0.0.1' });
    const own = of('broker');
    const broker = await mosquittoBroker([`certfile ${own.cert}`, `keyfile ${own.key}`, 'allow_anonymous true', 'user root']);
    const url = broker.url.replace('mqtt:', 'mqtts:');
    await new FakeDevice('door-1').start({ url, caFile: ca });
    expect(await publish(url, '--device', 'door-1', '--ca', ca)).toMatchObject({ code: 0 });
  });
});
