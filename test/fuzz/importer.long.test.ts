// Coverage-guided fuzzing of everything from the bytes of an ONNX file to a loaded program. README.md of this folder says how to run it for long.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { kernelErrorCodes, KernelError, loadProgram } from '../../kernels/binding/index.js';
import { arrayTypes } from '../../runtime/engines/feeds.js';
import { openNative } from '../../runtime/engines/native.js';
import { RuntimeError, runtimeErrorCodes } from '../../runtime/errors.js';
import { elementCount } from '../../runtime/graph/tensor-value.js';
import { compile } from '../../runtime/lower/compile.js';
import { nativeMissing } from '../runtime/support/native.js';
import { random } from '../runtime/support/random.js';
import { Coverage } from './coverage.js';
import { mutateModel, type Chooser } from './mutate-model.js';

const corpusFolders = ['corpus/onnx', 'corpus/parts'].map((folder) => fileURLToPath(new URL(folder, import.meta.url)));
const runs = Number(process.env['STERNA_FUZZ_RUNS'] ?? 800);
const seed = Number(process.env['STERNA_FUZZ_SEED'] ?? 1);

/** Inputs between two looks at the coverage. */
const batchSize = 25;
/** What one small file may cost: more than any takes, far less than a bomb. A Loop of as many steps as there may be takes 4 s, and five times as long under coverage. */
const maximumCpuSeconds = 60;
const maximumGrowthMb = 1024;
const limits = { tensorElements: 2 ** 22, constantElements: 2 ** 20, foldSteps: 2 ** 22 };
const memoryLimitBytes = 2 ** 24;

/** A program that the compiler wrote is well-formed: the engine may refuse its size, its ops and their operands, not its form. */
const engineCodes: ReadonlySet<string> = new Set(['E_PROGRAM_LIMIT', 'E_PROGRAM_OP', 'E_PROGRAM_SHAPE', 'E_OUT_OF_MEMORY']);

/** What is wrong with how these bytes are received; undefined when they load or are refused as they should be. */
async function complaint(bytes: Uint8Array): Promise<string | undefined> {
  const before = process.cpuUsage();
  const rss = process.resourceUsage().maxRSS;
  const problem = await received(bytes);
  const { user, system } = process.cpuUsage(before);
  const growth = (process.resourceUsage().maxRSS - rss) / 1024;
  if (problem !== undefined) return problem;
  if ((user + system) / 1e6 > maximumCpuSeconds) return `took ${(user + system) / 1e6} s of CPU time`;
  return growth > maximumGrowthMb ? `took ${growth} MB` : undefined;
}

async function received(bytes: Uint8Array): Promise<string | undefined> {
  try {
    const program = compile(bytes, { limits });
    if (nativeMissing === undefined) await loadProgram(program.bytes, { memoryLimitBytes }).close();
    return undefined;
  } catch (error) {
    if (error instanceof RuntimeError && typeof error.details['operand'] === 'string' && nativeMissing === undefined) return ranInParts(bytes);
    if (error instanceof RuntimeError && Object.hasOwn(runtimeErrorCodes, error.code)) return undefined;
    if (error instanceof KernelError && Object.hasOwn(kernelErrorCodes, error.code) && engineCodes.has(error.code)) return undefined;
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}

/** What is wrong with how a model runs that is no single program, on zeros. */
async function ranInParts(bytes: Uint8Array): Promise<string | undefined> {
  try {
    const session = await openNative(bytes, { limits, memoryLimitBytes });
    const feeds = session.inputs.map(({ name, type, dims }) => [name, { type, dims, data: new arrayTypes[type](elementCount(dims)) }] as const);
    await session.run(Object.fromEntries(feeds)).finally(() => session.close());
    return undefined;
  } catch (error) {
    if (error instanceof RuntimeError && Object.hasOwn(runtimeErrorCodes, error.code)) return undefined;
    if (error instanceof KernelError && Object.hasOwn(kernelErrorCodes, error.code)) return undefined;
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}

/** Keeps an input that complains, so that it can be looked at and joins the corpus once it is mended. */
function keep(bytes: Uint8Array, problem: string): string {
  const file = join(tmpdir(), `sterna-fuzz-${Date.now()}.onnx`);
  writeFileSync(file, bytes);
  return `${file}: ${problem}`;
}

class Fuzzer {
  private readonly chooser: Chooser;
  private readonly pool: Uint8Array[];

  constructor(seeds: readonly Uint8Array[], private readonly coverage: Coverage) {
    const next = random(seed);
    this.chooser = { below: (count) => Math.floor(next() * count) };
    this.pool = [...seeds];
  }
  get inputs(): number {
    return this.pool.length;
  }

  private any(): Uint8Array {
    // What was found last leads furthest.
    const recent = this.chooser.below(2) === 0 ? Math.min(this.pool.length, 50) : this.pool.length;
    return this.pool[this.pool.length - 1 - this.chooser.below(recent)] ?? new Uint8Array(0);
  }

  /** Runs a batch of mutants; those that reach something new join the pool. */
  async round(): Promise<void> {
    const batch = Array.from({ length: batchSize }, () => mutateModel(this.any(), this.any(), this.chooser));
    for (const bytes of batch) await this.run(bytes);
    if (this.coverage.peek() === 0) return;
    for (const bytes of batch) {
      await this.run(bytes);
      if (this.coverage.take() > 0) this.pool.push(bytes);
    }
  }

  async run(bytes: Uint8Array): Promise<void> {
    const problem = await complaint(bytes);
    if (problem !== undefined) throw new Error(keep(bytes, problem));
  }
}

describe('any bytes given as a model', () => {
  const seeds = corpusFolders.flatMap((folder) => readdirSync(folder).sort().map((name) => new Uint8Array(readFileSync(join(folder, name)))));

  it(`are refused with a code or load, ${runs} mutants of ${seeds.length} models`, async () => {
    const coverage = new Coverage((url) => url.includes('/runtime/') && !url.includes('/test/'));
    coverage.start();
    try {
      const fuzzer = new Fuzzer(seeds, coverage);
      for (const bytes of seeds) await fuzzer.run(bytes);
      expect(coverage.take()).toBeGreaterThan(10_000);
      for (let done = 0; done < runs; done += batchSize) await fuzzer.round();
      // Feedback works: mutants reach what no seed does.
      expect(fuzzer.inputs).toBeGreaterThan(seeds.length);
    } finally {
      coverage.stop();
    }
  }, 3_600_000);
});
