// All the set-up of a checkout: lock-file install, native build, TypeScript build. Each step leaves a stamp of what it
// was made from, so that a second run skips what is done.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findProgram, requireNode, requireTools } from './host.mjs';
import { cachedIn, rememberToolchain, removeStale } from './native-tree.mjs';

export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const at = (...parts) => join(root, ...parts);

/** The tree of the addon. */
const release = 'native-release';

export const log = (line) => process.stderr.write(`sterna: ${line}\n`);

function run(command, args, options = {}) {
  const result = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], ...options });
  if (result.error) throw new Error(`${command} did not start: ${result.error.message}`);
  if (result.status !== 0) throw new Error(`${command} ${args.join(' ')} failed with exit code ${result.status ?? result.signal}`);
}

/** Runs a command, and beside it another one, which may fail. */
function runBeside([command, args], [other, otherArgs], otherLog, options) {
  run(process.execPath, [at('scripts', 'lib', 'beside.mjs'), JSON.stringify([command, ...args]), JSON.stringify([other, ...otherArgs]), otherLog], options);
}

function* filesBelow(folder, keep) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) {
      if (entry.name !== 'node_modules') yield* filesBelow(path, keep);
    } else if (keep.test(entry.name)) {
      yield path;
    }
  }
}

/** Fingerprint of files by path, size and modification time: cheap, and enough to see an edit or a pull. */
function fingerprint(folders, keep, extra = []) {
  const hash = createHash('sha256');
  hash.update(JSON.stringify([process.version, process.platform, process.arch, ...extra]));
  const paths = folders.flatMap((folder) => (statSync(at(folder)).isDirectory() ? [...filesBelow(at(folder), keep)] : [at(folder)]));
  for (const path of paths.sort()) {
    const { size, mtimeMs } = statSync(path);
    hash.update(`${relative(root, path)}\0${size}\0${mtimeMs}\n`);
  }
  return hash.digest('hex');
}

/** Whether the stamp says that the work was done for the same inputs, and `product` is there. */
const isDone = ({ stamp, product, inputs }) => existsSync(product) && existsSync(stamp) && readFileSync(stamp, 'utf8') === inputs();

