import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, truncateSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { describeCpu } from '../../../kernels/binding/index.js';
import { openNative } from '../../../runtime/engines/native.js';
import type { RuntimeError } from '../../../runtime/errors.js';
import type { SessionOptions } from '../../../runtime/session-types.js';
import { floats, modelBytes, node, randomInts, randomTensor, type ModelSpec } from '../support/models.js';
import { temporaryFolder } from '../../support/folder.js';
import { nativeMissing } from '../support/native.js';
import { asTensor } from '../../../runtime/tensor.js';

const skipped = nativeMissing === undefined ? '' : ` (${nativeMissing})`;

/** Quantized and float layers: a spatial and a depthwise convolution in 8 bits, a fully connected one in float. */
const net: ModelSpec = {
  inputs: { x: ['batch', 3, 8, 6] },
  constants: {
    s: floats([], 0.02), z: randomInts('uint8', [], 1, 128, 128), ws: floats([], 0.01), wz: randomInts('int8', [], 1, 0, 0),
    w: randomInts('int8', [16, 3, 3, 3], 2, -127, 127), d: randomInts('int8', [16, 1, 3, 3], 3, -127, 127), v: randomTensor([5, 16], 4),
  },
  nodes: [
    node('QuantizeLinear', ['x', 's', 'z'], ['xq']), node('DequantizeLinear', ['xq', 's', 'z'], ['xd']),
    node('DequantizeLinear', ['w', 'ws', 'wz'], ['wd']), node('Conv', ['xd', 'wd'], ['c'], { pads: [1, 1, 1, 1] }),
    node('QuantizeLinear', ['c', 's', 'z'], ['cq']), node('DequantizeLinear', ['cq', 's', 'z'], ['cd']),
    node('DequantizeLinear', ['d', 'ws', 'wz'], ['dd']), node('Conv', ['cd', 'dd'], ['e'], { pads: [1, 1, 1, 1], group: 16 }),
    node('QuantizeLinear', ['e', 's', 'z'], ['eq']), node('DequantizeLinear', ['eq', 's', 'z'], ['ed']),
    node('GlobalAveragePool', ['ed'], ['pool']), node('Flatten', ['pool'], ['flat']), node('Gemm', ['flat', 'v'], ['y'], { transB: 1 }),
  ],
  outputs: ['y'],
};
const model = modelBytes(net);
const image = asTensor(randomTensor([1, 3, 8, 6], 7));

interface Opening {
  cached: boolean | undefined;
  warnings: string[];
  answer: unknown;
}

/** Opens the model through a cache, runs it once, and closes it. */
async function openOnce(dir: string, options: SessionOptions = {}, bytes: Uint8Array = model, feed = image): Promise<Opening> {
  const warnings: RuntimeError[] = [];
  const session = await openNative(bytes, { ...options, cache: { dir, onWarning: (warning) => warnings.push(warning), ...options.cache } });
  const answer = await session.run({ x: feed });
  await session.close();
  return { cached: session.stats.cached, warnings: warnings.map(({ code }) => code), answer };
}

const programs = (dir: string): string[] => readdirSync(dir).filter((name) => name.endsWith('.program')).sort();

/** The path of the only program in a folder. */
function onlyProgram(dir: string): string {
  const [name = '', ...others] = programs(dir);
  expect(others).toEqual([]);
  return join(dir, name);
}

