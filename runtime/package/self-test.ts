import { RuntimeError } from '../errors.js';
import { aFunction, aNumber, anObject, checkOptions, type OptionKinds } from '../options.js';
import { engineOptionKinds } from '../session.js';
import { anyStageOf, closeStages, memoryOf, openStages } from '../stages/open-stages.js';
import type { Stages } from '../stages/open-stages.js';
import type { EngineOptions } from '../stages/model-stage.js';
import type { Stage } from '../stages/stage.js';
import type { Pipeline } from '../stages/types.js';
import { cosineSimilarity } from '../vision/embedding.js';
import type { GoldenVector } from './manifest.js';
import type { ModelPackage } from './package.js';
import { percentile } from '../percentile.js';

export interface SelfTestOptions extends EngineOptions {
  /** Number of timed rounds over all golden vectors, after one warm-up round. Default 20. */
  rounds?: number;
  /** An open pipeline of the package, whose models are tested instead of opening them a second time. */
  pipeline?: Pipeline;
  /** Reads how much energy has been used so far, in joules; null when that cannot be told. It is asked before and after the timed rounds. */
  energy?: () => Promise<number | null>;
}

export interface GoldenResult {
  /** The variant whose network it is; absent: one of the pipeline's own. */
  variant?: string;
  stage: string;
  output: string;
  cosine: number;
  /** Largest absolute difference. */
  maxAbs: number;
  passed: boolean;
}

export interface SelfTestReport {
  passed: boolean;
  /** Descriptions of what failed, for people. */
  failures: string[];
  golden: GoldenResult[];
  worstCosine: number;
  worstMaxAbs: number;
  /** For one pass through all stages: the sum of the percentiles of all stages. */
  p50Ms: number;
  p99Ms: number;
  memoryBytes: number;
  /** For one pass through all stages; null without `energy`, without golden vectors, or when `energy` cannot tell. */
  joules: number | null;
}

const selfTestOptionKinds: OptionKinds<Required<SelfTestOptions>> = { ...engineOptionKinds, rounds: aNumber, pipeline: anObject, energy: aFunction };

/**
 * Runs a package's golden vectors on this CPU, those of its variants too, and checks that the outputs agree with those of the machine that packed it
 * and that latency and memory stay within the budget.
 * @throws RuntimeError E_OPTION, E_MODEL_* when a model cannot run here, E_PACKAGE when a golden file has the wrong size
 */
export async function selfTest(modelPackage: ModelPackage, options: SelfTestOptions = {}): Promise<SelfTestReport> {
  checkOptions('selfTest', options, selfTestOptionKinds);
  const { rounds = 20, pipeline, energy, ...engine } = options;
  const timing = { rounds, energy };
  const variants = await testVariants(modelPackage, engine, timing);
  if (pipeline !== undefined) return pipeline.withStages((stages) => testStages(modelPackage, stages, { ...timing, variants }));
  const stages = await openStages(modelPackage.manifest.pipeline.stages, (path) => modelPackage.file(path), engine);
  try {
    return await testStages(modelPackage, stages, { ...timing, variants });
  } finally {
    await closeStages(stages);
  }
}

interface TestedVariants {
  golden: GoldenResult[];
  /** Of the variant that takes most, bytes: at most one is open beside the pipeline's own networks. */
  memoryBytes: number;
}

/** Runs the golden vectors of the variants, one after another, each open only while it is tested. */
async function testVariants(modelPackage: ModelPackage, engine: EngineOptions, timing: Timing): Promise<TestedVariants> {
  const tested: TestedVariants = { golden: [], memoryBytes: 0 };
  for (const { name, stages: record, golden } of modelPackage.manifest.variants ?? []) {
    const stages = await openStages(record, (path) => modelPackage.file(path), engine);
    try {
      const { results } = await runVectors(modelPackage, stages, golden, { ...timing, rounds: 0 });
      tested.golden.push(...results.map((result) => ({ ...result, variant: name })));
      tested.memoryBytes = Math.max(tested.memoryBytes, memoryOf(stages));
    } finally {
      await closeStages(stages);
    }
  }
  return tested;
}

interface Timing {
  rounds: number;
  energy: SelfTestOptions['energy'];
}

/** Energy counters move in steps of up to some milliseconds, so the rounds go on until this time is over. */
const MIN_ENERGY_MS = 500;
/** And not longer than this many rounds, should an engine take no time at all. */
const MAX_ENERGY_ROUNDS = 100_000;

async function testStages(modelPackage: ModelPackage, stages: Stages, { variants, ...timing }: Timing & { variants: TestedVariants }): Promise<SelfTestReport> {
  const { golden: vectors } = modelPackage.manifest;
  const { energy } = timing;
  const { results, times } = await runVectors(modelPackage, stages, vectors, timing);
  const memoryBytes = memoryOf(stages) + variants.memoryBytes;
  const joules = energy === undefined || vectors.length === 0 ? null : await joulesOf(energy, vectors, (vector) => timeRun(modelPackage, anyStageOf(stages, vector.stage), vector));
  const sumOf = (percent: number): number => [...times.values()].reduce((sum, samples) => sum + (samples.length === 0 ? 0 : percentile([...samples].sort((a, b) => a - b), percent)), 0);
  return judge(modelPackage, { golden: [...results, ...variants.golden], p50Ms: sumOf(0.5), p99Ms: sumOf(0.99), memoryBytes, joules });
}

