// `npm run test:deb [-- --arch amd64|arm64] [--suite bookworm] [--packages DIR] [--faces FILE]`: the Debian packages as an integrator uses them, in a
// root of Debian: installed with one command and one line of configuration, a package received over MQTT with TLS, a face recognized, upgraded, removed,
// purged. There is no systemd in a chroot: what the unit says is done by hand. The older version is the same build under a smaller number.
import { execFile, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, chownSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { DebianRoot, missingForRoots } from './lib/debian-root.mjs';
import { findProgram } from './lib/host.mjs';
import { run } from './lib/run.mjs';
import { ensureSetup, log, root } from './lib/setup.mjs';

const NOBODY = 65_534;
const DEVICE = ['--fleet', 'demo'];
/** What systemd would make and hand over. */
const ENVIRONMENT = { STATE_DIRECTORY: '/var/lib/sterna', CACHE_DIRECTORY: '/var/cache/sterna', RUNTIME_DIRECTORY: '/run/sterna', CREDENTIALS_DIRECTORY: '/run/credentials/sternad.service', NODE_ENV: 'production' };

const sleep = (ms) => new Promise((wake) => { setTimeout(wake, ms); });
const sha256 = (path) => createHash('sha256').update(readFileSync(path)).digest('hex');

function expectThat(condition, what) {
  if (!condition) throw new Error(`Expected that ${what}`);
}

/** Runs a step, and says how long it took. */
async function step(name, work) {
  const began = performance.now();
  const result = await work();
  log(`${name}: ${((performance.now() - began) / 1000).toFixed(1)} s`);
  return result;
}

async function until(what, condition, seconds) {
  for (const end = performance.now() + seconds * 1000; !(await condition()); await sleep(200)) if (performance.now() > end) throw new Error(`gave up waiting after ${seconds} s: ${what}`);
}

const freePort = () => new Promise((take) => {
  const server = createServer().listen(0, '127.0.0.1', () => { const { port } = server.address(); server.close(() => take(port)); });
});

/** The command line of the fleet side. While it waited for a program, this process would not see that the device has closed idle connections, and use one. */
async function sterna(...args) {
  await promisify(execFile)(process.execPath, [join(root, 'dist', 'deploy', 'cli', 'main.js'), ...args], { env: { ...process.env, STERNA_PASSPHRASE: 'of the test alone' } });
}

/** The models and pictures of the demonstration. @param faces a package of its models that is there already */
async function demonstration(faces) {
  const load = (path) => import(join(root, 'dist', 'deploy', 'demo', path));
  const [{ fetchPackage }, pins, { demoPackage }, camera, { assetsFolder }, { ensureFfmpeg }] = await Promise.all(['assets.js', 'pins.js', 'model.js', 'camera.js', 'folder.js', 'ffmpeg.js'].map(load));
  const folder = assetsFolder();
  const [modelPaths, clipPaths, ffmpeg] = [await fetchPackage(pins.faceModels, { folder }), await fetchPackage(pins.clips, { folder }), await ensureFfmpeg({ folder })];
  const options = { ffmpeg, clipPaths, folder: join(folder, 'derived') };
  const pictures = await camera.enrolmentPictures('franck', options);
  if (faces !== undefined) return { faces: resolve(faces), pictures };
  const { path } = await demoPackage({ folder: join(folder, 'derived'), modelPaths, calibration: await camera.calibrationPictures(options), engine: 'native' });
  return { faces: path, pictures };
}

/** The same package under a smaller version number. */
function olderVersion(file, folder) {
  const tree = join(folder, 'older');
  run('dpkg-deb', ['--raw-extract', file, tree]);
  const control = join(tree, 'DEBIAN', 'control');
  writeFileSync(control, readFileSync(control, 'utf8').replace(/^Version: .*$/m, 'Version: 0.0.1'));
  const older = join(folder, basename(file).replace(/_[^_]+_/, '_0.0.1_'));
  run('dpkg-deb', ['--build', '--root-owner-group', '-Zgzip', '-z1', tree, older]);
  rmSync(tree, { recursive: true });
  return older;
}

/** Repository, certificates, and a Mosquitto that wants them. */
async function fleetSide(folder, faces) {
  const [repository, port] = [join(folder, 'fleet'), await freePort()];
  const broker = `mqtts://127.0.0.1:${port}`;
  await sterna('repository', 'init', repository);
  await sterna('repository', 'add', faces, '--repository', repository);
  await sterna('provision', 'door-1', ...DEVICE, '--broker', broker, '--repository', repository);
  const access = join(repository, 'access');
  const file = (...parts) => join(access, 'authority', ...parts);
  writeFileSync(join(folder, 'mosquitto.conf'), [
    `listener ${port} 127.0.0.1`, `cafile ${file('ca.pem')}`, `certfile ${file('broker.pem')}`, `keyfile ${file('broker.key')}`,
    'require_certificate true', 'use_identity_as_username true', 'allow_anonymous false', `acl_file ${join(access, 'mosquitto.acl')}`, 'user root', '',
  ].join('\n'));
  const mosquitto = spawn('mosquitto', ['-c', join(folder, 'mosquitto.conf')], { stdio: 'ignore' });
  const login = ['--broker', broker, '--ca', file('ca.pem'), '--cert', file('operator.pem'), '--key', file('operator.key'), '--repository', repository];
  return { mosquitto, login, device: join(access, 'devices', 'demo', 'door-1') };
}

class Device {
  constructor(debian, apiPort, DeviceClient) {
    Object.assign(this, { debian, apiPort, log: '' });
    this.client = new DeviceClient(`http://127.0.0.1:${apiPort}`, debian.at('var/lib/sterna/api.token'));
  }

  /** What systemd does before it starts the unit's program. */
  prepare() {
    for (const folder of ['var/lib/sterna', 'var/cache/sterna', 'run/sterna']) {
      mkdirSync(this.debian.at(folder), { recursive: true, mode: 0o700 });
      chownSync(this.debian.at(folder), NOBODY, NOBODY);
    }
    const credentials = this.debian.at(ENVIRONMENT.CREDENTIALS_DIRECTORY);
    mkdirSync(credentials, { recursive: true });
    cpSync(this.debian.at('etc/sterna/device.key'), join(credentials, 'device.key'));
    chownSync(join(credentials, 'device.key'), NOBODY, NOBODY);
  }

  async start() {
    const unit = readFileSync(this.debian.at('usr/lib/systemd/system/sternad.service'), 'utf8');
    const command = /^ExecStart=(.+)$/m.exec(unit)[1].split(' ');
    this.process = this.debian.start(command, { ...ENVIRONMENT, STERNA_API_PORT: String(this.apiPort) });
    for (const stream of [this.process.stdout, this.process.stderr]) stream.on('data', (chunk) => { this.log += chunk; });
    this.ended = new Promise((end) => {
      this.process.on('close', (code, signal) => {
        this.log += `(the daemon ended with ${code ?? signal})\n`;
        end(code ?? signal);
      });
    });
    const ended = this.ended.then((how) => { throw new Error(`the daemon ended with ${how} before it answered`); });
    await Promise.race([until('the daemon answers', () => this.client.answers(), 300), ended]);
  }

  async stop() {
    this.process.kill('SIGTERM');
    const how = await this.ended;
    expectThat(how === 0, `the daemon ends with 0 on SIGTERM, not ${how}; it said\n${this.log.split('\n').slice(-10).join('\n')}`);
  }

  /** Waits until the local API tells that somebody appeared. */
  async recognizes(name) {
    const stop = AbortSignal.timeout(600_000);
    const { body } = await fetch(`http://127.0.0.1:${this.apiPort}/api/events?frames=1`, { headers: { authorization: `Bearer ${this.client.token}` }, signal: stop });
    let text = '';
    for await (const chunk of body) {
      text += Buffer.from(chunk).toString();
      if (text.includes(`"name":"${name}"`)) return;
      text = text.slice(-100_000);
    }
    throw new Error(`the event stream ended before ${name} was recognized`);
  }
}

const stateFiles = (debian) => ['gallery.key', 'api.token', 'slots.json'].map((name) => sha256(debian.at('var/lib/sterna', name))).join();

/** From the first command to the purge. */
async function live(debian, { packages, fleet, demo, device }) {
  const apt = (...args) => debian.must('apt-get', '-y', '-qq', '--no-install-recommends', ...args);
  await step('apt-get update', () => apt('update'));
  const began = performance.now();
  await step('apt-get install (the older version, and sterna-node)', () => apt('install', ...[packages.older, packages.node].map((file) => `/tmp/packages/${basename(file)}`)));
  expectThat(existsSync(debian.at('etc/sterna/sterna.yaml')), 'the installation makes a configuration');
  expectThat(debian.run('getent', 'group', 'sterna-energy').status === 0, 'the installation makes the group sterna-energy');
  cpSync(fleet.device, debian.at('etc/sterna'), { recursive: true });
  debian.must('chown', '-R', 'root:root', '/etc/sterna');
  debian.must('chmod', '755', '/etc/sterna');
  appendFileSync(debian.at('etc/sterna/sterna.yaml'), 'camera: { input: /srv/pictures, loop: true }\n');
  device.prepare();
  await step('the daemon starts', () => device.start());
  // Emulated, the daemon answers long before it has reported to the broker.
  await until('the device is connected to the broker', () => device.log.includes('connected to the broker'), 300);
  await step('sterna publish: the package is received and accepted', () => sterna('publish', demo.faces, ...DEVICE, '--device', 'door-1', '--timeout', '1800', ...fleet.login));
  await until('the package runs', () => device.client.runsModel(), 300);
  await step('a person is enrolled', () => device.client.enrol('Franck', demo.pictures.slice(1, 3)));
  await step('a face is recognized', () => device.recognizes('Franck'));
  log(`from the first command to the first recognized face: ${((performance.now() - began) / 1000).toFixed(1)} s`);
  const doctor = JSON.parse(debian.run('env', `STERNA_API_PORT=${device.apiPort}`, 'sterna', 'doctor', '--json').stdout);
  log(`sterna doctor: ${doctor.checks.map(({ area, status }) => `${area} ${status}`).join(', ')}`);
  expectThat(doctor.checks.filter(({ area }) => /kernels|broker|trust|package|disk/.test(area)).every(({ status }) => status === 'ok' || status === 'warning'), `the doctor finds kernels, broker, trust, package and disk in order: ${JSON.stringify(doctor)}`);
  await device.stop();
  const before = stateFiles(debian);
  await step('apt-get install (upgrade)', () => apt('install', `/tmp/packages/${basename(packages.daemon)}`));
  expectThat(debian.must('dpkg-query', '-W', '-f=${Version}', 'sternad') !== '0.0.1', 'the newer version is installed');
  expectThat(stateFiles(debian) === before, 'the upgrade keeps the state');
  expectThat(readFileSync(debian.at('etc/sterna/sterna.yaml'), 'utf8').includes('/srv/pictures'), 'the upgrade keeps the configuration');
  await device.start();
  await step('after the upgrade the face is recognized again, without anything being published', () => device.recognizes('Franck'));
  await device.stop();
  await step('apt-get remove', () => apt('remove', 'sternad'));
  expectThat(stateFiles(debian) === before && existsSync(debian.at('etc/sterna/device.key')), 'removal keeps state and configuration');
  expectThat(!existsSync(debian.at('usr/lib/sterna')) && !existsSync(debian.at('usr/bin/sternad')), 'removal takes the program away');
  await step('apt-get purge', () => apt('purge', 'sternad', 'sterna-node'));
  for (const path of ['etc/sterna', 'var/lib/sterna', 'var/cache/sterna', 'usr/lib/sterna-node']) expectThat(!existsSync(debian.at(path)), `the purge deletes /${path}`);
}

/** The packages of an architecture in a folder. */
function packagesIn(folder, arch) {
  const find = (name) => {
    const file = existsSync(folder) ? readdirSync(folder).find((entry) => entry.startsWith(`${name}_`) && entry.endsWith(`_${arch}.deb`)) : undefined;
    if (file === undefined) throw new Error(`${folder} has no ${name}_*_${arch}.deb: run npm run package:deb -- --arch ${arch}`);
    return join(folder, file);
  };
  return { daemon: find('sternad'), node: find('sterna-node') };
}

function lint(files) {
  if (!findProgram('lintian')) return log('lintian: skipped, because it is not installed');
  const { status, stdout } = spawnSync('lintian', ['--fail-on', 'error,warning', '--tag-display-limit', '0', ...files], { encoding: 'utf8' });
  expectThat(status === 0 && stdout === '', `lintian finds nothing, not\n${stdout}`);
  log('lintian: no errors, no warnings');
}

async function testArchitecture({ arch, suite, packages: folder, faces }) {
  const packages = packagesIn(resolve(folder), arch);
  const scratch = mkdtempSync(join(tmpdir(), 'sterna-test-deb-'));
  const debian = new DebianRoot(suite, arch);
  let fleet, device;
  try {
    const demo = await step('models and pictures', () => demonstration(faces));
    packages.older = olderVersion(packages.daemon, scratch);
    mkdirSync(debian.at('tmp/packages'));
    for (const file of Object.values(packages)) cpSync(file, debian.at('tmp/packages', basename(file)));
    mkdirSync(debian.at('srv/pictures'));
    for (const [i, file] of demo.pictures.entries()) cpSync(file, debian.at('srv/pictures', `${i}.jpg`));
    const { DeviceClient } = await import(join(root, 'dist', 'deploy', 'demo', 'device-client.js'));
    fleet = await step('repository, certificates, broker', () => fleetSide(scratch, demo.faces));
    device = new Device(debian, await freePort(), DeviceClient);
    await live(debian, { packages, fleet, demo, device });
    await step('lintian', () => lint([packages.daemon, packages.node]));
    log(`${arch}, ${suite}: everything works`);
  } catch (error) {
    if (device?.log) log(`the daemon said:\n${device.log.split('\n').slice(-20).join('\n')}`);
    throw error;
  } finally {
    device?.process?.kill('SIGKILL');
    fleet?.mosquitto.kill();
    await device?.ended;
    debian.remove();
    rmSync(scratch, { recursive: true, force: true });
  }
}

try {
  const { values } = parseArgs({ options: { arch: { type: 'string', default: 'amd64,arm64' }, suite: { type: 'string', default: 'bookworm' }, packages: { type: 'string', default: join(root, 'build', 'packages') }, faces: { type: 'string' } } });
  ensureSetup();
  if (!findProgram('mosquitto')) throw new Error('mosquitto is not installed; Debian: apt-get install mosquitto');
  for (const arch of values.arch.split(',')) {
    const missing = missingForRoots(arch);
    if (missing === undefined) await testArchitecture({ ...values, arch });
    else log(`${arch}: skipped, because ${missing}`);
  }
} catch (error) {
  log(error.message);
  process.exitCode = 1;
}
