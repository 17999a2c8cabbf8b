/**
 * The Debian package of this machine's architecture, as `npm run package:deb -- --quick` builds it: what is in it, what its fields say, and its
 * scripts. `npm run test:deb` installs the real ones.
 */
import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { projectFolder } from '../../deploy/demo/folder.js';

const root = projectFolder();
const installed = (program: string): boolean => spawnSync(program, ['--version']).error === undefined;
const lacking = [
  ...(existsSync(join(root, 'build', 'native-release', 'sterna.node')) && existsSync(join(root, 'dist', 'agent', 'main.js')) ? [] : ['npm run build']),
  ...(installed('dpkg-deb') ? [] : ['dpkg-deb']), ...(installed('readelf') ? [] : ['readelf']),
];
const parent = mkdtempSync(join(tmpdir(), 'sterna-package-deb-'));
const tree = join(parent, 'tree');
const library = join(tree, 'usr', 'lib', 'sterna');
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };

function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): SpawnSyncReturns<string> {
  return spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28, env: { ...process.env, ...env } });
}

/** Builds the package in a folder. @returns the path of its only file */
function build(out: string, env: NodeJS.ProcessEnv = {}): string {
  const { status, stderr } = run(process.execPath, [join(root, 'scripts', 'package-deb.mjs'), '--quick', '--out', out], env);
  expect(status, stderr).toBe(0);
  const [file = '', ...rest] = readdirSync(out);
  expect(rest).toEqual([]);
  return join(out, file);
}

const tool = (name: string): string => (installed(name) ? '' : ` (skipped: ${name} is not installed)`);

