// `npm run pack [-- --out DIR] [--platforms linux-x64,linux-arm64]`: the tarballs of a release. `sterna` names the packages with the prebuilt
// addons, of exactly its version, as optional dependencies; the checkout's package.json does not, since they are not on the registry before
// the release, and a lock file that names them could not be installed. Addons of other architectures come from Debian's cross compiler.
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { minify } from './lib/minify.mjs';
import { makeAddon, PLATFORMS } from './lib/platforms.mjs';
import { run, someOf } from './lib/run.mjs';
import { ensureSetup, log, root } from './lib/setup.mjs';

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** Below dist/deploy: what judges the project itself (`npm run bench:...`), and what trains its own models of sound. Both need a checkout and are of no use to who installs the package. */
const checkoutOnly = [
  ...['governor', 'lab', 'pipeline', 'sound', 'transfer'].flatMap((name) => [`bench/${name}`, `cli/commands/bench-${name}.js`]),
  ...['sound', 'siren'].map((name) => `cli/commands/train-${name}.js`),
  ...['clips', 'examples', 'learn', 'pitched', 'recipe', 'synthesize', 'teacher', 'siren/bank', 'siren/measure', 'siren/mixing', 'siren/recipe', 'siren/scenes'].map((name) => `sound/${name}.js`),
  'bench/operators.js', 'cli/commands/bench-operators.js',
];

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

/** The main package: what `npm pack` makes of the checkout, with the platforms' packages among its dependencies. */
function packMain(out) {
  const folder = mkdtempSync(join(tmpdir(), 'sterna-pack-'));
  try {
    run('tar', ['-xzf', npmPack(root, folder), '-C', folder]);
    const staged = join(folder, 'package');
    run(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', join(root, 'tsconfig.json'), '--declaration', 'false',
      '--sourceMap', 'false', '--incremental', 'false', '--tsBuildInfoFile', 'null', '--outDir', join(staged, 'dist')]);
    for (const path of checkoutOnly) rmSync(join(staged, 'dist', 'deploy', path), { recursive: true });
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
  const platforms = someOf(Object.keys(PLATFORMS), 'platforms', values.platforms.split(',').filter((platform) => platform !== ''));
  ensureSetup();
  const out = resolve(values.out);
  mkdirSync(out, { recursive: true });
  const tarballs = [...platforms.map((platform) => packPlatform(platform, out)), packMain(out)];
  for (const path of tarballs) log(`${path} (${statSync(path).size} bytes)`);
} catch (error) {
  log(error.message);
  process.exitCode = 1;
}
