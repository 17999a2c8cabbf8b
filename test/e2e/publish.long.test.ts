/** `sterna publish` against a real daemon with tiny models. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { parseConfig, startAgent } from '../../agent/main.js';
import { EmbeddedBroker } from '../../deploy/broker/broker.js';
import { runCli } from '../../deploy/cli/program.js';
import { buildPipelinePackage } from '../../deploy/package/build.js';
import { quietLog, temporaryFolder } from '../agent/support/tools.js';
import { tinyModels } from '../deploy/package/tiny-models.js';

let bytes: Uint8Array;
/** The same models with a budget that no device keeps. */
let impossible: Uint8Array;
beforeAll(async () => {
  ({ bytes } = await buildPipelinePackage('face-recognition', tinyModels(), { name: 'faces', version: '1.0.0' }));
  ({ bytes: impossible } = await buildPipelinePackage('face-recognition', tinyModels(), { name: 'faces', version: '2.0.0', releaseCounter: 1, budget: { ram_bytes: 1 } }));
}, 60_000);

async function sterna(...args: string[]): Promise<{ code: number; json: unknown; log: string }> {
  let [out, log] = ['', ''];
  const code = await runCli(args, { out: (text) => { out += text; }, err: (text) => { log += text; } });
  return { code, json: out === '' ? null : JSON.parse(out), log };
}

/** Everything as a user does it: a repository with keys, a device that has its roots, packages that are signed. */
async function fleet(): Promise<{ url: string; path: string; bad: string; signed: string[] }> {
  const broker = new EmbeddedBroker();
  await broker.start();
  onTestFinished(() => broker.stop());
  const folder = temporaryFolder();
  const [path, bad] = [join(folder, 'faces.sterna'), join(folder, 'bad.sterna')];
  writeFileSync(path, bytes);
  writeFileSync(bad, impossible);
  const repository = join(folder, 'repository');
  expect((await sterna('repository', 'init', repository, '--no-passphrase', '--json')).code).toBe(0);
  expect(await sterna('repository', 'add', path, bad, '--repository', repository, '--json')).toMatchObject({ code: 0, json: { packages: ['all/faces-1.0.0.sterna', 'all/faces-2.0.0.sterna'], pending: [] } });
  const agent = await startAgent(parseConfig({
    device_id: 'door-1', fleet: 'demo', state_dir: join(folder, 'state'), broker: { url: broker.url }, api: { port: 0 },
    trust: { image_root: join(repository, 'image', '1.root.json'), director_root: join(repository, 'director', '1.root.json') },
  }), { log: quietLog, env: {} });
  onTestFinished(() => agent.stop());
  return { url: broker.url, path, bad, signed: ['--repository', repository] };
}

