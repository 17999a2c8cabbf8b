/** What npm test is made of: suites side by side, native trees that are configured afresh when they are stale, and builds with progress. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../agent/support/tools.js';

interface Result { suite: string; passed: number; failed: number; skipped: number; reason?: string; seconds: number }
interface Suite { name: string; after?: string[]; provides?: boolean; run(): Promise<Partial<Result>> }

const root = fileURLToPath(new URL('../../', import.meta.url));
/** A module of scripts/lib, which is plain JavaScript. */
const script = async <T>(name: string): Promise<T> => await import(pathToFileURL(join(root, 'scripts', 'lib', name)).href) as T;

describe('suites side by side', async () => {
  const { runSuites } = await script<{ runSuites(suites: Suite[], options: { slots: number }): Promise<Result[]> }>('suites.mjs');

  /** Suites that note how many run at a time, and in which order they begin. */
  function watched() {
    const state = { now: 0, most: 0, began: [] as string[] };
    const suite = (name: string, more: Partial<Suite> = {}): Suite => ({
      name,
      async run() {
        state.began.push(name);
        state.most = Math.max(state.most, ++state.now);
        await new Promise((resolve) => setImmediate(resolve));
        state.now--;
        return { passed: 1 };
      },
      ...more,
    });
    return { state, suite };
  }

  it('run as many at a time as there are slots, and come back in the order given', async () => {
    const { state, suite } = watched();
    const results = await runSuites(['a', 'b', 'c', 'd', 'e'].map((name) => suite(name)), { slots: 2 });
    expect(state.most).toBe(2);
    expect(results.map((result) => result.suite)).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(results.every(({ passed, failed }) => passed === 1 && failed === 0)).toBe(true);
  });

  it('wait for what they need, while others go first', async () => {
    const { state, suite } = watched();
    await runSuites([suite('ledger', { after: ['kernels'] }), suite('kernels', { after: ['build'] }), suite('build'), suite('lint')], { slots: 1 });
    expect(state.began).toEqual(['build', 'kernels', 'ledger', 'lint']);
  });

  it('fail by name when what they need was not built, and when they throw', async () => {
    const { suite } = watched();
    const broken = suite('build', { provides: true, run: () => Promise.reject(new Error('no compiler')) });
    const results = await runSuites([broken, suite('kernels', { after: ['build'] }), suite('lint')], { slots: 2 });
    expect(results[0]).toMatchObject({ failed: 1, reason: 'no compiler' });
    expect(results[1]).toMatchObject({ failed: 1, passed: 0, reason: 'not run, because "build" failed' });
    expect(results[2]).toMatchObject({ failed: 0, passed: 1 });
  });

  it('run what only reads the others even when they failed', async () => {
    const { suite } = watched();
    const results = await runSuites([suite('kernels', { run: () => Promise.resolve({ failed: 2 }) }), suite('ledger', { after: ['kernels'] })], { slots: 2 });
    expect(results[1]).toMatchObject({ passed: 1, failed: 0 });
  });

  it('are refused when they wait for each other', async () => {
    const { suite } = watched();
    await expect(runSuites([suite('a', { after: ['b'] }), suite('b', { after: ['a'] })], { slots: 2 })).rejects.toThrow('wait for each other: a, b');
  });
});

describe('a native tree', async () => {
  const { removeStale, rememberToolchain, whyStale } = await script<{
    whyStale(folder: string, sources: string, environment?: Record<string, string>): string | undefined;
    removeStale(folder: string, sources: string): string | undefined;
    rememberToolchain(folder: string, environment?: Record<string, string>): void;
  }>('native-tree.mjs');

  /** A checkout with a tree that CMake configured in it. Node stands for the compiler: it is there, and says its version. */
  function checkout(): { folder: string; sources: string } {
    const parent = temporaryFolder(), folder = join(parent, 'build', 'native-release'), sources = join(parent, 'kernels');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'CMakeCache.txt'),
      `CMAKE_CXX_COMPILER:FILEPATH=${process.execPath}\nCMAKE_CACHEFILE_DIR:INTERNAL=${folder}\nCMAKE_HOME_DIRECTORY:INTERNAL=${sources}\n`);
    return { folder, sources };
  }

  it('is kept as long as nothing has changed', () => {
    const { folder, sources } = checkout();
    rememberToolchain(folder);
    expect(removeStale(folder, sources)).toBeUndefined();
    expect(existsSync(folder)).toBe(true);
  });

  it('is configured afresh in a copied or moved checkout', () => {
    const { folder, sources } = checkout();
    const copy = temporaryFolder();
    cpSync(join(folder, '..', '..'), copy, { recursive: true });
    expect(removeStale(join(copy, 'build', 'native-release'), join(copy, 'kernels'))).toBe(`it was configured for ${sources}`);
    expect(existsSync(join(copy, 'build', 'native-release'))).toBe(false);
  });

  it('is configured afresh for another compiler, or another version of it', () => {
    const { folder, sources } = checkout();
    rememberToolchain(folder, {});
    expect(whyStale(folder, sources, { CXX: 'clang++' })).toBe('CXX was "" then');
    const stamp = join(folder, '.sterna-toolchain');
    writeFileSync(stamp, readFileSync(stamp, 'utf8').replace(process.version, 'v1.0.0'));
    expect(whyStale(folder, sources, {})).toBe('its compiler was v1.0.0 then');
    writeFileSync(join(folder, 'CMakeCache.txt'), readFileSync(join(folder, 'CMakeCache.txt'), 'utf8').replace(process.execPath, '/no/compiler'));
    expect(whyStale(folder, sources, {})).toBe('its compiler /no/compiler is gone');
  });

  it('is kept when a toolchain file names its compiler, and the cache none', () => {
    const { folder, sources } = checkout();
    const cache = join(folder, 'CMakeCache.txt');
    writeFileSync(cache, readFileSync(cache, 'utf8').replace(/^CMAKE_CXX_COMPILER:.*\n/, ''));
    rememberToolchain(folder, {});
    expect(whyStale(folder, sources, {})).toBeUndefined();
  });
});