describe.skipIf(nativeMissing !== undefined)(`the cache of programs${skipped}`, () => {
  let expected: unknown;
  beforeAll(async () => {
    const session = await openNative(model);
    expected = await session.run({ x: image });
    await session.close();
  });

  it('keeps a program, for its owner alone, and loads it with the same bits, names and memory', async () => {
    const dir = join(temporaryFolder(), 'a', 'b');
    expect(await openOnce(dir)).toEqual({ cached: false, warnings: [], answer: expected });
    expect(await openOnce(dir)).toEqual({ cached: true, warnings: [], answer: expected });
    expect(statSync(dir).mode & 0o777).toBe(0o700);
    expect(statSync(onlyProgram(dir)).mode & 0o777).toBe(0o600);
    const [plain, cached] = [await openNative(model), await openNative(model, { cache: { dir } })];
    expect(cached.inputs).toEqual(plain.inputs);
    expect(cached.outputs).toEqual(plain.outputs);
    const layers = async (session: typeof plain) => (await session.profile?.({ x: image }))?.map(({ name, op, kernel, macs }) => ({ name, op, kernel, macs }));
    expect(await layers(cached)).toEqual(await layers(plain));
    expect(cached.stats.arenaBytes).toBe(plain.stats.arenaBytes);
    await Promise.all([plain.close(), cached.close()]);
    expect(plain.stats.cached).toBeUndefined();
  });

  it('has a program for each model, ISA, number of threads, symbol and pixel contract', async () => {
    const dir = temporaryFolder();
    const other = modelBytes({ ...net, constants: { ...net.constants, v: randomTensor([5, 16], 5) } });
    await openOnce(dir);
    const others: [SessionOptions, Uint8Array?, typeof image?][] = [
      [{}, other], [{ threads: 2 }], [{ isa: 'ref' }], [{ symbols: { batch: 2 } }, model, asTensor(randomTensor([2, 3, 8, 6], 8))],
      [{ pixels: { x: { mean: [0, 0, 0], std: [1, 2, 3] } } }, model, { type: 'uint8', dims: [1, 8, 6, 3], data: new Uint8Array(144).fill(9) }],
    ];
    for (const [i, [options, bytes, feed]] of others.entries()) {
      const fresh = await openOnce(dir, options, bytes, feed);
      expect([fresh.cached, programs(dir).length]).toEqual([false, i + 2]);
      expect(await openOnce(dir, options, bytes, feed)).toEqual({ ...fresh, cached: true });
    }
    expect((await openOnce(dir, { memoryLimitBytes: 1 << 28 })).cached).toBe(true);
  });

  it('gives the same program for the hash of the model as for the model', async () => {
    const dir = temporaryFolder();
    await openOnce(dir);
    expect((await openOnce(dir, { modelSha256: createHash('sha256').update(model).digest('hex') })).cached).toBe(true);
    expect((await openOnce(dir, { modelSha256: '00'.repeat(32) })).cached).toBe(false);
  });

  it('compiles a program that is cut short anywhere again, and says so', async () => {
    const dir = temporaryFolder();
    await openOnce(dir);
    const path = onlyProgram(dir);
    const whole = readFileSync(path);
    const descriptionEnd = 72 + whole.readUInt32LE(12);
    for (const size of [0, 1, 8, 63, 64, 71, 72, 73, descriptionEnd - 1, descriptionEnd, descriptionEnd + 64, whole.length - 64, whole.length - 1]) {
      truncateSync(path, size);
      expect(await openOnce(dir), `${size} bytes`).toEqual({ cached: false, warnings: ['E_CACHE_DAMAGED'], answer: expected });
      expect(readFileSync(path).equals(whole), `${size} bytes`).toBe(true);
    }
    writeFileSync(path, Buffer.concat([whole, Buffer.alloc(1)]));
    expect((await openOnce(dir)).warnings).toEqual(['E_CACHE_DAMAGED']);
    expect((await openOnce(dir)).cached).toBe(true);
  });

  it('compiles a program with a changed byte anywhere again, and says so', async () => {
    const dir = temporaryFolder();
    await openOnce(dir);
    const path = onlyProgram(dir);
    const whole = readFileSync(path);
    const places = [...Array.from({ length: 18 }, (_, i) => i * 4), 72, 200, whole.length >> 1, whole.length - 1];
    for (const at of places) {
      const changed = Buffer.from(whole);
      changed[at] = (changed[at] ?? 0) ^ 0x20;
      writeFileSync(path, changed);
      expect(await openOnce(dir), `byte ${at}`).toEqual({ cached: false, warnings: ['E_CACHE_DAMAGED'], answer: expected });
    }
  });

  it('does not take the program of another key, or a file that is none', async () => {
    const dir = temporaryFolder();
    await openOnce(dir, { threads: 2 });
    const foreign = onlyProgram(dir);
    await openOnce(dir);
    const own = join(dir, programs(dir).find((name) => join(dir, name) !== foreign) ?? '');
    for (const spoil of [() => renameSync(foreign, own), () => writeFileSync(own, 'hello '.repeat(100)), () => writeFileSync(own, '')]) {
      spoil();
      expect(await openOnce(dir)).toEqual({ cached: false, warnings: ['E_CACHE_DAMAGED'], answer: expected });
    }
  });

  it('goes on without a folder that cannot be used', async () => {
    const file = join(temporaryFolder(), 'file');
    writeFileSync(file, '');
    expect(await openOnce(join(file, 'below'))).toEqual({ cached: false, warnings: ['E_CACHE_UNUSABLE', 'E_CACHE_UNUSABLE'], answer: expected });
    const dir = temporaryFolder();
    await openOnce(dir);
    const path = onlyProgram(dir);
    renameSync(path, `${path}.moved`);
    mkdirSync(path);
    expect(await openOnce(dir)).toEqual({ cached: false, warnings: ['E_CACHE_UNUSABLE', 'E_CACHE_UNUSABLE'], answer: expected });
  });

  it.skipIf(process.getuid?.() === 0)('reads a folder that is read-only, and warns once when it would write there (not as root)', async () => {
    const dir = temporaryFolder();
    await openOnce(dir);
    chmodSync(dir, 0o500);
    expect(await openOnce(dir)).toMatchObject({ cached: true, warnings: [] });
    expect(await openOnce(dir, { threads: 2 })).toMatchObject({ cached: false, warnings: ['E_CACHE_UNUSABLE'] });
    chmodSync(dir, 0o700);
  });

  it('removes what was not used for longest, and what dead processes left', async () => {
    const dir = temporaryFolder();
    await openOnce(dir, { threads: 1 });
    const bytes = statSync(onlyProgram(dir)).size;
    const [first = ''] = programs(dir);
    await openOnce(dir, { threads: 2 });
    const second = programs(dir).find((name) => name !== first) ?? '';
    const daysAgo = (days: number) => new Date(Date.now() - days * 24 * 3600_000);
    writeFileSync(join(dir, 'x.program.1.1.tmp'), 'half');
    utimesSync(join(dir, 'x.program.1.1.tmp'), daysAgo(1), daysAgo(1));
    writeFileSync(join(dir, 'y.program.1.1.tmp'), 'being written');
    utimesSync(join(dir, first), daysAgo(3), daysAgo(3));
    utimesSync(join(dir, second), daysAgo(2), daysAgo(2));
    await openOnce(dir, { threads: 1 }); // a use
    await openOnce(dir, { threads: 3, cache: { dir, maxBytes: Math.floor(2.5 * bytes) } });
    expect(existsSync(join(dir, first))).toBe(true);
    expect(existsSync(join(dir, second))).toBe(false);
    expect(programs(dir)).toHaveLength(2);
    expect(readdirSync(dir).filter((name) => name.endsWith('.tmp'))).toEqual(['y.program.1.1.tmp']);
  });

  it('does not keep a program that is larger than its bound', async () => {
    const dir = temporaryFolder();
    expect(await openOnce(dir, { cache: { dir, maxBytes: 1000 } })).toEqual({ cached: false, warnings: [], answer: expected });
    expect(programs(dir)).toEqual([]);
  });

  it('serves a session whose file is replaced or removed meanwhile', async () => {
    const dir = temporaryFolder();
    await openOnce(dir);
    const session = await openNative(model, { cache: { dir } });
    const path = onlyProgram(dir);
    writeFileSync(`${path}.new`, 'x');
    renameSync(`${path}.new`, path);
    expect(await session.run({ x: image })).toEqual(expected);
    await session.close();
  });

  it('is shared by sessions that open at once', async () => {
    const dir = temporaryFolder();
    const openings = await Promise.all(Array.from({ length: 6 }, () => openOnce(dir)));
    for (const { warnings, answer } of openings) expect([warnings, answer]).toEqual([[], expected]);
    expect(programs(dir)).toHaveLength(1);
    expect(readdirSync(dir)).toHaveLength(1);
  });

  it('reports a limit of memory as such', async () => {
    const dir = temporaryFolder();
    await openOnce(dir);
    await expect(openNative(model, { memoryLimitBytes: 64, cache: { dir } })).rejects.toThrow(expect.objectContaining({ code: 'E_PROGRAM_LIMIT' }));
    expect((await openOnce(dir)).cached).toBe(true);
  });

  it('names the ISA it has programs for', async () => {
    const dir = temporaryFolder();
    const { selected } = describeCpu();
    await openOnce(dir);
    expect((await openOnce(dir, { isa: selected })).cached).toBe(true);
  });
});

