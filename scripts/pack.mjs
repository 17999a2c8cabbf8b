// `npm run pack [-- --out DIR] [--platforms linux-x64,linux-arm64]`: the tarballs of a release. `sterna` names the packages with the prebuilt
// addons, of exactly its version, as optional dependencies; the checkout's package.json does not, since they are not on the registry before
// the release, and a lock file that names them could not be installed. Addons of other architectures come from Debian's cross compiler.
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { bundle } from './lib/bundle.mjs';
import { minify } from './lib/minify.mjs';
import { makeAddon, PLATFORMS } from './lib/platforms.mjs';
import { run, someOf } from './lib/run.mjs';
import { ensureSetup, log, root } from './lib/setup.mjs';

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** Commands that judge the project itself (`npm run bench:...`), or train its own models of sound: they need a checkout and are of no use to who installs the package. */
const checkoutOnly = [
  ...['fleet', 'governor', 'lab', 'opening', 'operators', 'pipeline', 'sound', 'transfer'].map((name) => `bench-${name}`), 'train-siren', 'train-sound',
].map((name) => `deploy/cli/commands/${name}.js`);

const packageName = (platform) => `sterna-kernels-${platform}`;

/** Packs a folder. @returns the tarball's path */
function npmPack(folder, out, ...options) {
  const name = run('npm', ['pack', '--pack-destination', out, '--loglevel=error', ...options], { cwd: folder }).trim().split('\n').at(-1);
  return join(out, name);
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

function compress(path) {
  writeFileSync(`${path}.gz`, gzipSync(readFileSync(path), { level: 9 }));
  rmSync(path);
}

/** The main package: what `npm pack` makes of the checkout, with the platforms' packages among its dependencies. */
async function packMain(out) {
  const folder = mkdtempSync(join(tmpdir(), 'sterna-pack-'));
  try {
    run('tar', ['-xzf', npmPack(root, folder), '-C', folder]);
    const [staged, dist] = [join(folder, 'package'), join(folder, 'package', 'dist')];
    for (const path of readdirSync(dist, { recursive: true }).filter((name) => name.endsWith('.js'))) rmSync(join(dist, path));
    // Who installs the package reads its declarations, and the sources in the repository; a device stores and loads these.
    await bundle(join(root, 'dist'), dist, checkoutOnly);
    compress(join(dist, 'runtime', 'lower', 'compile-worker.bundle.cjs'));
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
  const platforms = someOf(Object.keys(PLATFORMS), 'platforms', values.platforms.split(',').filter((platform) => platform !== ''));
  ensureSetup({ everyCpu: true });
  const out = resolve(values.out);
  mkdirSync(out, { recursive: true });
  const tarballs = [...platforms.map((platform) => packPlatform(platform, out)), await packMain(out)];
  for (const path of tarballs) log(`${path} (${statSync(path).size} bytes)`);
} catch (error) {
  log(error.message);
  process.exitCode = 1;
}
