import { performance } from 'node:perf_hooks';
import type { Isa } from '../../kernels/native.js';
import { createSession, type EngineName, type LayerProfile, type Session } from '../../runtime/session.js';
import { cachedLoadMs } from './cold-start.js';
import { randomFeeds } from './random.js';
import type { Feeds } from './samples.js';

/** Who takes part in a bench: an engine, on one instruction set if asked. */
export interface Contender {
  /** `native`, `onnxruntime`, or `native:avx2` when instruction sets are compared. */
  label: string;
  engine: EngineName;
  isa?: Isa;
}

export interface EngineTimes {
  min_ms: number;
  p50_ms: number;
  p99_ms: number;
  /** Compiled anew. */
  load_ms: number;
  /** From the cache of compiled programs; null where the engine has none. */
  load_cached_ms: number | null;
  /** Null where the engine does not say. */
  arena_bytes: number | null;
}

export interface BenchResult {
  threads: number;
  runs: number;
  engines: Record<string, EngineTimes>;
  /** onnxruntime / native, so above 1 native is faster; null unless both took part. */
  speedup_p50: number | null;
  speedup_min: number | null;
}

/** Nearest-rank percentile of ascending values. */
export function percentile(sorted: readonly number[], percent: number): number {
  const rank = Math.max(1, Math.ceil((percent / 100) * sorted.length));
  return sorted[rank - 1] ?? NaN;
}

async function timedRun(session: Session, feeds: Feeds): Promise<number> {
  const started = performance.now();
  await session.run(feeds);
  return performance.now() - started;
}

interface Entry {
  contender: Contender;
  session: Session;
  times: number[];
  loadCachedMs: number | null;
}

function summarise({ session, times, loadCachedMs }: Entry): EngineTimes {
  const sorted = [...times].sort((a, b) => a - b);
  return {
    min_ms: sorted[0] ?? NaN,
    p50_ms: percentile(sorted, 50),
    p99_ms: percentile(sorted, 99),
    load_ms: session.stats.loadMs,
    load_cached_ms: loadCachedMs,
    arena_bytes: session.stats.arenaBytes ?? null,
  };
}

const warmUpRuns = 5;

/**
 * Times one model on several engines, run by run in turn, so that a change of clock frequency or a noisy neighbour meets all
 * of them alike. Every engine gets the same random feeds. Sessions are closed in the end.
 * @throws RuntimeError, KernelError of whichever engine cannot run the model
 */
export async function benchModel(model: Uint8Array, contenders: readonly Contender[], options: { threads: number; runs: number }): Promise<BenchResult> {
  const entries: Entry[] = [];
  try {
    for (const contender of contenders) {
      const engine = { threads: options.threads, ...(contender.isa === undefined ? {} : { isa: contender.isa }) };
      const session = await createSession(model, { engine: contender.engine, ...engine });
      entries.push({ contender, session, times: [], loadCachedMs: contender.engine === 'native' ? await cachedLoadMs(model, engine) : null });
    }
    await measure(entries, options.runs);
    return result(entries, options);
  } finally {
    for (const { session } of entries) await session.close();
  }
}

async function measure(entries: readonly Entry[], runs: number): Promise<void> {
  const feeds = entries.map(({ session }) => randomFeeds(session.inputs, 0));
  for (let run = -warmUpRuns; run < runs; run++) {
    for (const [index, entry] of entries.entries()) {
      const ms = await timedRun(entry.session, feeds[index] ?? {});
      if (run >= 0) entry.times.push(ms);
    }
  }
}

function result(entries: readonly Entry[], { threads, runs }: { threads: number; runs: number }): BenchResult {
  const engines = Object.fromEntries(entries.map((entry) => [entry.contender.label, summarise(entry)]));
  const timesOf = (engine: EngineName): EngineTimes | undefined => {
    const entry = entries.find(({ contender }) => contender.engine === engine);
    return entry === undefined ? undefined : engines[entry.contender.label];
  };
  const native = timesOf('native');
  const other = timesOf('onnxruntime');
  const both = native !== undefined && other !== undefined;
  return {
    threads,
    runs,
    engines,
    speedup_p50: both ? other.p50_ms / native.p50_ms : null,
    speedup_min: both ? other.min_ms / native.min_ms : null,
  };
}

const profiledRuns = 20;

/**
 * Time of each layer on the native engine: for each the median of several runs.
 * @throws RuntimeError, KernelError when native cannot run the model
 */
export async function profileModel(model: Uint8Array, options: { threads: number; isa: Isa | undefined }): Promise<LayerProfile[]> {
  const session = await createSession(model, { engine: 'native', threads: options.threads, ...(options.isa === undefined ? {} : { isa: options.isa }) });
  try {
    const feeds = randomFeeds(session.inputs, 0);
    const runs: LayerProfile[][] = [];
    for (let run = -warmUpRuns; run < profiledRuns; run++) {
      const layers = (await session.profile?.(feeds)) ?? [];
      if (run >= 0) runs.push(layers);
    }
    return (runs[0] ?? []).map((layer, index) => {
      const times = runs.map((layers) => layers[index]?.ms ?? NaN).sort((a, b) => a - b);
      return { ...layer, ms: percentile(times, 50) };
    });
  } finally {
    await session.close();
  }
}
