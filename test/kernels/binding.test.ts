import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';

import { describeCpu, KernelError, loadProgram, measurePeaks, type NativeProgram, readCores, stripBytes } from '../../kernels/binding/index.js';
import { candidates, loadAddon, remedy, requireFirst } from '../../kernels/binding/load.js';
import { allFinite, copyBytes, releaseProgramPages } from '../../kernels/binding/memory.js';
import { f, geometry, ProgramWriter } from './support/program-writer.js';

/** y = x * 2 + 1 on [4] floats. */
function smallProgram(): Uint8Array {
  const p = new ProgramWriter();
  const x = p.input('f32', [4]);
  const doubled = p.tensor('f32', [4]);
  p.op('binaryF32', [x, p.constant(Float32Array.of(2))], doubled, [2, 0, f(0), f(0)]);
  p.op('binaryF32', [doubled, p.constant(Float32Array.of(1))], p.output('f32', [4]), [0, 0, f(0), f(0)]);
  return p.build();
}

/** A chain of fully connected layers that takes some 100 ms with the reference kernels. */
function slowProgram(): Uint8Array {
  const p = new ProgramWriter();
  const size = 1024;
  let x = p.input('u8', [1, 8, 8, size]);
  const weights = p.constant(new Int8Array(size * size).fill(1), [size, 1, 1, size]);
  const scale = p.constant(new Float32Array(size).fill(1e-3));
  for (let i = 0; i < 6; ++i) {
    const y = i === 5 ? p.output('u8', [1, 8, 8, size]) : p.tensor('u8', [1, 8, 8, size]);
    p.op('convQ8', [x, weights, undefined, scale], y, [...geometry(), 0, 0, 0, 255, 0, 0, 0, 0, f(1), f(1)]);
    x = y;
  }
  return p.build();
}

const open: NativeProgram[] = [];
function load(bytes: Uint8Array, options?: Parameters<typeof loadProgram>[1]): NativeProgram {
  const program = loadProgram(bytes, options);
  open.push(program);
  return program;
}
afterEach(async () => {
  await Promise.all(open.splice(0).map((program) => program.close()));
});

/** The code of the KernelError that `action` throws or rejects with. */
async function codeOf(action: () => unknown): Promise<string> {
  try {
    await action();
  } catch (error) {
    expect(error).toBeInstanceOf(KernelError);
    return error instanceof KernelError ? error.code : '';
  }
  return 'nothing was thrown';
}