describe('sterna publish', () => {
  it('serves a device until it has committed, and finds the devices of a fleet', async () => {
    const { url, path, signed } = await fleet();
    const one = await sterna('publish', path, '--broker', url, '--fleet', 'demo', '--device', 'door-1', '--timeout', '60', ...signed, '--json');
    expect(one).toMatchObject({ code: 0, json: { name: 'faces', version: '1.0.0', bytes: bytes.length, devices: [{ device: 'door-1', state: 'committed', error: null }], sent: { malformedPayloads: 0 } } });
    expect(one.log).toMatch(/door-1: committed/);
    expect(await sterna('publish', path, '--broker', url, '--fleet', 'demo', '--all', '--timeout', '60', ...signed, '--json')).toMatchObject({ code: 0, json: { devices: [{ device: 'door-1', state: 'committed' }] } });
  }, 120_000);

  it('changes settings without another package, when they are signed as one', async () => {
    const { url, path, signed } = await fleet();
    const [folder, to] = [temporaryFolder(), ['--broker', url, '--fleet', 'demo', '--device', 'door-1', '--timeout', '60']];
    const [night, wrong] = [join(folder, 'night.json'), join(folder, 'wrong.json')];
    writeFileSync(night, JSON.stringify({ match_threshold: 0.6, zones: [{ name: 'yard', points: [[0.1, 0.4], [0.9, 0.4], [0.9, 1]] }] }));
    writeFileSync(wrong, '{"treshold": 1}');
    await sterna('publish', path, ...to, ...signed, '--json');
    expect(await sterna('publish', '--settings', night, ...to, ...signed, '--json')).toMatchObject({ code: 1, json: { error: { code: 'E_REPOSITORY_TARGET', message: expect.stringContaining('sterna repository add night.json') as string } } });
    expect(await sterna('repository', 'add', night, ...signed, '--json')).toMatchObject({ code: 0, json: { packages: ['all/night-1.settings.json'], pending: [] } });
    expect(await sterna('publish', '--settings', night, ...to, ...signed, '--json')).toMatchObject({ code: 0, json: { settings: { name: 'night' }, devices: [{ device: 'door-1', state: 'committed', error: null }] } });
    // A package that is published later leaves them as they are, and the same ones again change nothing.
    for (const what of [[path], ['--settings', night], [path, '--settings', night]]) expect((await sterna('publish', ...what, ...to, ...signed, '--json')).code).toBe(0);
    expect(await sterna('repository', 'add', night, ...signed, '--json')).toMatchObject({ json: { packages: ['all/night-1.settings.json'] } });
    const unsigned = await sterna('publish', '--settings', night, ...to, '--unsigned', '--json');
    expect(unsigned).toMatchObject({ code: 1, json: { error: { details: { devices: [{ state: 'rejected', error: { code: 'E_TRUST_UNSIGNED' } }] } } } });
    expect(await sterna('publish', '--settings', wrong, ...to, ...signed, '--json')).toMatchObject({ code: 3, json: { error: { code: 'E_SETTINGS', message: expect.stringContaining('treshold') as string } } });
    expect(await sterna('publish', ...to, ...signed, '--json')).toMatchObject({ code: 2, json: { error: { code: 'E_USAGE' } } });
  }, 120_000);

  it('is refused by the device without signatures, and says so at once; a command as well', async () => {
    const { url, path, signed } = await fleet();
    const unsigned = await sterna('publish', path, '--broker', url, '--fleet', 'demo', '--device', 'door-1', '--timeout', '60', '--unsigned', '--json');
    expect(unsigned).toMatchObject({ code: 1, json: { error: { details: { devices: [{ state: 'rejected', error: { code: 'E_TRUST_UNSIGNED' } }] } } } });
    const log = ['fleet', 'log', 'door-1', '--broker', url, '--fleet', 'demo', '--json'];
    expect(await sterna(...log, '--unsigned')).toMatchObject({ code: 1, json: { error: { code: 'E_DEVICE_COMMAND', details: { code: 'E_TRUST_UNSIGNED' } } } });
    expect(await sterna(...log, ...signed)).toMatchObject({ code: 0, json: { command: 'log-tail' } });
    expect(await sterna(...log)).toMatchObject({ code: 2, json: { error: { code: 'E_USAGE' } } });
  }, 120_000);

  it('exits with 1 and the code of the device that refuses the package', async () => {
    const { url, bad, signed } = await fleet();
    const result = await sterna('publish', bad, '--broker', url, '--fleet', 'demo', '--device', 'door-1', '--timeout', '60', ...signed, '--json');
    expect(result).toMatchObject({ code: 1, json: { error: { code: 'E_DEVICE_REJECTED', message: expect.stringContaining('E_OTA_GATE_MEMORY') as string, details: { devices: [{ state: 'rejected' }] } } } });
  }, 120_000);

  it('says what is wrong with the command line, the package, the broker, the fleet', async () => {
    const { url, path, signed } = await fleet();
    expect(await sterna('publish', path, '--broker', url, '--fleet', 'demo', ...signed, '--json')).toMatchObject({ code: 2, json: { error: { code: 'E_USAGE' } } });
    expect(await sterna('publish', `${path}.not`, '--broker', url, '--fleet', 'demo', '--all', ...signed, '--json')).toMatchObject({ code: 3, json: { error: { code: 'E_PACKAGE' } } });
    expect(await sterna('publish', path, '--broker', url, '--fleet', 'nobody', '--all', ...signed, '--json')).toMatchObject({ code: 1, json: { error: { code: 'E_DEVICE_UNKNOWN' } } });
    expect(await sterna('publish', path, '--broker', url, '--fleet', 'demo', '--device', 'absent', '--timeout', '1', ...signed, '--json')).toMatchObject({ code: 1, json: { error: { code: 'E_DEVICE_UNKNOWN' } } });
    expect(await sterna('publish', path, '--broker', 'mqtt://127.0.0.1:1', '--fleet', 'demo', '--all', ...signed, '--json')).toMatchObject({ code: 1, json: { error: { code: 'E_BROKER_CONNECT' } } });
  }, 120_000);
});

describe('sterna agent', () => {
  it("ends with the daemon's own exit code", async () => {
    const path = join(temporaryFolder(), 'sterna.yaml');
    writeFileSync(path, 'broker: {url: carrier-pigeon}\n');
    expect((await sterna('agent', '--config', path)).code).toBe(78);
  });
});