/** Compares every vector once, and times the rounds. @returns results, and milliseconds by stage */
async function runVectors(modelPackage: ModelPackage, stages: Stages, vectors: readonly GoldenVector[], { rounds }: Timing): Promise<{ results: GoldenResult[]; times: Map<string, number[]> }> {
  const results: GoldenResult[] = [];
  const times = new Map<string, number[]>();
  for (const vector of vectors) {
    const stage = anyStageOf(stages, vector.stage);
    results.push(...await compare(modelPackage, stage, vector));
    const samples = times.get(vector.stage) ?? [];
    times.set(vector.stage, samples);
    for (let round = 0; round < rounds; round++) samples.push(await timeRun(modelPackage, stage, vector));
  }
  return { results, times };
}

/** Energy of one pass through all stages: that of rounds over all vectors, with each stage counted once, whatever number of vectors it has. */
async function joulesOf(energy: () => Promise<number | null>, vectors: readonly GoldenVector[], run: (vector: GoldenVector) => Promise<number>): Promise<number | null> {
  const firsts = vectors.filter((vector, i) => vectors.findIndex(({ stage }) => stage === vector.stage) === i);
  const before = await energy();
  if (before === null) return null;
  let passes = 0;
  for (let spentMs = 0; spentMs < MIN_ENERGY_MS && passes < MAX_ENERGY_ROUNDS; passes++) {
    for (const vector of firsts) spentMs += await run(vector);
  }
  const after = await energy();
  return after === null ? null : Math.max(0, after - before) / passes;
}

function judge({ manifest }: ModelPackage, measured: Pick<SelfTestReport, 'golden' | 'p50Ms' | 'p99Ms' | 'memoryBytes' | 'joules'>): SelfTestReport {
  const { golden, p99Ms, memoryBytes, joules } = measured;
  const failures = golden.filter((result) => !result.passed)
    .map(({ variant, stage, output, cosine, maxAbs }) => `${variant === undefined ? '' : `variant ${variant}, `}${stage} ${output}: cosine ${cosine.toFixed(5)}, largest error ${maxAbs.toPrecision(3)}`);
  const { ram_bytes: ramBytes, p99_ms: budgetMs, joules: budgetJoules } = manifest.budget;
  if (p99Ms > budgetMs) failures.push(`p99 ${p99Ms.toFixed(1)} ms is over the budget of ${budgetMs} ms`);
  if (memoryBytes > ramBytes) failures.push(`memory ${memoryBytes} bytes is over the budget of ${ramBytes} bytes`);
  if (joules !== null && budgetJoules !== undefined && joules > budgetJoules) failures.push(`an inference took ${joules.toPrecision(3)} J, over the budget of ${budgetJoules} J`);
  return {
    ...measured, failures, passed: failures.length === 0,
    worstCosine: golden.reduce((worst, { cosine }) => Math.min(worst, cosine), 1),
    worstMaxAbs: golden.reduce((worst, { maxAbs }) => Math.max(worst, maxAbs), 0),
  };
}

async function compare(modelPackage: ModelPackage, stage: Stage, vector: GoldenVector): Promise<GoldenResult[]> {
  stage.load(modelPackage.file(vector.input), `${vector.input} of the ${vector.stage}`);
  const outputs = await stage.run();
  return vector.outputs.map(({ name, file }) => {
    const actual = outputs[name]?.data;
    const bytes = modelPackage.file(file);
    if (!(actual instanceof Float32Array) || bytes.length !== actual.length * 4) {
      throw new RuntimeError('E_PACKAGE', `Expected ${file} to hold output ${name} of the ${vector.stage} but it has ${bytes.length} bytes`);
    }
    const expected = floatsOf(bytes);
    const cosine = cosineSimilarity(expected, actual);
    const maxAbs = actual.reduce((worst, value, i) => Math.max(worst, Math.abs(value - (expected[i] ?? 0))), 0);
    // Written so that NaN fails.
    return { stage: vector.stage, output: name, cosine, maxAbs, passed: cosine >= vector.min_cosine && maxAbs <= vector.max_abs };
  });
}

async function timeRun(modelPackage: ModelPackage, stage: Stage, vector: GoldenVector): Promise<number> {
  stage.load(modelPackage.file(vector.input), `${vector.input} of the ${vector.stage}`);
  const started = performance.now();
  await stage.run();
  return performance.now() - started;
}

/** Float32, little-endian, wherever it lies in the archive. */
export function floatsOf(bytes: Uint8Array): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Float32Array.from({ length: bytes.length >> 2 }, (_, i) => view.getFloat32(i * 4, true));
}
