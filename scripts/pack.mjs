// `npm run pack [-- --out DIR] [--platforms linux-x64,linux-arm64]`: the tarballs of a release. `sterna` names the packages with the prebuilt
// addons, of exactly its version, as optional dependencies; the checkout's package.json does not, since they are not on the registry before
// the release, and a lock file that names them could not be installed. Addons of other architectures come from Debian's cross compiler.
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { minifySync } from 'rolldown/experimental';
import { findProgram } from './lib/host.mjs';
import { buildNative, ensureSetup, log, root } from './lib/setup.mjs';

/** By platform: the tools that build and strip its addon on a machine of another architecture. */
const PLATFORMS = {
  'linux-x64': { compiler: 'x86_64-linux-gnu-g++', strip: 'x86_64-linux-gnu-strip' },
  'linux-arm64': { compiler: 'aarch64-linux-gnu-g++', strip: 'aarch64-linux-gnu-strip', toolchain: 'aarch64.cmake' },
};
const HOST = `${process.platform}-${process.arch}`;

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const packageName = (platform) => `sterna-kernels-${platform}`;

function run(command, args, cwd = root) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 1 << 28 });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${error?.message ?? `${stdout}${stderr}`.trimEnd().split('\n').slice(-20).join('\n')}`);
  return stdout;
}

/** Packs a folder. @returns the tarball's path */
function npmPack(folder, out, ...options) {
  const name = run('npm', ['pack', '--pack-destination', out, '--loglevel=error', ...options], folder).trim().split('\n').at(-1);
  return join(out, name);
}

/** The addon of a platform, stripped, at `target`. */
function makeAddon(platform, target) {
  const native = platform === HOST;
  const { compiler, strip, toolchain } = PLATFORMS[platform];
  const needed = native ? 'strip' : strip;
  if (!native && toolchain === undefined) throw new Error(`${platform} cannot be built on ${HOST}`);
  for (const tool of native ? [needed] : [compiler, needed]) {
    if (!findProgram(tool)) throw new Error(`${tool} not found, which the addon of ${platform} needs; Debian: apt-get install ${tool === 'strip' ? 'binutils' : 'g++-aarch64-linux-gnu'}`);
  }
  const folder = native ? join(root, 'build', 'native-release') : buildNative(`pack-${platform}`, [
    '-DCMAKE_BUILD_TYPE=Release', '-DSTERNA_TESTS=OFF', `-DCMAKE_TOOLCHAIN_FILE=${join(root, 'kernels', 'cmake', toolchain)}`,
  ], ['sterna_node']);
  copyFileSync(join(folder, 'sterna.node'), target);
  run(needed, ['--strip-unneeded', target]);
}

/** The package with the prebuilt addon of a platform; every instruction set's kernels are in it. */
function packPlatform(platform, out) {
  const [os, cpu] = platform.split('-');
  const folder = mkdtempSync(join(tmpdir(), 'sterna-pack-'));
  try {
    makeAddon(platform, join(folder, 'sterna.node'));
    copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'));
    writeFileSync(join(folder, 'README.md'), `# ${packageName(platform)}\n\nThe native addon of Sterna ${manifest.version} for ${platform} with glibc. Install \`sterna\`, which takes it along.\n`);
    writeFileSync(join(folder, 'package.json'), `${JSON.stringify({
      name: packageName(platform), version: manifest.version, description: `Native addon of Sterna for ${platform}`, license: manifest.license,
      main: './sterna.node', files: ['sterna.node'], engines: manifest.engines, os: [os], cpu: [cpu], libc: ['glibc'],
    }, null, 2)}\n`);
    return npmPack(folder, out);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Takes comments and white space out of every script below a folder, and simplifies expressions. Names stay, so that a stack trace can be read. */
function minify(folder) {
  for (const name of readdirSync(folder, { recursive: true }).filter((file) => /\.m?js$/.test(file) && !file.endsWith('.bundle.js'))) {
    const file = join(folder, name);
    const { code, errors } = minifySync(name, readFileSync(file, 'utf8'), { module: true, compress: true, mangle: false, codegen: { removeWhitespace: true } });
    if (errors.length > 0) throw new Error(`${name} could not be minified: ${errors[0].message}`);
    writeFileSync(file, code);
  }
}

/** The main package: what `npm pack` makes of the checkout, with the platforms' packages among its dependencies. */
function packMain(out) {
  const folder = mkdtempSync(join(tmpdir(), 'sterna-pack-'));
  try {
    run('tar', ['-xzf', npmPack(root, folder), '-C', folder]);
    const staged = join(folder, 'package');
    run(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', join(root, 'tsconfig.json'), '--declaration', 'false',
      '--sourceMap', 'false', '--incremental', 'false', '--tsBuildInfoFile', 'null', '--outDir', join(staged, 'dist')]);
    // Who installs the package reads its declarations, and the sources in the repository; a device stores and loads these.
    minify(join(staged, 'dist'));
    minify(join(staged, 'scripts'));
    minify(join(staged, 'deploy', 'dashboard', 'public'));
    const { prepack, prepublishOnly, pack, ...scripts } = manifest.scripts; // eslint-disable-line @typescript-eslint/no-unused-vars
    const optionalDependencies = Object.fromEntries(Object.keys(PLATFORMS).map((platform) => [packageName(platform), manifest.version]));
    const { devDependencies, ...rest } = manifest; // eslint-disable-line @typescript-eslint/no-unused-vars
    writeFileSync(join(staged, 'package.json'), `${JSON.stringify({ ...rest, scripts: { install: scripts.install }, optionalDependencies }, null, 2)}\n`);
    return npmPack(staged, out, '--ignore-scripts');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

try {
  const { values } = parseArgs({ options: { out: { type: 'string', default: join(root, 'build', 'packages') }, platforms: { type: 'string', default: Object.keys(PLATFORMS).join(',') } } });
  const unknown = values.platforms.split(',').filter((platform) => !Object.hasOwn(PLATFORMS, platform) && platform !== '');
  if (unknown.length > 0) throw new Error(`Expected some of ${Object.keys(PLATFORMS).join(', ')} for --platforms but received ${unknown.join(', ')}`);
  ensureSetup();
  const out = resolve(values.out);
  mkdirSync(out, { recursive: true });
  const tarballs = [...values.platforms.split(',').filter((platform) => platform !== '').map((platform) => packPlatform(platform, out)), packMain(out)];
  for (const path of tarballs) log(`${path} (${statSync(path).size} bytes)`);
} catch (error) {
  log(error.message);
  process.exitCode = 1;
}
