import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connectAsync } from 'mqtt';
import sharp from 'sharp';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parseConfig } from '../../../agent/config/load.js';
import type { Config } from '../../../agent/config/schema.js';
import { checkBroker } from '../../../agent/doctor/broker.js';
import { checkInputs } from '../../../agent/doctor/camera.js';
import { formatChecks, passed, type Check } from '../../../agent/doctor/check.js';
import { checkDaemon } from '../../../agent/doctor/daemon.js';
import { checkKernels, runSelfCheck } from '../../../agent/doctor/kernels.js';
import { checkClock, checkEnergy, checkMemory, checkProcessor, checkTemperatures } from '../../../agent/doctor/machine.js';
import { runDoctor } from '../../../agent/doctor/main.js';
import { checkDisk, checkPackages } from '../../../agent/doctor/storage.js';
import { encodePointer } from '../../../agent/ota/stored-state.js';
import { parseConfig as configOf, startAgent } from '../../../agent/main.js';
import { aedesBroker, mosquittoBroker, mosquittoMissing } from '../support/brokers.js';
import { certificates, opensslMissing } from '../support/certificates.js';
import { machine } from '../support/machine.js';
import { quietLog, temporaryFolder } from '../support/tools.js';

const only = (checks: readonly Check[]): Check => { expect(checks).toHaveLength(1); return checks[0] as Check; };
const config = (tree: Record<string, unknown>): Config => parseConfig({ device_id: 'door', fleet: 'demo', state_dir: temporaryFolder(), api: { enabled: false }, ...tree });

describe('the kernels', () => {
  it('give the results of the reference on every instruction set of this CPU', async () => {
    const check = only(await checkKernels());
    expect(check).toMatchObject({ area: 'kernels', status: expect.stringMatching(/ok|warning/) as string });
    expect(check.details).toMatchObject({ runnable: expect.arrayContaining(['ref']) as string[] });
  });

  it('fail the check when one byte differs, with the instruction set and both values', async () => {
    const { describeCpu } = await import('../../../kernels/binding/index.js');
    const wanted = await runSelfCheck('ref');
    const broken = describeCpu().isas.find(({ runnable, isa }) => runnable && isa !== 'ref')?.isa;
    if (broken === undefined) return;
    const bytes = wanted.bytes.map((value, i) => (i === 1000 ? value ^ 1 : value));
    const check = only(await checkKernels((isa) => Promise.resolve(isa === broken ? { ...wanted, bytes } : wanted)));
    expect(check).toMatchObject({ status: 'failed', text: `wrong results: ${broken}: 8-bit result 1000 is ${bytes[1000]} instead of ${wanted.bytes[1000]}` });
  });

  it('fail the check when a float result is not a number', async () => {
    const wanted = await runSelfCheck('ref');
    const floats = wanted.floats.map((value, i) => (i === 3 ? NaN : value));
    const check = only(await checkKernels((isa) => Promise.resolve(isa === 'ref' ? wanted : { ...wanted, floats })));
    expect(['failed', 'warning']).toContain(check.status); // a CPU with the reference alone has nothing to compare
  });
});