describe('the progress of a build', () => {
  /** A build that prints `text` and ends with `code`. */
  function build(text: string, code: number): { stderr: string; log: string; status: number | null; file: string } {
    const file = join(temporaryFolder(), 'build.log');
    const command = `process.stdout.write(${JSON.stringify(text)}); process.exitCode = ${code}`;
    const { stderr, status } = spawnSync(process.execPath, [join(root, 'scripts', 'lib', 'progress.mjs'), file, 'native build', process.execPath, '-e', command], { encoding: 'utf8' });
    return { stderr, status, file, log: readFileSync(file, 'utf8') };
  }
  const ninja = Array.from({ length: 112 }, (_, i) => `[${i + 1}/112] Building CXX object ${i}.o\n`).join('');

  it('is a few lines where there is no terminal, and the output is in the file', () => {
    expect(build(ninja, 0)).toMatchObject({
      status: 0, log: ninja, stderr: [25, 50, 75, 100].map((percent) => `sterna: native build: ${percent} %\n`).join(''),
    });
    expect(build('[ 30%] Building a.o\n[100%] Built target a\n', 0).stderr).toBe('sterna: native build: 30 %\nsterna: native build: 100 %\n');
  });

  it('ends with what failed, and with the file that has the rest', () => {
    const { stderr, status, file } = build('[1/2] Building a.o\na.cpp:1:1: error: no such thing\n', 3);
    expect(status).toBe(1);
    expect(stderr).toContain('a.cpp:1:1: error: no such thing');
    expect(stderr).toContain(`failed with exit code 3. The whole output is in ${file}`);
  });
});

describe('npm in this checkout', () => {
  it('knows every key of .npmrc, so that it does not warn', () => {
    const { stderr } = spawnSync('npm', ['prefix'], { cwd: root, encoding: 'utf8' });
    expect(stderr).not.toContain('Unknown project config');
  });

  it('runs no install script that downloads: neither the npm that reads allowScripts nor an older one, which goes by the lock file', () => {
    const read = (name: string) => JSON.parse(readFileSync(join(root, name), 'utf8')) as Record<string, Record<string, { hasInstallScript?: boolean } | undefined>>;
    expect(read('package.json')['allowScripts']).toMatchObject({ 'onnxruntime-node': false, 'better-sqlite3': true });
    expect(read('package-lock.json')['packages']?.['node_modules/onnxruntime-node']).not.toHaveProperty('hasInstallScript');
    expect(readdirSync(join(root, 'node_modules', 'onnxruntime-node', 'bin', 'napi-v6', process.platform, process.arch)).length).toBeGreaterThan(0);
  });
});

describe('the report of vitest', async () => {
  const { countsOf, unhandledErrors } = await script<{ unhandledErrors(output: string): string[]; countsOf(report: object, status: number, root: string): { failed: number; failures: string[]; notes: string[]; retried: string[] } }>('vitest-report.mjs');
  const counts = { numPassedTests: 1, numFailedTests: 1, numPendingTests: 1, numTodoTests: 0, numFailedTestSuites: 1 };

  it('names what failed or passed only at the second try with the first line of the reason, and what was skipped', () => {
    const assertionResults = [
      { status: 'passed', ancestorTitles: [], title: 'a', fullName: 'a', failureMessages: [] },
      { status: 'passed', ancestorTitles: [], title: 'b', fullName: 'b', failureMessages: ['Error: too late'] },
      { status: 'failed', ancestorTitles: ['sums'], title: 'add', fullName: 'sums add', failureMessages: ['\u001b[31mexpected 3 to be 4\u001b[39m\n    at x.ts:1'] },
      { status: 'skipped', ancestorTitles: ['videos (no ffmpeg)'], title: 'play', fullName: 'videos play', failureMessages: [] },
    ];
    expect(countsOf({ ...counts, testResults: [{ name: '/x/test/a.test.ts', status: 'failed', assertionResults }] }, 1, '/x')).toEqual({
      passed: 1, failed: 1, skipped: 1, notes: ['skip test/a.test.ts: videos (no ffmpeg)'], failures: ['fail test/a.test.ts: sums add: expected 3 to be 4'],
      retried: ['passed at the second try test/a.test.ts: b: Error: too late'],
    });
  });

  it('names errors that no test awaited, each once', () => {
    const one = '\u001b[31m⎯⎯\u001b[39m\u001b[1m Unhandled Rejection \u001b[22m⎯⎯\n\u001b[31mError: client disconnecting\u001b[39m\n at x\n';
    expect(unhandledErrors(`${one}${one}`)).toEqual(['fail unhandled: Error: client disconnecting']);
  });

  it('names a file that could not be loaded', () => {
    const report = { ...counts, numFailedTests: 0, testResults: [{ name: '/x/test/b.test.ts', status: 'failed', message: 'no such module', assertionResults: [] }] };
    expect(countsOf(report, 1, '/x')).toMatchObject({ failed: 1, failures: ['fail test/b.test.ts: no such module'] });
  });
});