const built = new URL('../../../dist/runtime/engines/native.js', import.meta.url);
const processes = nativeMissing ?? (existsSync(built) ? undefined : 'the TypeScript is not built');

describe.skipIf(processes !== undefined)(`two processes with one cache${processes === undefined ? '' : ` (${processes})`}`, () => {
  it('write and read it at once', async () => {
    const folder = temporaryFolder();
    const [dir, path, main] = [join(folder, 'cache'), join(folder, 'model.onnx'), join(folder, 'main.mjs')];
    writeFileSync(path, model);
    writeFileSync(main, `
      import { readFileSync } from 'node:fs';
      const { openNative } = await import(${JSON.stringify(built.href)});
      const bytes = readFileSync(${JSON.stringify(path)});
      const problems = [];
      for (let i = 0; i < 12; i++) {
        const session = await openNative(bytes, { threads: 1 + (i % 2), cache: { dir: ${JSON.stringify(dir)}, maxBytes: i % 3 === 0 ? 30000 : 1e6, onWarning: (w) => problems.push(w.code) } });
        await session.run({ x: { type: 'float32', dims: [1, 3, 8, 6], data: new Float32Array(144) } });
        await session.close();
      }
      process.stdout.write(JSON.stringify(problems));`);
    const run = () => promisify(execFile)(process.execPath, [main]);
    const outputs = await Promise.all([run(), run()]);
    expect(outputs.map(({ stdout }) => stdout)).toEqual(['[]', '[]']);
  }, 60_000);
});