describe('the machine', () => {
  const meminfo = (availableKib: number): string => `MemTotal:        1024000 kB\nMemFree:  1 kB\nMemAvailable:   ${availableKib} kB`;

  it('has a processor with a name, also on a board whose /proc/cpuinfo has none', async () => {
    const { files } = machine({ 'proc/device-tree/model': 'Raspberry Pi 4 Model B Rev 1.4\0' });
    expect(only(await checkProcessor(files, { arch: 'aarch64', cores: 4 })).text).toMatch(/^Raspberry Pi 4 Model B Rev 1.4, 4 cores, Node\.js /);
  });

  it('is warned of when memory is short', async () => {
    expect(only(await checkMemory(machine({ 'proc/meminfo': meminfo(800_000) }).files))).toMatchObject({ status: 'ok', text: '0.76 GiB of 0.98 GiB are available' });
    expect(only(await checkMemory(machine({ 'proc/meminfo': meminfo(100_000) }).files))).toMatchObject({ status: 'warning', remedy: expect.stringContaining('192 MiB') as string });
    expect(only(await checkMemory(machine({}).files))).toMatchObject({ status: 'warning', text: '/proc/meminfo cannot be read' });
  });

  it('shows the hottest zone, implausible readings, and that heat slows it down', async () => {
    const zone = { 'sys/class/thermal/thermal_zone0/type': 'cpu-thermal', 'sys/class/thermal/thermal_zone0/temp': 61_000 };
    expect(only(await checkTemperatures(machine(zone).files))).toMatchObject({ status: 'ok', text: 'cpu-thermal.0 61.0 °C is the hottest of 1' });
    expect(only(await checkTemperatures(machine({ ...zone, 'sys/class/thermal/thermal_zone0/temp': 999_000 }).files))).toMatchObject({ status: 'warning', text: 'implausible readings: cpu-thermal.0 (out_of_range)' });
    const slow = { 'sys/class/thermal/cooling_device0/type': 'cpufreq-cpu0', 'sys/class/thermal/cooling_device0/cur_state': 3, 'sys/class/thermal/cooling_device0/max_state': 5 };
    expect(only(await checkTemperatures(machine({ ...zone, ...slow }).files))).toMatchObject({ status: 'warning', text: expect.stringContaining('slowed down now') as string });
    expect(only(await checkTemperatures(machine({}).files))).toMatchObject({ status: 'warning', text: 'no sensor was found, so overheating cannot be seen' });
  });

  it('names its energy sensors, and says how to open those that only root may read', async () => {
    const options = { wattsPerCore: 2 };
    const rapl = { 'sys/class/powercap/intel-rapl:0/name': 'package-0' };
    expect(only(await checkEnergy(machine({ ...rapl, 'sys/class/powercap/intel-rapl:0/energy_uj': 5 }).files, options))).toMatchObject({ status: 'ok', text: 'rapl package-0 (measured)' });
    expect(only(await checkEnergy(machine(rapl).files, options))).toMatchObject({ status: 'warning', remedy: expect.stringContaining('60-sterna.rules') as string });
    expect(only(await checkEnergy(machine({}).files, options))).toMatchObject({ status: 'warning', remedy: expect.stringContaining('watts_per_core') as string });
  });

  it('needs a clock that is not before what was built and signed, nor years after it', () => {
    const day = 86_400_000;
    const at = (nowMs: number, synchronized = true, signedMs: number | null = 1_700_000_000_000): Check =>
      only(checkClock({ nowMs: () => nowMs, monotonicMs: () => 0, synchronized: () => synchronized }, { signedMs, builtMs: 1_600_000_000_000 }));
    expect(at(1_700_000_000_000 + day)).toMatchObject({ status: 'ok', details: { ahead_of_signed_ms: day } });
    expect(at(1_700_000_000_000 + day, false)).toMatchObject({ status: 'warning', text: expect.stringContaining('no time server') as string });
    expect(at(1_700_000_000_000 - day)).toMatchObject({ status: 'failed', text: '2023-11-13T22:13:20 UTC is too early: the fleet signed at 2023-11-14T22:13:20' });
    expect(at(0, true, null)).toMatchObject({ status: 'failed', text: expect.stringContaining('this program was built') as string });
    expect(at(1_700_000_000_000 + 4 * 366 * day)).toMatchObject({ status: 'failed', text: expect.stringContaining('years after') as string });
  });
});

describe('inputs', () => {
  const devices = { 'sys/class/video4linux/video10/name': 'USB camera', 'sys/class/video4linux/video0/name': 'Front', 'sys/class/video4linux/v4l-subdev0/name': 'x' };
  const situation = () => ({ files: machine(devices).files, daemonRuns: false });

  it('name what is plugged in when none is configured, or one that is not there', async () => {
    expect(only(await checkInputs(config({}), situation()))).toMatchObject({ status: 'none', remedy: 'set camera.input, for example to /dev/video0 (Front)' });
    expect(only(await checkInputs(config({ camera: { input: '/dev/video77' } }), situation()))).toMatchObject({
      status: 'failed', text: '/dev/video77 does not exist', remedy: 'set camera.input to one of /dev/video0 (Front), /dev/video10 (USB camera)',
    });
  });

  it('are opened, and their picture is measured', async () => {
    const folder = temporaryFolder();
    await sharp({ create: { width: 64, height: 48, channels: 3, background: 'red' } }).png().toFile(join(folder, 'a.png'));
    expect(only(await checkInputs(config({ camera: { input: folder } }), situation()))).toMatchObject({ area: 'input camera', status: 'ok', details: { width: 64, height: 48 } });
    expect(only(await checkInputs(config({ camera: { input: temporaryFolder() } }), situation()))).toMatchObject({ status: 'failed' });
  });

  it('are left to a daemon that runs', async () => {
    expect(only(await checkInputs(config({ camera: { input: temporaryFolder() } }), { ...situation(), daemonRuns: true }))).toMatchObject({ status: 'ok', text: expect.stringContaining('in use by the daemon') as string });
  });
});