describe('a loaded program', () => {
  it('says what it is', () => {
    const program = load(smallProgram(), { threads: 2, isa: 'ref' });
    expect(program.isa).toBe('ref');
    expect(program.threads).toBe(2);
    expect(program.kernels).toEqual(['binary_f32', 'binary_f32']);
    expect(program.arenaBytes).toBeGreaterThan(0);
    expect(program.scratchBytes).toBeGreaterThan(0);
    expect(program.packedBytes).toBeGreaterThan(0);
  });

  it('keeps its own thread and its workers on the CPUs it is given', async () => {
    const [cpu = -1] = readCores().map((core) => core.cpu);
    const pinned = () => readdirSync('/proc/self/task').filter((task) => new RegExp(`^Cpus_allowed_list:\\t${cpu}$`, 'm').test(readFileSync(`/proc/self/task/${task}/status`, 'utf8'))).length;
    const before = pinned();
    const program = loadAddon().loadProgram(smallProgram(), { threads: 3, cpus: [cpu] } as never);
    open.push(program);
    const y = new Float32Array(4);
    await program.run([Float32Array.of(1, 2, 3, 4)], [y]);
    await program.run([Float32Array.of(1, 2, 3, 4)], [y]);  // not within the call, short as it is
    expect([...y]).toEqual([3, 5, 7, 9]);
    await expect.poll(pinned).toBe(before + 3);
  });

  it('runs within the call when the last run was short enough', async () => {
    const settledAtOnce = async (maxBlockingMs: number): Promise<boolean> => {
      const program = load(smallProgram(), { maxBlockingMs });
      const y = new Float32Array(4);
      for (let run = 0; run < 2; run++) await program.run([Float32Array.of(1, 2, 3, 4)], [y]);
      y.fill(0);
      const running = program.run([Float32Array.of(1, 2, 3, 4)], [y]);
      const within = y[3] === 9;
      await running;
      return within;
    };
    expect(await settledAtOnce(Infinity)).toBe(true);
    for (const wrong of [-1, NaN, '2']) expect(() => load(smallProgram(), { maxBlockingMs: wrong as number })).toThrow(expect.objectContaining({ code: 'E_ARGUMENT' }));
  });

  it('writes outputs in place, from and to any kind of view', async () => {
    const program = load(smallProgram());
    const y = new Float32Array(6);
    await program.run([Float32Array.of(1, 2, 3, 4)], [y.subarray(1, 5)]);
    expect([...y]).toEqual([0, 3, 5, 7, 9, 0]);
    const unaligned = new Uint8Array(17).subarray(1);
    await program.run([Float32Array.of(1, 2, 3, 4)], [unaligned]);
    expect(new DataView(unaligned.buffer, 1).getFloat32(12, true)).toBe(9);
    await program.run([new DataView(Float32Array.of(5, 5, 5, 5).buffer)], [y.subarray(0, 4)]);
    expect([...y.subarray(0, 4)]).toEqual([11, 11, 11, 11]);
  });

  it('is the same from unaligned bytes', async () => {
    const bytes = smallProgram();
    const shifted = new Uint8Array(bytes.length + 3).subarray(3);
    shifted.set(bytes);
    const y = new Float32Array(4);
    await load(shifted).run([new Float32Array(4)], [y]);
    expect([...y]).toEqual([1, 1, 1, 1]);
  });

  it('times its ops', async () => {
    const program = load(smallProgram());
    const y = new Float32Array(4);
    const profile = await program.profile([Float32Array.of(1, 2, 3, 4)], [y]);
    expect([...y]).toEqual([3, 5, 7, 9]);
    expect(profile.map(({ op, opcode, kernel }) => ({ op, opcode, kernel }))).toEqual([
      { op: 0, opcode: 18, kernel: 'binary_f32' },
      { op: 1, opcode: 18, kernel: 'binary_f32' },
    ]);
    expect(profile.every((entry) => entry.ms >= 0)).toBe(true);
  });

  it('queues concurrent runs in order', async () => {
    const program = load(smallProgram());
    const outputs = Array.from({ length: 50 }, () => new Float32Array(4));
    const order: number[] = [];
    await Promise.all(outputs.map((y, i) => program.run([new Float32Array(4).fill(i)], [y]).then(() => order.push(i))));
    expect(outputs.map((y) => y[3])).toEqual(outputs.map((_, i) => i * 2 + 1));
    expect(order).toEqual([...order].sort((a, b) => a - b));
  });

  it('does not block the event loop', async () => {
    const program = load(slowProgram(), { isa: 'ref' });
    let turns = 0;
    const timer = setInterval(() => ++turns, 1);
    await program.run([new Uint8Array(65536)], [new Uint8Array(65536)]);
    clearInterval(timer);
    expect(turns).toBeGreaterThan(3);
  });
});

