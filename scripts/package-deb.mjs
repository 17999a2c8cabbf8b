// `npm run package:deb [-- --arch amd64,arm64] [--out DIR] [--abi 137]`: Debian packages, for every architecture on one machine. `sternad` is the
// daemon with everything but Node.js; `sterna-node` is a Node.js for systems that have none of the versions that Sterna supports, such as Debian 12.
// `--abi` compiles better-sqlite3 for some versions of Node.js only (137 is that of `sterna-node`), which takes less time.
// `--only-daemon` leaves out `sterna-node`, which takes minutes to compress and rarely changes.
// `--quick` is for tests: this machine's architecture, the installed better-sqlite3, fast compression, and no `sterna-node`.
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { buildDeb, compressed, libraryDependencies, writeFile } from './lib/deb.mjs';
import { installedSqlite, layOutDevice, productionPackages } from './lib/device-tree.mjs';
import { findProgram } from './lib/host.mjs';
import { minify } from './lib/minify.mjs';
import { NODE_HEADERS, NODE_VERSION, nodeProgram } from './lib/node-releases.mjs';
import { HOST, makeAddon, PLATFORMS, toolFor } from './lib/platforms.mjs';
import { run, someOf } from './lib/run.mjs';
import { ensureSetup, log, root } from './lib/setup.mjs';
import { sqliteAddons } from './lib/sqlite-addon.mjs';

/** Debian's variables for whoever builds a package. */
const MAINTAINER = `${process.env.DEBFULLNAME ?? 'The authors of Sterna'} <${process.env.DEBEMAIL ?? 'sterna@example.org'}>`;
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
/** Debian sorts `~` before everything: 1.0.0-rc.1 is older than 1.0.0. */
const VERSION = manifest.version.replace('-', '~');
const packaging = (name) => readFileSync(join(root, 'systemd', 'debian', name), 'utf8');

/** Seconds since 1970: SOURCE_DATE_EPOCH, or that of the newest commit, or now. */
function sourceDate() {
  const given = process.env.SOURCE_DATE_EPOCH;
  if (given !== undefined) {
    if (!/^\d+$/.test(given)) throw new Error(`Expected seconds since 1970 in SOURCE_DATE_EPOCH but received "${given}"`);
    return Number(given);
  }
  try {
    return Number(run('git', ['log', '-1', '--format=%ct']).trim());
  } catch {
    return Math.floor(Date.now() / 1000);
  }
}

/** changelog, copyright and overrides of lintian, as every package has them. */
function writeDocuments(tree, { name, version, epoch, changes, copyright }) {
  const date = new Date(epoch * 1000).toUTCString().replace('GMT', '+0000');
  const folder = join(tree, 'usr', 'share', 'doc', name);
  writeFile(join(folder, 'changelog.gz'), compressed(`${name} (${version}) unstable; urgency=medium\n\n  * ${changes}\n\n -- ${MAINTAINER}  ${date}\n`));
  writeFile(join(folder, 'copyright'), copyright);
  writeFile(join(tree, 'usr', 'share', 'lintian', 'overrides', name), packaging(`${name}.lintian-overrides`));
}

/** Places of the checkout's files in the package. */
const SYSTEM_FILES = {
  'systemd/sternad.service': 'usr/lib/systemd/system/sternad.service',
  'systemd/60-sterna.rules': 'usr/lib/udev/rules.d/60-sterna.rules',
  'systemd/sterna.sysusers.conf': 'usr/lib/sysusers.d/sterna.conf',
  'systemd/sterna.yaml': 'usr/share/sterna/sterna.yaml',
  'systemd/README.md': 'usr/share/doc/sternad/README.md',
};

function copyright(platform) {
  const packages = productionPackages(platform).map(({ name, version, license }) => ` ${name} ${version}: ${license ?? 'see its folder'}`);
  return `${packaging('copyright')}\nComment: npm packages in /usr/lib/sterna/node_modules:\n${packages.sort().join('\n')}\n`;
}

/** A copy of the installed one: npm leaves it unstripped. */
function strippedSqlite(folder) {
  return Object.fromEntries(Object.entries(installedSqlite()).map(([abi, path]) => {
    const copy = join(folder, `better_sqlite3-${abi}.node`);
    copyFileSync(path, copy);
    run('strip', ['--strip-unneeded', copy]);
    return [abi, copy];
  }));
}