describe('the broker', () => {
  it('is left out where there is none', async () => {
    expect(await checkBroker(config({}))).toMatchObject({ signedMs: null, checks: [{ status: 'none' }] });
  });

  it('is reached, and other devices that can be read are named', async () => {
    const { url } = await aedesBroker();
    const other = await connectAsync(url);
    onTestFinished(() => other.endAsync());
    await other.publishAsync('sterna/v2/demo/door/status', '{}', { retain: true, qos: 1 });
    const alone = await checkBroker(config({ broker: { url } }));
    expect(alone.checks).toMatchObject([{ status: 'ok', text: `connected to ${url} with MQTT 3.1.1; demo/door may use its topics` }]);
    await other.publishAsync('sterna/v2/demo/garage/status', '{}', { retain: true, qos: 1 });
    const { checks } = await checkBroker(config({ broker: { url } }));
    expect(checks.at(-1)).toMatchObject({ status: 'warning', text: 'this device can read other devices: demo/garage', details: { readable: ['demo/garage'] } });
  });

  it('that cannot be reached fails, with what to check', async () => {
    const broker = await aedesBroker();
    await broker.stop();
    expect(only((await checkBroker(config({ broker: { url: broker.url } }))).checks)).toMatchObject({ status: 'failed', text: expect.stringContaining('cannot be reached') as string });
    expect(only((await checkBroker(config({ broker: { url: broker.url, password_file: '/run/credentials/none/mqtt.password' } }))).checks)).toMatchObject({ status: 'failed', remedy: expect.stringContaining('systemctl start sternad') as string });
  });

  const skipped = mosquittoMissing || opensslMissing;
  it.skipIf(skipped)(`is asked over TLS, and its refusal is told${skipped ? ' (skipped: mosquitto or openssl is not installed)' : ''}`, async () => {
    const { ca, of } = certificates({ broker: 'IP:127.0.0.1', door: 'DNS:door' });
    const server = of('broker');
    const broker = await mosquittoBroker([`cafile ${ca}`, `certfile ${server.cert}`, `keyfile ${server.key}`, 'require_certificate true', 'use_identity_as_username true', 'allow_anonymous false', 'user root']);
    const url = broker.url.replace('mqtt:', 'mqtts:');
    const good = await checkBroker(config({ broker: { url, tls: { ca, ...of('door') } } }));
    expect(good.checks).toMatchObject([{ status: 'ok', details: { protocol: '5' } }]);
    expect(only((await checkBroker(config({ broker: { url, tls: { ca } } }))).checks)).toMatchObject({ status: 'failed' });
    expect(only((await checkBroker(config({ broker: { url } }))).checks)).toMatchObject({ status: 'failed', text: expect.stringMatching(/certificate/) as string });
  });
});

describe('the state', () => {
  const digestOf = (bytes: string): string => createHash('sha256').update(bytes).digest('hex');

  it('tells space and speed of the disk, and leaves no file behind', () => {
    const settings = config({});
    const check = only(checkDisk(settings));
    expect(check.details).toMatchObject({ path: settings.state_dir, free_bytes: expect.any(Number) as number, sync_ms: expect.any(Number) as number });
    expect(existsSync(join(settings.state_dir, `doctor.${process.pid}`))).toBe(false);
    expect(only(checkDisk(config({ state_dir: '/proc/self' })))).toMatchObject({ status: 'failed', text: expect.stringContaining('cannot be written') as string });
    expect(only(checkDisk(config({ state_dir: join(temporaryFolder(), 'none') })))).toMatchObject({ status: 'none' });
  });

  it('finds the package sound or damaged, and deletes nothing', async () => {
    const settings = config({});
    const digest = digestOf('package');
    expect(only(await checkPackages(settings))).toMatchObject({ area: 'package main', status: 'none', text: 'no package has arrived yet' });
    const active = { name: 'faces', version: '1.0.0', digest, size_bytes: 7, since_ms: 1 };
    writeFileSync(join(settings.state_dir, 'slots.json'), encodePointer({ sequence: 1, generation_applied: 1, active, previous: null }));
    const file = join(settings.state_dir, 'packages', `${digest}.sterna`);
    mkdirSync(join(settings.state_dir, 'packages'));
    expect(only(await checkPackages(settings))).toMatchObject({ status: 'failed', text: expect.stringContaining('ENOENT') as string });
    writeFileSync(file, 'package');
    expect(only(await checkPackages(settings))).toMatchObject({ status: 'ok', text: 'faces 1.0.0, 0.0 MiB, has the right SHA-256' });
    writeFileSync(file, 'damaged');
    expect(only(await checkPackages(settings))).toMatchObject({ status: 'failed', text: expect.stringContaining('faces 1.0.0 is damaged: expected SHA-256') as string });
    expect(existsSync(file)).toBe(true);
    writeFileSync(join(settings.state_dir, 'slots.json'), 'x');
    expect(only(await checkPackages(settings))).toMatchObject({ status: 'warning', text: expect.stringContaining('its checksum does not match') as string });
  });
});