describe('arguments', () => {
  const x = new Float32Array(4);
  const y = new Float32Array(4);

  it('refuses wrong counts, sizes and values of run', async () => {
    const program = load(smallProgram());
    expect(await codeOf(() => program.run([], [y]))).toBe('E_ARGUMENT');
    expect(await codeOf(() => program.run([x, x], [y]))).toBe('E_ARGUMENT');
    expect(await codeOf(() => program.run([x], [new Float32Array(5)]))).toBe('E_ARGUMENT');
    expect(await codeOf(() => program.run([x.subarray(1)], [y]))).toBe('E_ARGUMENT');
    expect(await codeOf(() => Reflect.apply(program.run, program, [[{}], [y]]))).toBe('E_ARGUMENT');
    expect(await codeOf(() => Reflect.apply(program.run, program, []))).toBe('E_ARGUMENT');
  });

  it('refuses methods on anything but a program, and a program that loadProgram did not make', async () => {
    const program = load(smallProgram());
    for (const other of [undefined, 1, {}, new Map(), Object.create(program), new Proxy(program, {}), readFileSync]) {
      for (const method of [program.run, program.profile, program.close]) {
        expect(await codeOf(() => Reflect.apply(method as () => Promise<void>, other, [[x], [y]]))).toBe('E_ARGUMENT');
      }
    }
    const constructor = program.constructor as new (engine?: unknown) => unknown;
    for (const engine of [undefined, {}, program]) expect(await codeOf(() => new constructor(engine))).toBe('E_ARGUMENT');
    await program.run([x], [y]);
  });

  it('refuses a detached view', async () => {
    const program = load(smallProgram());
    const moved = new Float32Array(4);
    structuredClone(moved.buffer, { transfer: [moved.buffer] });
    expect(await codeOf(() => program.run([moved], [y]))).toBe('E_ARGUMENT');
  });

  it('refuses wrong options of loadProgram, and says what was expected', async () => {
    const nothing = { toString: (): string => { throw new Error('no text'); } };
    for (const options of [{ threads: Symbol('2') }, { threads: nothing }, { cpus: nothing }, { maxBlockingMs: nothing }]) {
      expect(await codeOf(() => Reflect.apply(loadProgram, undefined, [smallProgram(), options]))).toBe('E_ARGUMENT');
    }
    for (const threads of [0, 65, 1.5, NaN]) expect(await codeOf(() => loadProgram(smallProgram(), { threads }))).toBe('E_ARGUMENT');
    expect(() => loadProgram(smallProgram(), { threads: 0 })).toThrow('Expected an integer between 1 and 64 for threads but received 0');
    expect(await codeOf(() => Reflect.apply(loadProgram, undefined, ['no bytes']))).toBe('E_ARGUMENT');
    expect(await codeOf(() => loadProgram(smallProgram(), { memoryLimitBytes: 100 }))).toBe('E_PROGRAM_LIMIT');
    const missing = describeCpu().isas.find((isa) => !isa.runnable);
    if (missing) expect(await codeOf(() => loadProgram(smallProgram(), { isa: missing.isa }))).toBe('E_ISA');
  });

  it('names the op that a program cannot load', () => {
    const p = new ProgramWriter();
    p.op('unaryF32', [p.input('f32', [4])], p.output('f32', [4]), [99, f(0), f(0)]);
    expect(() => loadProgram(p.build())).toThrow(expect.objectContaining({ code: 'E_PROGRAM_OP', details: { op: 0 }, message: 'op 0 of the program: unknown unary function' }));
  });

  it('reports an index that is out of range at run time', async () => {
    const p = new ProgramWriter();
    p.op('gather', [p.constant(Float32Array.of(1, 2, 3)), p.input('s32', [1])], p.output('f32', [1]), [0]);
    const program = load(p.build());
    const result = new Float32Array(1);
    expect(await codeOf(() => program.run([Int32Array.of(3)], [result]))).toBe('E_ARGUMENT');
    await program.run([Int32Array.of(-1)], [result]);
    expect(result[0]).toBe(3);
  });
});

describe('measurePeaks', () => {
  it('times the instructions of an instruction set, and knows none of the reference', () => {
    const { selected } = describeCpu();
    for (const { instruction, format, macsPerSecond } of measurePeaks(selected)) {
      expect(instruction).not.toBe('');
      expect(['int8', 'float32']).toContain(format);
      expect(macsPerSecond).toBeGreaterThan(0);
    }
    if (selected !== 'ref') expect(new Set(measurePeaks(selected).map(({ format }) => format))).toEqual(new Set(['int8', 'float32']));
    expect(measurePeaks('ref')).toEqual([]);
  });

  it('refuses one that does not run here', async () => {
    expect(await codeOf(() => measurePeaks(process.arch === 'arm64' ? 'avx2' : 'neon'))).toBe('E_ISA');
  });
});

