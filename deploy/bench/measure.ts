import { performance } from 'node:perf_hooks';
import type { Isa } from '../../kernels/binding/native.js';
import { createSession, type EngineName, type LayerProfile, type Session } from '../../runtime/session.js';
import { randomFeeds } from '../compress/random.js';
import type { Feeds } from '../compress/samples.js';
import { cachedLoadMs } from './cold-start.js';
import { percentile } from './statistics.js';

/** Who takes part in a bench: an engine, on one instruction set if asked. */
export interface Contender {
  /** `native`, `onnxruntime`, or `native:avx2` when instruction sets are compared. */
  label: string;
  engine: EngineName;
  isa?: Isa;
  /** Of the inputs, for what the file leaves open. */
  shapes?: Readonly<Record<string, readonly number[]>>;
}

export interface EngineTimes {
  min_ms: number;
  p50_ms: number;
  p99_ms: number;
  /** Median CPU time of a run, all threads of the process: with 1 thread, what a busy machine cannot stretch. */
  cpu_ms: number;
  /** Compiled anew. */
  load_ms: number;
  /** Null where the engine does not say. */
  arena_bytes: number | null;
}

export interface BenchedEngine extends EngineTimes {
  /** Milliseconds to load from the cache of compiled programs; null where the engine has none. */
  load_cached_ms: number | null;
  /** How often runs had to compile the model again for what they were fed; null where the engine does not say. */
  recompilations: number | null;
}

export interface BenchResult {
  threads: number;
  runs: number;
  engines: Record<string, BenchedEngine>;
  /** onnxruntime / native, so above 1 native is faster; null unless both took part. */
  speedup_p50: number | null;
  speedup_min: number | null;
}

/** A loaded contender and what its runs have needed so far, milliseconds each. */
export interface Entry {
  readonly session: Session;
  /** Taken in turn: data that repeat would hide what a model does anew for new data, compiling above all. */
  readonly feeds: readonly Feeds[];
  readonly wall: number[];
  readonly cpu: number[];
}

/** More than the programs that a session keeps of a model that is compiled for what it is fed; odd, so that runs that count and others share all of them. */
const freshFeeds = 13;

/** What an entry is fed in its n-th run. */
const feedsOf = ({ feeds }: Entry, run: number): Feeds => feeds[run % feeds.length] ?? {};

async function timedRun(entry: Entry, run: number): Promise<void> {
  const { session, wall, cpu } = entry;
  const feeds = feedsOf(entry, run);
  const cpuBefore = process.cpuUsage();
  const started = performance.now();
  await session.run(feeds);
  wall.push(performance.now() - started);
  const { user, system } = process.cpuUsage(cpuBefore);
  cpu.push((user + system) / 1000);
}

/**
 * Loads a model for a contender; the same random feeds for every engine, others in each run. Both run within the call, as onnxruntime always does: engines are
 * compared, not the waking of threads, which costs a caller who does not want to be blocked 0.05 to 0.2 ms more.
 * @throws as `createSession`
 */
export async function openEntry(model: Uint8Array, { engine, isa, shapes }: Pick<Contender, 'engine' | 'isa' | 'shapes'>, threads: number): Promise<Entry> {
  const session = await createSession(model, { engine, threads, maxBlockingMs: Infinity, ...(shapes === undefined ? {} : { shapes }), ...(isa === undefined ? {} : { isa }) });
  return { session, feeds: Array.from({ length: freshFeeds }, (_, i) => randomFeeds(session.inputs, i)), wall: [], cpu: [] };
}

const ascending = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);

export function summarize({ session, wall, cpu }: Entry): EngineTimes {
  const sorted = ascending(wall);
  return {
    min_ms: sorted[0] ?? NaN,
    p50_ms: percentile(sorted, 50),
    p99_ms: percentile(sorted, 99),
    cpu_ms: percentile(ascending(cpu), 50),
    load_ms: session.stats.loadMs,
    arena_bytes: session.stats.arenaBytes ?? null,
  };
}