describe('the daemon', () => {
  it('is found by its local API', async () => {
    const agent = await startAgent(configOf({ device_id: 'door', fleet: 'demo', state_dir: temporaryFolder(), api: { port: 0 } }), { log: quietLog, env: {} });
    onTestFinished(() => agent.stop());
    const port = Number(new URL(agent.apiUrl ?? '').port);
    expect(await checkDaemon(config({ api: { port } }))).toMatchObject({ runs: true, checks: [{ status: 'ok' }] });
    await agent.stop();
    expect(await checkDaemon(config({ api: { port } }))).toMatchObject({ runs: false, checks: [{ status: 'warning', text: 'it does not run' }] });
  });
});

describe('the command', () => {
  const run = async (...args: string[]): Promise<{ code: number; text: string }> => {
    let text = '';
    const { files } = machine({ 'proc/meminfo': 'MemTotal: 2048000 kB\nMemAvailable: 1024000 kB' });
    const code = await runDoctor(args, (part) => { text += part; }, { files, env: { STATE_DIRECTORY: temporaryFolder() } });
    return { code, text };
  };

  it('passes with warnings, and fails with what does not work', async () => {
    const file = join(temporaryFolder(), 'sterna.yaml');
    writeFileSync(file, 'api: { enabled: false }\ncamera: { input: /dev/video77 }\n');
    const failed = await run('--config', file);
    expect(failed.code).toBe(1);
    expect(failed.text).toMatch(/^failed +input camera +\/dev\/video77 does not exist\n +-> no camera is plugged in/m);
    writeFileSync(file, 'api: { enabled: false }\n');
    const good = await run('--config', file, '--json');
    const { passed: verdict, checks } = JSON.parse(good.text) as { passed: boolean; checks: Check[] };
    expect({ code: good.code, verdict }).toEqual({ code: 0, verdict: true });
    expect(new Set(checks.map(({ area }) => area))).toEqual(new Set(['configuration', 'processor', 'kernels', 'memory', 'temperature', 'energy', 'ffmpeg', 'disk', 'daemon', 'input camera', 'broker', 'clock', 'package main']));
  });

  it('checks the machine also when the configuration is wrong', async () => {
    const file = join(temporaryFolder(), 'sterna.yaml');
    writeFileSync(file, 'camera: { inptu: x }\n');
    const { code, text } = await run('--config', file, '--json');
    const { checks } = JSON.parse(text) as { checks: Check[] };
    expect(code).toBe(1);
    expect(checks[0]).toMatchObject({ area: 'configuration', status: 'failed', text: expect.stringContaining('inptu') as string });
    expect(checks.map(({ area }) => area)).toContain('kernels');
  });

  it('refuses other options', async () => {
    expect((await run('--fix')).code).toBe(2);
  });

  it('sets remedies below what they are for', () => {
    const checks: Check[] = [{ area: 'disk', status: 'failed', text: 'full', remedy: 'free some space' }, { area: 'ffmpeg', status: 'ok', text: '/usr/bin/ffmpeg' }];
    expect(passed(checks)).toBe(false);
    expect(formatChecks(checks)).toBe('failed   disk    full\n                 -> free some space\nok       ffmpeg  /usr/bin/ffmpeg');
  });
});