describe('hostile programs', () => {
  it('a cut anywhere is a KernelError', async () => {
    const bytes = smallProgram();
    for (let size = 0; size < bytes.length; ++size) {
      expect(await codeOf(() => loadProgram(bytes.subarray(0, size)))).toBe('E_PROGRAM_MALFORMED');
    }
  });

  it('a changed byte is a KernelError, or a program that runs', async () => {
    const bytes = smallProgram();
    const codes = new Set<string>();
    for (let at = 0; at < bytes.length; ++at) {
      for (const value of [0xff, 0x7f, (bytes[at] ?? 0) ^ 1]) {
        const mutated = Uint8Array.from(bytes);
        mutated[at] = value;
        codes.add(await codeOf(async () => {
          await loadProgram(mutated).close();
        }));
      }
    }
    codes.delete('nothing was thrown');
    expect([...codes].every((code) => code.startsWith('E_'))).toBe(true);
    expect(codes).toContain('E_PROGRAM_VERSION');
    expect(codes).toContain('E_PROGRAM_LIMIT');
  });
});

describe('closing', () => {
  it('waits for what runs and what is queued, is idempotent, and refuses later runs', async () => {
    const program = loadProgram(slowProgram(), { isa: 'ref' });
    const done: string[] = [];
    const [x, y] = [new Uint8Array(65536), new Uint8Array(65536)];
    const runs = [program.run([x], [y]).then(() => done.push('first')), program.run([x], [y]).then(() => done.push('second'))];
    const closed = program.close().then(() => done.push('closed'));
    expect(await codeOf(() => program.run([x], [y]))).toBe('E_ARGUMENT');
    await Promise.all([...runs, closed, program.close()]);
    expect(done).toEqual(['first', 'second', 'closed']);
  });

  it('gives the memory back', async () => {
    const bytes = slowProgram();
    const rss: number[] = [];
    for (let i = 0; i < 60; ++i) {
      const program = loadProgram(bytes, { threads: 2 });
      await program.run([new Uint8Array(65536)], [new Uint8Array(65536)]);
      await program.close();
      if (i === 5 || i === 59) rss.push(process.memoryUsage().rss);
    }
    // Each load packs some 6 MB: 54 leaked ones would be 300 MB.
    expect((rss[1] ?? Infinity) - (rss[0] ?? 0)).toBeLessThan(60e6);
  }, 60_000);

  const folder = mkdtempSync(join(tmpdir(), 'sterna-program-'));
  const programFile = join(folder, 'slow.program');
  beforeAll(() => writeFileSync(programFile, slowProgram()));
  afterAll(() => rmSync(folder, { recursive: true }));

  const addon = candidates().find(({ path, refusal }) => refusal === undefined && existsSync(path))?.path ?? '';
  const script = `
    const { workerData, parentPort } = require('node:worker_threads');
    const [addon, file, state] = workerData ?? JSON.parse(process.argv[1]);
    const program = require(addon).loadProgram(require('node:fs').readFileSync(file), { threads: 2, isa: 'ref' });
    if (state === 'abandoned') {
      for (let i = 0; i < 12; ++i) void require(addon).loadProgram(require('node:fs').readFileSync(file)).run([new Uint8Array(65536)], [new Uint8Array(65536)]);
    }
    const run = () => program.run([new Uint8Array(65536)], [new Uint8Array(65536)]);
    run().then(() => {
      parentPort?.postMessage('ran');
      if (state === 'running') for (let i = 0; i < 20; ++i) void run();
      if (state === 'running' && !workerData) process.exit(0);
    });`;
  const argument = (state: string): string[] => [addon, programFile, state];

  it.each(['idle', 'running', 'abandoned'])('lets the process end with a program still open: %s', async (state) => {
    await expect(promisify(execFile)(process.execPath, ['-e', script, JSON.stringify(argument(state))], { timeout: 20_000 })).resolves.toBeDefined();
  });

  // Each runs for ever in a worker.
  const calls = {
    'of programs': `
      const { loadProgram } = require(addon), bytes = require('node:fs').readFileSync(file);
      const program = loadProgram(bytes, { threads: 2, isa: 'ref' });
      begin();
      const input = [new Uint8Array(65536)], output = [new Uint8Array(65536)];
      const calls = () => {
        for (let i = 0; i < 20; ++i) void program.run(input, output);
        void program.profile(input, output);
        void loadProgram(bytes, { isa: 'ref' }).close();
        try { program.run([], []); } catch {}
        setImmediate(calls);
      };
      calls();`,
    'that read options': `
      const { image } = require(addon);
      const background = new Int16Array(1), streaks = new Uint8Array(1);
      begin();
      for (;;) image.learnBackground(new Uint8Array(1), 1, 128, true, background, streaks);`,
    'that load the addon': `
      begin();
      for (;;) process.dlopen({ exports: {} }, addon);`,
  };

  it.each(Object.entries(calls))('survives workers that are terminated in the middle of calls %s', async (_, callsForEver) => {
    const worker = `
      const { workerData: [addon, file], parentPort } = require('node:worker_threads');
      const begin = () => parentPort.postMessage('begin');
      ${callsForEver}`;
    const terminations = `
      const { Worker } = require('node:worker_threads');
      (async () => {
        for (let i = 0; i < 8; ++i) {
          const worker = new Worker(${JSON.stringify(worker)}, { eval: true, workerData: JSON.parse(process.argv[1]) });
          await new Promise((done) => worker.once('message', done));
          await new Promise((done) => setTimeout(done, i % 10));
          await worker.terminate();
        }
        console.log('survived');
      })();`;
    const { stdout } = await promisify(execFile)(process.execPath, ['-e', terminations, JSON.stringify([addon, programFile])], { timeout: 110_000 });
    expect(stdout).toBe('survived\n');
  }, 120_000);

  it.each(['idle', 'running', 'abandoned'])('lets a worker thread end or be terminated: %s', async (state) => {
    const worker = new Worker(script, { eval: true, workerData: argument(state) });
    const exit = once(worker, 'exit');
    expect(await once(worker, 'message')).toEqual(['ran']);
    if (state === 'running') await worker.terminate();
    await exit;
  });
});

