/**
 * What `npm run pack` writes, as a stranger installs it: in an empty folder, from the tarballs, with the prebuilt addon and from source. Dependencies
 * come from npm's cache or the registry; where neither has them, the tests are skipped by name. The build from source is of the reference kernels
 * alone (STERNA_CMAKE_ARGS): it takes the same way as the full one, in a fraction of the time.
 */
import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, type TestContext } from 'vitest';
import { projectFolder } from '../../deploy/demo/folder.js';
import { optionalPackages } from '../../runtime/optional-package.js';
import { modelBytes, node, randomTensor } from '../runtime/support/models.js';

const root = projectFolder();
const platform = `${process.platform}-${process.arch}`;
const built = existsSync(join(root, 'dist', 'runtime', 'index.js')) && ['linux-x64', 'linux-arm64'].includes(platform);
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string; peerDependencies: Record<string, string>; dependencies: Record<string, string> };

/** Releases that npm's own packages bring; the one that runs the tests is taken as it is. */
const nodeVersions = ['20.19.5', '22.20.0', '24.9.0'];

function run(command: string, args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = {}): SpawnSyncReturns<string> {
  return spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 1 << 28, env: { ...process.env, ...env } });
}

const npmInstall = (cwd: string, packages: readonly string[], env: NodeJS.ProcessEnv = {}, ...options: string[]) =>
  run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '--fetch-retries=0', '--loglevel=error', ...options, ...packages], cwd, env);

const unreachable = /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENOTCACHED|ENETUNREACH|ERR_SOCKET_TIMEOUT/;

/** 12,544 weights are more than what is compiled in place: the thread that compiles has to be in the package. */
const model = modelBytes({
  inputs: { x: [1, 112] }, constants: { w: randomTensor([112, 112], 1) },
  nodes: [node('MatMul', ['x', 'w'], ['product']), node('Relu', ['product'], ['y'])], outputs: ['y'],
});

const infer = `
  const session = await createSession('model.onnx');
  const { y } = await session.run({ x: { type: 'float32', dims: [1, 112], data: new Float32Array(112).fill(1) } });
  const ran = [y.dims.join('x'), y.data.some((value) => value > 0), session.stats.isa];
  await session.close();`;
const programs = {
  'main.mjs': `import { createSession } from 'sterna';
    import 'sterna/kernels'; import 'sterna/media'; import 'sterna/pipeline'; import 'sterna/package';${infer} console.log(ran.join(' '));`,
  'main.cjs': `const { createSession } = require('sterna');
    for (const part of ['kernels', 'media', 'pipeline', 'package']) if (Object.keys(require('sterna/' + part)).length === 0) throw new Error(part);
    (async () => {${infer} console.log(ran.join(' ')); })();`,
  'worker.mjs': `import { Worker, isMainThread, parentPort } from 'node:worker_threads';
    import { createSession } from 'sterna';
    if (isMainThread) new Worker(new URL(import.meta.url)).on('message', (text) => console.log(text));
    else {${infer} parentPort.postMessage(ran.join(' ')); }`,
};

/** About what an application would write; every sub-path is used. */
const typedProgram = `
import { createSession, RuntimeError, type Session, type SessionOptions, type Tensor } from 'sterna';
import { describeCpu, type Isa } from 'sterna/kernels';
import { openSource, type SourceOptions } from 'sterna/media';
import { createPipeline, openGallery } from 'sterna/pipeline';
import { openPackage, type ModelPackage } from 'sterna/package';

export async function infer(path: string, data: Float32Array): Promise<Tensor | undefined> {
  const options: SessionOptions = { threads: 2 };
  const session: Session = await createSession(path, options);
  const outputs = await session.run({ x: { type: 'float32', dims: [1, 112], data } });
  await session.close();
  return outputs['y'];
}
export async function watch(file: string, input: string, options: SourceOptions): Promise<number> {
  const modelPackage: ModelPackage = await openPackage(file);
  const pipeline = await createPipeline(modelPackage, { gallery: openGallery(':memory:') });
  for await (const frame of openSource(input, options)) return (await pipeline.process(frame)).totalMs;
  throw new RuntimeError('E_MEDIA', 'no frame');
}
export const isa: Isa = describeCpu().selected;
// @ts-expect-error no such option: the declarations are not \`any\`
void createSession('model.onnx', { thread: 2 });
`;