function stageDaemon(tree, platform, { epoch, quick, abis }) {
  const library = join(tree, 'usr', 'lib', 'sterna');
  const scratch = mkdtempSync(join(tmpdir(), 'sterna-deb-addon-'));
  try {
    makeAddon(platform, join(scratch, 'sterna.node'));
    const sqlite = quick ? strippedSqlite(scratch) : sqliteAddons(platform, abis);
    layOutDevice(library, { platform, addon: join(scratch, 'sterna.node'), sqlite });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  minify(join(library, 'dist'));
  rmSync(join(library, 'LICENSE')); // Debian's copy is in /usr/share/common-licenses.
  for (const [from, to] of Object.entries(SYSTEM_FILES)) writeFile(join(tree, to), readFileSync(join(root, from)));
  mkdirSync(join(tree, 'etc', 'sterna'), { recursive: true });
  mkdirSync(join(tree, 'usr', 'bin'), { recursive: true });
  for (const name of ['sterna', 'sternad']) symlinkSync(`../lib/sterna/bin/${name}`, join(tree, 'usr', 'bin', name));
  const page = packaging('sternad.8').replace('@DATE@', new Date(epoch * 1000).toISOString().slice(0, 10)).replace('@VERSION@', manifest.version);
  writeFile(join(tree, 'usr', 'share', 'man', 'man8', 'sternad.8.gz'), compressed(page));
  writeFile(join(tree, 'usr', 'share', 'man', 'man1', 'sterna.1.gz'), compressed('.so man8/sternad.8\n'));
  writeDocuments(tree, { name: 'sternad', version: VERSION, epoch, changes: 'See CHANGELOG.md.gz in this folder.', copyright: copyright(platform) });
  writeFile(join(tree, 'usr', 'share', 'doc', 'sternad', 'CHANGELOG.md.gz'), compressed(readFileSync(join(root, 'CHANGELOG.md'))));
}

function daemonFields(tree, platform) {
  return {
    Package: 'sternad', Version: VERSION, Architecture: PLATFORMS[platform].debian, Maintainer: MAINTAINER, Section: 'misc', Priority: 'optional',
    Depends: [...libraryDependencies(tree), 'sterna-node | nodejs (>= 20)'].join(', '), Recommends: 'ffmpeg',
    Description: `${manifest.description.split(':')[0]}
 The daemon of a device: it receives compressed models over MQTT, verifies
 and tests them, and runs them on the pictures of a camera. It reports what
 it finds, with latencies, energy and temperatures.
 .
 Cameras, videos and RTSP streams need ffmpeg. Node.js 20, 22 or 24 comes
 from the system or from the package sterna-node.`,
  };
}

function stageNode(tree, platform, { epoch }) {
  const source = nodeProgram(platform);
  const program = join(tree, 'usr', 'lib', 'sterna-node', 'bin', 'node');
  mkdirSync(join(program, '..'), { recursive: true });
  copyFileSync(join(source, 'bin', 'node'), program);
  chmodSync(program, 0o755);
  run(toolFor(platform, 'strip'), ['--strip-unneeded', program]);
  const license = readFileSync(join(source, 'LICENSE'), 'utf8');
  writeDocuments(tree, { name: 'sterna-node', version: NODE_VERSION, epoch, changes: 'Node.js as its project releases it.', copyright: `The program is that of https://nodejs.org, stripped. Its license and those of its libraries:\n\n${license}` });
}

function nodeFields(tree, platform) {
  return {
    Package: 'sterna-node', Version: NODE_VERSION, Architecture: PLATFORMS[platform].debian, Maintainer: MAINTAINER, Section: 'javascript', Priority: 'optional',
    Depends: libraryDependencies(tree).join(', '),
    Description: `Node.js ${NODE_VERSION} for the daemon of Sterna
 For systems whose own Node.js is older than 20, such as Debian 12. The
 program is in /usr/lib/sterna-node and does not replace the system's.`,
  };
}

function build(stage, fieldsOf, platform, { out, epoch, scripts = {}, compression }) {
  const tree = mkdtempSync(join(tmpdir(), 'sterna-deb-'));
  try {
    stage(tree);
    return buildDeb(tree, { out, fields: fieldsOf(tree, platform), scripts, epoch, ...(compression && { compression }) });
  } finally {
    rmSync(tree, { recursive: true, force: true });
  }
}

function packagesFor(platform, { out, quick, epoch, abis, onlyDaemon }) {
  const scripts = Object.fromEntries(['postinst', 'prerm', 'postrm'].map((name) => [name, packaging(`sternad.${name}`)]));
  const compression = quick ? ['-Zgzip', '-z1'] : undefined;
  const daemon = build((tree) => stageDaemon(tree, platform, { epoch, quick, abis }), daemonFields, platform, { out, epoch, scripts, compression });
  return quick || onlyDaemon ? [daemon] : [daemon, build((tree) => stageNode(tree, platform, { epoch }), nodeFields, platform, { out, epoch })];
}

/** Platforms by Debian's names. */
function platformsOf(arch) {
  const known = Object.fromEntries(Object.entries(PLATFORMS).map(([platform, { debian }]) => [debian, platform]));
  return someOf(Object.keys(known), 'arch', arch.split(',')).map((name) => known[name]);
}

try {
  const { values } = parseArgs({ options: { out: { type: 'string', default: join(root, 'build', 'packages') }, arch: { type: 'string', default: 'amd64,arm64' }, abi: { type: 'string', default: Object.keys(NODE_HEADERS).join(',') }, quick: { type: 'boolean', default: false }, 'only-daemon': { type: 'boolean', default: false } } });
  const platforms = values.quick ? [HOST] : platformsOf(values.arch);
  for (const tool of ['dpkg-deb', 'readelf']) if (!findProgram(tool)) throw new Error(`${tool} not found; Debian: apt-get install ${tool === 'readelf' ? 'binutils' : 'dpkg'}`);
  const abis = someOf(Object.keys(NODE_HEADERS), 'abi', values.abi.split(','));
  ensureSetup({ everyCpu: true });
  const epoch = sourceDate();
  const files = platforms.flatMap((platform) => packagesFor(platform, { out: resolve(values.out), quick: values.quick, onlyDaemon: values['only-daemon'], abis, epoch }));
  for (const path of files) log(`${path} (${statSync(path).size} bytes)`);
} catch (error) {
  log(error.message);
  process.exitCode = 1;
}