describe('the search for the addon', () => {
  afterEach(() => vi.unstubAllEnvs());

  it('starts with STERNA_ADDON, and lists every path with the remedy when there is none', () => {
    vi.stubEnv('STERNA_ADDON', '/no/such/sterna.node');
    const paths = candidates().map(({ path }) => path);
    expect(paths[0]).toBe('/no/such/sterna.node');
    expect(paths[1]).toContain(`sterna-kernels-${process.platform}-${process.arch}`);
    expect(paths.slice(2).every((path) => path.endsWith('sterna.node'))).toBe(true);
    const places = [{ path: '/no/such/a.node' }, { path: '/no/such/b.node', refusal: 'its package has version 9.0.0' }];
    expect(() => requireFirst(places, () => 'Build it with `npm run build`.')).toThrow(
      expect.objectContaining({
        code: 'E_NATIVE_MISSING',
        message: 'The native addon was not found. Tried:\n  /no/such/a.node: no such file\n  /no/such/b.node: its package has version 9.0.0\nBuild it with `npm run build`.',
      }),
    );
  });

  it('says why a file that is there does not load', () => {
    const folder = mkdtempSync(join(tmpdir(), 'sterna-addon-'));
    writeFileSync(join(folder, 'sterna.node'), 'not a library');
    expect(() => requireFirst([{ path: join(folder, 'sterna.node') }], () => '')).toThrow(/sterna\.node: .*(invalid ELF|not a mach-o|file too short|slice is not valid)/i);
    rmSync(folder, { recursive: true });
  });

  it('says that musl is not supported where the system has it, and does not say so here', () => {
    expect(remedy(true)).toMatch(/^This system has musl \(Alpine, OpenWrt\), which Sterna does not support.*glibc >= 2\.34/);
    expect(remedy()).toBe('Build it with `npm run build`.');
  });
});

describe('stripBytes', () => {
  const depthwise = { inputRows: 56, outputRows: 56, outputRowBytes: 1000, taps: 3, stride: 1 };

  it('is what the rows between the ops take when they fill 64 KiB, or one row where that takes more', () => {
    const before = { ...depthwise, outputRowBytes: 2000 };
    const pointwise = { ...depthwise, outputRowBytes: 500, taps: 1 };
    const bytes = stripBytes([before, depthwise, pointwise]);
    expect(bytes).toBeLessThanOrEqual(64 * 1024);
    expect(bytes).toBeGreaterThan(64 * 1024 - 3000 - 128); // one more row of both maps would not fit
    expect(stripBytes([{ ...depthwise, outputRowBytes: 1e6 }, pointwise])).toBeGreaterThan(1e6);
  });

  it('refuses what is no strip', () => {
    expect(() => stripBytes([depthwise])).toThrow(expect.objectContaining({ code: 'E_ARGUMENT' }));
    expect(() => stripBytes([depthwise, { ...depthwise, stride: 0 }])).toThrow(expect.objectContaining({ code: 'E_ARGUMENT' }));
  });
});