const parent = mkdtempSync(join(tmpdir(), 'sterna-pack-test-'));
const tarballs = join(parent, 'tarballs');
const mainTarball = join(tarballs, `sterna-${manifest.version}.tgz`);
const platformTarball = join(tarballs, `sterna-kernels-${platform}-${manifest.version}.tgz`);
const prebuilt = join(parent, 'prebuilt');
let offline: string | undefined;

function project(folder: string): string {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "name": "application", "private": true }');
  writeFileSync(join(folder, 'model.onnx'), model);
  for (const [name, text] of Object.entries(programs)) writeFileSync(join(folder, name), text);
  return folder;
}

function needInstalled(context: TestContext): void {
  if (offline !== undefined) context.skip(`skipped: npm has not all dependencies: ${offline}`);
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

/** Node of a version: this one, or npm's, kept in the cache. */
function nodeOf(version: string): string | undefined {
  if (version.split('.')[0] === process.versions.node.split('.')[0]) return process.execPath;
  const folder = join(root, '.cache', 'node', version);
  const binary = join(folder, 'node_modules', `node-${platform}`, 'bin', 'node');
  mkdirSync(folder, { recursive: true });
  if (!existsSync(binary)) npmInstall(folder, [`node-${platform}@${version}`], {}, '--ignore-scripts', '--prefix', folder);
  return existsSync(binary) ? binary : undefined;
}

describe.skipIf(!built)(`the packed library${built ? '' : ` (skipped: npm run build, on Linux, x64 or arm64; this is ${platform})`}`, () => {
  beforeAll(() => {
    const packed = run(process.execPath, [join(root, 'scripts', 'pack.mjs'), '--platforms', platform, '--out', tarballs], root);
    expect(packed.status, packed.stderr).toBe(0);
    const installed = npmInstall(project(prebuilt), [platformTarball, mainTarball]);
    if (unreachable.test(installed.stderr)) offline = unreachable.exec(installed.stderr)?.[0];
    else expect(installed.status, installed.stderr).toBe(0);
  }, 600_000);
  afterAll(() => rmSync(parent, { recursive: true, force: true }));

  it('holds code, declarations and native sources, no tests, and names its platforms', () => {
    const list = run('tar', ['-tzf', mainTarball], parent).stdout.split('\n');
    for (const wanted of ['dist/runtime/index.js', 'dist/runtime/index.d.ts', 'dist/deploy/cli/main.js', 'dist/agent/main.js', 'deploy/sound/siren/siren.onnx', 'dist/runtime/lower/compile-start.bundle.cjs', 'dist/runtime/lower/compile-worker.bundle.cjs.gz', 'dist/agent/inference/adapt-main.bundle.js', 'kernels/CMakeLists.txt', 'kernels/families/gemm_q8/ref.cpp', 'LICENSE']) {
      expect(list).toContain(`package/${wanted}`);
    }
    expect(list.filter((path) => /^package\/(test|node_modules|build|\.)|\.map$|\.test\.|(?<!\.d)\.ts$/.test(path))).toEqual([]);
    // What judges the project, and what trains its own models of sound, needs a checkout.
    expect(list.filter((path) => /dist\/.*((bench|train)-(?!suite)|recipe|scenes)/.test(path))).toEqual([]);
    const compiled = filesBelow(join(root, 'dist')).filter((path) => path.endsWith('.js')).length;
    expect(list.filter((path) => /^package\/dist\/.*\.js$/.test(path)).length).toBeLessThan(compiled / 3);
    const packed = JSON.parse(run('tar', ['-xzOf', mainTarball, 'package/package.json'], parent).stdout) as Record<string, Record<string, string>>;
    expect(packed['optionalDependencies']).toEqual({ 'sterna-kernels-linux-x64': manifest.version, 'sterna-kernels-linux-arm64': manifest.version });
    expect(packed['devDependencies']).toBeUndefined();
  });

  it('has at most 2 MB of JavaScript, and 3 MB of native code', () => {
    const unpacked = join(parent, 'unpacked');
    mkdirSync(unpacked);
    for (const tarball of [mainTarball, platformTarball]) expect(run('tar', ['-xzf', tarball, '-C', unpacked], parent).status).toBe(0);
    const bytes = filesBelow(join(unpacked, 'package')).filter((path) => /\.[cm]?js$/.test(path)).reduce((sum, path) => sum + statSync(path).size, 0);
    expect(bytes).toBeLessThanOrEqual(2_000_000);
    expect(statSync(join(unpacked, 'package', 'sterna.node')).size).toBeLessThanOrEqual(3_000_000);
  });

  it('says how to install the optional packages in the versions that its manifest wants', () => {
    expect(manifest.peerDependencies).toEqual(optionalPackages);
  });

  describe.each(nodeVersions)('on Node %s', (version) => {
    it.for(Object.keys(programs))('runs %s with the prebuilt addon', { timeout: 300_000 }, (program, context) => {
      needInstalled(context);
      const binary = nodeOf(version) ?? context.skip(`skipped: npm cannot fetch node-${platform}@${version}`);
      const { status, stdout, stderr } = run(binary, [program], prebuilt);
      expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
      expect(stdout).toMatch(/^1x112 true \w+\n$/);
    });
  });

  it('is checked by TypeScript against its declarations, without @types of anything and with library checks', (context) => {
    needInstalled(context);
    writeFileSync(join(prebuilt, 'app.mts'), typedProgram);
    writeFileSync(join(prebuilt, 'app2.cts'), "import sterna = require('sterna');\nexport const open: typeof sterna.createSession = sterna.createSession;\n");
    const compilerOptions = { noEmit: true, strict: true, skipLibCheck: false, types: [], target: 'es2022', module: 'nodenext' };
    writeFileSync(join(prebuilt, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['app.mts', 'app2.cts'] }));
    const { status, stdout } = run(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', '.'], prebuilt);
    expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
  }, 300_000);

  it('runs the command line as it is, without a lock file or build tools', (context) => {
    needInstalled(context);
    const sterna = (...args: string[]) => run(process.execPath, [join(prebuilt, 'node_modules', 'sterna', 'scripts', 'sterna.mjs'), ...args], prebuilt, { PATH: '' });
    expect(sterna('--version')).toMatchObject({ status: 0, stdout: `${manifest.version}\n`, stderr: '' });
    expect(sterna('--help').stdout).toContain('build-native');
    expect(sterna('--help').stdout).not.toContain('train-siren');
    expect(sterna('inspect', 'model.onnx', '--json').stdout).toContain('"macs":12544');
    expect(sterna('agent')).toMatchObject({ status: 4, stderr: expect.stringContaining('npm install better-sqlite3@') as string });
  }, 300_000);

  it('builds its addon from source when no prebuilt one fits, and says what it tried and what to do when it has none', (context) => {
    needInstalled(context);
    const folder = project(join(parent, 'source'));
    const env = { STERNA_CMAKE_ARGS: '-DSTERNA_ISA_UNITS=OFF' };
    const installed = npmInstall(folder, [mainTarball], { ...env, STERNA_SKIP_BUILD: '1' }, '--omit=optional');
    expect(installed.status, installed.stderr).toBe(0);
    const before = run(process.execPath, ['main.mjs'], folder);
    expect(before.status).not.toBe(0);
    expect(before.stderr).toContain(`sterna-kernels-${platform}: the package is not installed`);
    expect(before.stderr).toContain(join('build', 'native-release', 'sterna.node'));
    expect(before.stderr).toContain('npx sterna build-native');
    const script = run(process.execPath, ['scripts/install.mjs'], join(folder, 'node_modules', 'sterna'), env);
    expect(script).toMatchObject({ status: 0, stdout: '', stderr: '' });
    expect(run(process.execPath, ['main.mjs'], folder)).toMatchObject({ status: 0, stdout: '1x112 true ref\n' });
    expect(readdirSync(join(folder, 'node_modules', 'sterna', 'build'))).toEqual(['native-release']);
  }, 600_000);
});