const warmUpRuns = 5;

/** How long entries take turns: for `milliseconds`, but at least and at most so many rounds. */
export interface Rounds {
  least: number;
  most: number;
  milliseconds: number;
}

/**
 * Entries take turns, so that a change of clock frequency or a noisy neighbour meets all of them alike. A turn is a run that does not
 * count and one that does: the first finds the caches, and perhaps a core, as whoever came before has left them.
 * @returns the number of timed runs of each
 */
export async function takeTurns(entries: readonly Entry[], { least, most, milliseconds }: Rounds): Promise<number> {
  for (const entry of entries) for (let run = 0; run < warmUpRuns; run++) await entry.session.run(feedsOf(entry, run));
  const started = performance.now();
  let rounds = 0;
  while (rounds < least || (rounds < most && performance.now() - started < milliseconds)) {
    for (const entry of entries) {
      await entry.session.run(feedsOf(entry, 2 * rounds));
      await timedRun(entry, 2 * rounds + 1);
    }
    rounds++;
  }
  return rounds;
}

/**
 * Times one model on several engines in turn. Sessions are closed in the end.
 * @throws RuntimeError, KernelError of whichever engine cannot run the model
 */
export async function benchModel(model: Uint8Array, contenders: readonly Contender[], { threads, runs }: { threads: number; runs: number }): Promise<BenchResult> {
  const entries: BenchEntry[] = [];
  try {
    for (const { label, ...contender } of contenders) {
      const { engine: _, ...options } = contender;
      const loadCachedMs = contender.engine === 'native' ? await cachedLoadMs(model, { threads, ...options }) : null;
      entries.push({ label, engine: contender.engine, loadCachedMs, ...(await openEntry(model, contender, threads)) });
    }
    await takeTurns(entries, { least: runs, most: runs, milliseconds: 0 });
    return result(entries, { threads, runs });
  } finally {
    for (const { session } of entries) await session.close();
  }
}

interface BenchEntry extends Entry {
  label: string;
  engine: EngineName;
  loadCachedMs: number | null;
}

function result(entries: readonly BenchEntry[], { threads, runs }: { threads: number; runs: number }): BenchResult {
  const engines = Object.fromEntries(entries.map((entry) => [entry.label, { ...summarize(entry), load_cached_ms: entry.loadCachedMs, recompilations: entry.session.stats.recompilations ?? null }]));
  const timesOf = (engine: EngineName): EngineTimes | undefined => {
    const entry = entries.find((candidate) => candidate.engine === engine);
    return entry === undefined ? undefined : engines[entry.label];
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

/** Layers of a profiled model, and the instruction set that ran them. */
export interface ModelProfile {
  isa: Isa | undefined;
  layers: LayerProfile[];
}

/**
 * Time of each layer on the native engine: for each the median of several runs.
 * @throws RuntimeError, KernelError when native cannot run the model
 */
export async function profileModel(model: Uint8Array, { threads, isa, shapes = {} }: { threads: number; isa: Isa | undefined; shapes?: Contender['shapes'] }): Promise<ModelProfile> {
  const entry = await openEntry(model, { engine: 'native', shapes, ...(isa === undefined ? {} : { isa }) }, threads);
  const { session } = entry;
  try {
    const runs: LayerProfile[][] = [];
    for (let run = -warmUpRuns; run < profiledRuns; run++) {
      const layers = (await session.profile?.(feedsOf(entry, run + warmUpRuns))) ?? [];
      if (run >= 0) runs.push(layers);
    }
    const layers = (runs[0] ?? []).map((layer, index) => {
      return { ...layer, ms: percentile(ascending(runs.map((all) => all[index]?.ms ?? NaN)), 50) };
    });
    return { isa: session.stats.isa, layers };
  } finally {
    await session.close();
  }
}