/** Runs `work` unless it is done. */
function step(name, { stamp, product, inputs, work }) {
  if (isDone({ stamp, product, inputs })) return;
  const started = Date.now();
  log(`${name} ...`);
  work();
  mkdirSync(dirname(stamp), { recursive: true });
  writeFileSync(stamp, inputs());
  log(`${name}: done in ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

/** @param kernels the step that builds the addon */
function installPackages(kernels) {
  step('npm packages', {
    stamp: at('node_modules', '.sterna-stamp'),
    product: at('node_modules', 'typescript', 'package.json'),
    inputs: () => createHash('sha256')
      .update(readFileSync(at('package-lock.json'))).update(process.versions.modules).update(process.arch).digest('hex'),
    work() {
      // onnxruntime-node's install script would download GPU libraries; the CPU library is inside the package. A bare `npm ci` does not run it
      // either: package.json denies it (allowScripts), and for older npm the lock file does not mention it.
      const env = { ...process.env, ONNXRUNTIME_NODE_INSTALL: 'skip' };
      const install = ['npm', ['ci', '--no-fund', '--no-audit', '--loglevel=error']];
      if (isDone(kernels)) run(...install, { env, shell: process.platform === 'win32' });
      else runBeside(install, portableBuild(kernels.cmakeArguments), at('build', `${release}-portable.log`), { env });
    },
  });
}

/** Removes a native tree that was configured for another folder (a copied or moved checkout) or with another compiler. */
export function removeStaleTree(name) {
  const reason = removeStale(at('build', name), at('kernels'));
  if (reason !== undefined) log(`build/${name} is configured afresh: ${reason}`);
}

/** The command that configures a native tree. */
export function configureCommand(name, cmakeArguments = []) {
  removeStaleTree(name);
  const folder = at('build', name);
  const generator = existsSync(join(folder, 'CMakeCache.txt')) ? [] : ['-G', findProgram('ninja') ? 'Ninja' : 'Unix Makefiles'];
  return ['cmake', ['-S', at('kernels'), '-B', folder, ...generator, ...cmakeArguments]];
}

/** The command that builds a configured native tree. */
export function buildCommand(name, targets = [], jobs = availableParallelism()) {
  rememberToolchain(at('build', name));
  return ['cmake', ['--build', at('build', name), '--parallel', String(jobs), ...targets.flatMap((target) => ['--target', target])]];
}

/** Runs a command whose output goes to a file in build/, with a line of progress; the file is named when it fails. */
function runQuietly(label, logFile, [command, args]) {
  const { error, status, signal } = spawnSync(process.execPath, [at('scripts', 'lib', 'progress.mjs'), logFile, label, command, ...args], { cwd: root, stdio: ['ignore', 2, 2] });
  if (error) throw new Error(`${label} did not start: ${error.message}`);
  if (status !== 0) throw new Error(`${label} failed${signal ? ` with ${signal}` : ''}. The whole output is in ${logFile}`);
}

function configure(name, cmakeArguments) {
  runQuietly('configuring the native build', at('build', `${name}-configure.log`), configureCommand(name, cmakeArguments));
}

/** Configures and builds a native tree; returns its folder. */
export function buildNative(name, cmakeArguments = [], targets = []) {
  configure(name, cmakeArguments);
  runQuietly('native build', at('build', `${name}-build.log`), buildCommand(name, targets));
  return at('build', name);
}

/** Configures for what needs no npm package, which is everything but the addon's own sources. @returns the command that compiles it */
function portableBuild(cmakeArguments) {
  configure(release, [...cmakeArguments, '-DSTERNA_NODE=OFF']);
  return buildCommand(release, ['sterna_core']);
}

/** The step that builds the addon. A tree that has the kernels of every CPU keeps them; those that this CPU does not run take up to half of the time. */
function kernelsStep(everyCpu) {
  const units = everyCpu || cachedIn(at('build', release), 'STERNA_ISA_UNITS') === 'ON' ? 'ON' : 'NATIVE';
  const cmakeArguments = ['-DCMAKE_BUILD_TYPE=Release', `-DSTERNA_ISA_UNITS=${units}`];
  return {
    stamp: at('build', release, '.sterna-stamp'),
    product: at('build', release, 'sterna.node'),
    cmakeArguments,
    inputs: () => fingerprint(['kernels'], /\.(cpp|h|cmake|txt|json)$/, cmakeArguments),
    work: () => buildNative(release, [...cmakeArguments, '-DSTERNA_NODE=ON'], ['sterna_node']),
  };
}

function buildTypeScript() {
  step('TypeScript', {
    stamp: at('dist', '.sterna-stamp'),
    product: at('dist', 'agent', 'inference', 'adapt-main.bundle.js'),
    inputs: () => fingerprint(['kernels', 'runtime', 'agent', 'deploy', 'tsconfig.json', 'package-lock.json', 'scripts/bundle-worker.mjs', 'scripts/lib/code-cache.mjs'], /\.ts$/),
    work() {
      run(process.execPath, [at('node_modules', 'typescript', 'bin', 'tsc'), '-p', at('tsconfig.json')]);
      run(process.execPath, [at('scripts', 'bundle-worker.mjs')]);
    },
  });
}

/**
 * Everything that `npm start`, `npm test` and `npx sterna` need. Throws an Error that says what to install.
 * @param everyCpu whether kernels that this CPU does not run are built, too: for what is packed, or tested otherwise
 */
export function ensureSetup({ everyCpu = false } = {}) {
  requireNode(20);
  requireTools(['g++', 'make', 'cmake'], log);
  const kernels = kernelsStep(everyCpu);
  installPackages(kernels);
  step('native kernels', kernels);
  buildTypeScript();
}