describe.skipIf(process.platform !== 'linux')('releaseProgramPages', () => {
  const residentFiles = (): number => Number(/^RssFile:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) * 1024;

  it('takes program pages out of memory, and what they do stays the same', async () => {
    const program = loadProgram(smallProgram());
    const before = residentFiles();
    const released = await releaseProgramPages();
    expect(released).toBeGreaterThan(4 << 20);
    expect(residentFiles()).toBeLessThan(before - released / 4); // Some of them are used again at once.
    const y = new Float32Array(4);
    await program.run([Float32Array.of(1, 2, 3, 4)], [y]);
    expect([...y]).toEqual([3, 5, 7, 9]);
  });

  it('can be called at the same time as itself', async () => {
    expect(await Promise.all([releaseProgramPages(), releaseProgramPages(), releaseProgramPages()])).toHaveLength(3);
  });
});

describe('allFinite', () => {
  it('finds one number that is none, wherever it is', () => {
    for (const length of [0, 1, 15, 16, 17, 100]) {
      const data = Float32Array.from({ length }, (_, i) => (i - 7) * 1e36);
      expect(allFinite(data)).toBe(true);
      for (let i = 0; i < length; i++) {
        for (const bad of [NaN, Infinity, -Infinity]) expect(allFinite(data.map((value, k) => (k === i ? bad : value)))).toBe(false);
      }
    }
  });

  it('takes the largest numbers, the smallest, both zeros, and memory that threads share', () => {
    const data = new Float32Array(new SharedArrayBuffer(280), 4, 66);
    data.set([3.4028234663852886e38, -3.4028234663852886e38, 1e-45, -1e-45, 0, -0]);
    expect(allFinite(data)).toBe(true);
    data[65] = NaN;
    expect(allFinite(data)).toBe(false);
  });

  it('refuses what is no view of floats', () => {
    expect(() => allFinite('text' as never)).toThrow(expect.objectContaining({ code: 'E_ARGUMENT' }) as Error);
    expect(() => allFinite(new Uint8Array(5) as never)).toThrow(expect.objectContaining({ code: 'E_ARGUMENT' }) as Error);
  });
});

describe('copyBytes', () => {
  it('copies between memory of one thread and memory that threads share, aligned or not, and nothing beside', () => {
    const source = new Uint8Array(new SharedArrayBuffer(40));
    source.set(Uint8Array.from(source, (_, i) => i));
    const target = new Uint8Array(12).fill(255);
    copyBytes(target.subarray(1, 8), source.subarray(3, 10));
    expect([...target]).toEqual([255, 3, 4, 5, 6, 7, 8, 9, 255, 255, 255, 255]);
    const floats = new Float32Array(2);
    copyBytes(floats, new Uint8Array(Float32Array.of(1.5, -2).buffer));
    expect([...floats]).toEqual([1.5, -2]);
    copyBytes(new Uint8Array(0), new Uint8Array(0));
  });

  it('refuses views of different lengths, detached ones, and what is none', () => {
    const bytes = new Uint8Array(4);
    expect(() => copyBytes(bytes, new Uint8Array(5))).toThrow(expect.objectContaining({ code: 'E_ARGUMENT', message: expect.stringContaining('4 and 5 bytes') as string }) as Error);
    expect(() => copyBytes(bytes, 'text' as never)).toThrow(expect.objectContaining({ code: 'E_ARGUMENT' }) as Error);
    const gone = new Uint8Array(4);
    structuredClone(gone.buffer, { transfer: [gone.buffer] });
    expect(() => copyBytes(bytes, gone)).toThrow(expect.objectContaining({ code: 'E_ARGUMENT' }) as Error);
  });
});