describe.skipIf(lacking.length > 0)(`the Debian package${lacking.length > 0 ? ` (skipped: it needs ${lacking.join(', ')})` : ''}`, () => {
  let file = '';

  beforeAll(() => {
    file = build(join(parent, 'first'), { SOURCE_DATE_EPOCH: '1700000000' });
    expect(run('dpkg-deb', ['--raw-extract', file, tree]).status).toBe(0);
  }, 180_000);
  afterAll(() => { rmSync(parent, { recursive: true }); });

  it('has at most 25 MB, with one addon that holds the kernels of every instruction set', () => {
    expect(statSync(file).size).toBeLessThanOrEqual(25e6);
    const addon = readFileSync(join(library, 'kernels', 'prebuilt', `linux-${process.arch}`, 'sterna.node'), 'latin1');
    for (const isa of process.arch === 'x64' ? ['sse41', 'avx2', 'avxvnni', 'avx512vnni'] : ['neon', 'neondot', 'neoni8mm']) expect(addon).toContain(isa);
  });

  it('has the daemon, its unit, rules and configuration, and nothing that only development or npm needs', () => {
    for (const path of [
      'etc/sterna', 'usr/bin/sterna', 'usr/bin/sternad', 'usr/lib/sterna/dist/agent/main.js', 'usr/lib/sterna/dist/agent/doctor/main.js', 'usr/lib/systemd/system/sternad.service', 'usr/lib/udev/rules.d/60-sterna.rules',
      'usr/lib/sysusers.d/sterna.conf', 'usr/share/sterna/sterna.yaml', 'usr/share/doc/sternad/copyright', 'usr/share/doc/sternad/changelog.gz', 'usr/share/man/man8/sternad.8.gz',
    ]) expect(existsSync(join(tree, path)), path).toBe(true);
    const packages = readdirSync(join(library, 'node_modules'));
    expect(packages).toEqual(expect.arrayContaining(['better-sqlite3', 'bindings', 'mqtt', 'sharp']));
    for (const name of ['onnxruntime-node', 'typescript', 'prebuild-install', 'aedes']) expect(packages).not.toContain(name);
    expect(readdirSync(join(library, 'dist')).sort()).toEqual(['agent', 'kernels', 'runtime']);
  });

  it('states architecture, version, and the system libraries that its programs ask for', () => {
    const control = readFileSync(join(tree, 'DEBIAN', 'control'), 'utf8');
    expect(control).toMatch(new RegExp(`^Version: ${version.replaceAll('.', '\\.')}$`, 'm'));
    expect(control).toMatch(new RegExp(`^Architecture: ${process.arch === 'x64' ? 'amd64' : process.arch}$`, 'm'));
    expect(control).toMatch(/^Depends: libc6 \(>= 2\.\d+\), libstdc\+\+6 \(>= \d+\), libgcc-s1, sterna-node \| nodejs \(>= 20\)$/m);
  });

  it('has the same bytes when it is built again', () => {
    const digest = (path: string): string => createHash('sha256').update(readFileSync(path)).digest('hex');
    expect(digest(build(join(parent, 'second'), { SOURCE_DATE_EPOCH: '1700000000' }))).toBe(digest(file));
  }, 180_000);

  it('has scripts that a shell can read, and that end at the first failure', () => {
    for (const name of ['postinst', 'prerm', 'postrm']) {
      const path = join(tree, 'DEBIAN', name);
      expect(run('sh', ['-n', path])).toMatchObject({ status: 0, stderr: '' });
      expect(readFileSync(path, 'utf8')).toMatch(/^#!\/bin\/sh\n(#.*\n)*set -e\n/);
    }
  });

  it.skipIf(!installed('shellcheck'))(`has scripts in which shellcheck finds nothing${tool('shellcheck')}`, () => {
    const programs = readdirSync(join(library, 'bin')).map((name) => join(library, 'bin', name));
    expect(run('shellcheck', [...['postinst', 'prerm', 'postrm'].map((name) => join(tree, 'DEBIAN', name)), ...programs])).toMatchObject({ status: 0, stdout: '' });
  });

  it('does not delete the state before a purge', () => {
    const paths = ['etc/sterna', 'var/lib/sterna', 'var/lib/private/sterna', 'var/cache/sterna', 'var/cache/private/sterna'];
    const script = readFileSync(join(tree, 'DEBIAN', 'postrm'), 'utf8').replaceAll(/ (\/(?:etc|var)\/)/g, ` "$FAKE_ROOT"$1`);
    const fake = join(parent, 'fake');
    for (const path of paths) mkdirSync(join(fake, path), { recursive: true });
    const postrm = (step: string): number | null => run('sh', ['-c', script, 'postrm', step], { FAKE_ROOT: fake, PATH: '/bin:/usr/bin' }).status;
    for (const step of ['remove', 'upgrade', 'failed-upgrade', 'abort-install', 'disappear']) expect(postrm(step)).toBe(0);
    expect(paths.filter((path) => !existsSync(join(fake, path)))).toEqual([]);
    expect(postrm('purge')).toBe(0);
    expect(paths.filter((path) => existsSync(join(fake, path)))).toEqual([]);
  });

  it.skipIf(!installed('systemd-analyze'))(`has a unit that systemd accepts${tool('systemd-analyze')}`, () => {
    mkdirSync(join(tree, 'bin'), { recursive: true });
    writeFileSync(join(tree, 'bin', 'sh'), '#!/bin/sh\n', { mode: 0o755 });
    const { stderr } = run('systemd-analyze', ['verify', `--root=${tree}`, '--man=no', 'sternad.service']);
    rmSync(join(tree, 'bin'), { recursive: true });
    // systemd before 254 does not know the longer and longer pauses; units that the root does not have are not ours.
    expect(stderr.split('\n').filter((line) => /sternad\.service/.test(line) && !/Unknown key (name )?'Restart(Steps|MaxDelaySec)'|Unit \S+ not found\.$/.test(line))).toEqual([]);
  });

  describe('its daemon', () => {
    const daemon = (env: NodeJS.ProcessEnv): SpawnSyncReturns<string> => run(join(library, 'bin', 'sternad'), ['--config', join(parent, 'none.yaml')], env);

    it('starts with the system\'s Node.js, or with the one that is named', () => {
      const node = join(process.execPath, '..');
      for (const env of [{ PATH: `${node}:/usr/bin:/bin` }, { PATH: '/usr/bin:/bin', STERNA_NODE: process.execPath }]) {
        expect(daemon(env)).toMatchObject({ status: 78, stderr: expect.stringMatching(/^E_CONFIG: Cannot read the configuration/) as string });
      }
    });

    it('says what to install when Node.js has a version that the package was not built for', () => {
      const folder = join(parent, 'old-node');
      mkdirSync(folder);
      writeFileSync(join(folder, 'node'), '#!/bin/sh\n[ "$1" = --version ] && echo v18.20.4 || echo 108\n');
      chmodSync(join(folder, 'node'), 0o755);
      expect(daemon({ PATH: `${folder}:/usr/bin:/bin` })).toMatchObject({ status: 127, stderr: `sterna: expected Node.js 20, 22 or 24 but found ${join(folder, 'node')} v18.20.4; install the package sterna-node, or set STERNA_NODE\n` });
    });
  });

  it('is refused for an architecture that there is none for', () => {
    const { status, stderr } = run(process.execPath, [join(root, 'scripts', 'package-deb.mjs'), '--arch', 'armhf']);
    expect({ status, stderr }).toEqual({ status: 1, stderr: 'sterna: Expected some of amd64, arm64 for --arch but received armhf\n' });
  });
});
