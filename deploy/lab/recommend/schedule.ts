/** What is tried within a budget, and what is not: successive elimination. Cheap candidates come first, and what they lost decides about those that go on from them. */
import type { StepName } from './methods.js';
import { methods, stepOverhead, type Work } from './methods.js';
import type { Candidate } from './scenarios.js';
import { missesOf, type Bounds, type Point } from './front.js';

/** What became of a candidate. */
export type Outcome<P extends Point = Point> =
  | { readonly state: 'tried'; readonly point: P }
  /** A method refused the model. */
  | { readonly state: 'failed'; readonly why: string }
  /** What was tried before says that it cannot be the answer. */
  | { readonly state: 'eliminated'; readonly why: string }
  /** It did not fit in the budget. */
  | { readonly state: 'untried'; readonly why: string };

const isPrefix = (short: readonly StepName[], long: readonly StepName[]): boolean => short.length < long.length && short.every((name, i) => name === long[i]);

/** Candidates that a candidate goes on from, the longest first. */
export const prefixesOf = (candidate: Candidate, all: readonly Candidate[]): Candidate[] =>
  all.filter(({ steps }) => isPrefix(steps, candidate.steps)).sort((a, b) => b.steps.length - a.steps.length);

const showDrop = (drop: number): string => drop.toFixed(4);

/** Why a candidate need not be tried, from one that it goes on from. */
function because(prefix: Candidate, outcome: Outcome | undefined, candidate: Candidate, bounds: Bounds): string | undefined {
  if (outcome?.state === 'failed') return `it begins with ${prefix.id}, which failed`;
  if (outcome?.state !== 'tried') return undefined;
  const rest = candidate.steps.slice(prefix.steps.length);
  const { drop } = outcome.point;
  const left = rest.reduce((part, name) => part * (1 - methods[name].winsBack), drop);
  if (left > bounds.maxDrop) {
    const most = 1 - left / Math.max(drop, Number.MIN_VALUE);
    return most > 0 ? `${prefix.id} has a drop of ${showDrop(drop)}, of which distillation is expected to win back ${(100 * most).toFixed(0)} % at the most`
      : `${prefix.id} has a drop of ${showDrop(drop)}, and nothing behind it wins anything back`;
  }
  if (rest.some((name) => name !== 'distil')) return undefined;
  const [miss] = missesOf(outcome.point, { ...bounds, maxDrop: Infinity });
  if (miss !== undefined) return `${prefix.id} is over the bound of ${miss.bound === 'cost' ? 'latency' : 'memory'}, which distillation does not change`;
  return drop <= bounds.maxDrop ? `${prefix.id} keeps the bound of the drop already, and distillation changes nothing else` : undefined;
}

/** Why the distillation within a candidate need not be tried, from the chain that is the same without it. */
function becauseOfTwin(candidate: Candidate, all: readonly Candidate[], outcomes: ReadonlyMap<string, Outcome>, bounds: Bounds): string | undefined {
  const id = candidate.steps.filter((name) => name !== 'distil').join('+');
  const twin = id === candidate.id ? undefined : all.find((other) => other.id === id);
  const outcome = twin === undefined ? undefined : outcomes.get(id);
  return twin === undefined || outcome?.state !== 'tried' ? undefined : because(twin, outcome, { ...candidate, steps: [...twin.steps, 'distil'] }, bounds);
}

/** Seconds that steps take, corrected by how long such steps took before. */
export class Estimates {
  readonly #work: Work;
  readonly #seen: Map<string, { expected: number; taken: number }>;

  /** @param seen what the getter of that name returned before */
  constructor(work: Work, seen: Readonly<Record<string, { expected: number; taken: number }>> = {}) {
    this.#work = work;
    this.#seen = new Map(Object.entries(seen));
  }

  get seen(): Record<string, { expected: number; taken: number }> {
    return Object.fromEntries(this.#seen);
  }

  #expected(steps: readonly StepName[], i: number): number {
    const name = steps[i];
    const tunesScales = name === 'distil' && steps.slice(0, i).some((before) => methods[before].tier < 2);
    return name === undefined ? 0 : stepOverhead + methods[name].seconds(tunesScales ? { ...this.#work, batch: 1 } : this.#work);
  }

  /** @param made steps that another chain has made already */
  of(steps: readonly StepName[], made = 0): number {
    return steps.reduce((sum, name, i) => {
      const { expected, taken } = this.#seen.get(name) ?? { expected: 1, taken: 1 };
      return i < made ? sum : sum + (this.#expected(steps, i) * taken) / expected;
    }, 0);
  }

  /** Takes down how long a step took. */
  note(steps: readonly StepName[], i: number, seconds: number): void {
    const [name, expected] = [steps[i], this.#expected(steps, i)];
    const before = this.#seen.get(name ?? '') ?? { expected: 0, taken: 0 };
    if (name !== undefined && expected > 0) this.#seen.set(name, { expected: before.expected + expected, taken: before.taken + seconds });
  }
}

const duration = (seconds: number): string => (seconds < 60 ? `${Math.ceil(seconds)} s` : `${(seconds / 60).toFixed(1)} min`);

export interface Budget {
  /** Seconds, in all. */
  readonly seconds: number;
  /** Seconds that have been spent, those of interrupted runs included. */
  spent(): number;
}

export interface Attempts<P extends Point> {
  readonly estimates: Estimates;
  readonly budget: Budget;
  readonly bounds: Bounds;
  /** Outcomes that are known from an interrupted run. */
  readonly known: ReadonlyMap<string, Outcome<P>>;
  /** Steps of a candidate that another chain has made. */
  made(candidate: Candidate): number;
  /** Carries out a candidate. */
  attempt(candidate: Candidate): Promise<Outcome<P>>;
}

/**
 * Tries candidates in their order, as far as the budget goes.
 * @param candidates each behind those that it goes on from
 * @returns the outcome of each
 */
export async function tryAll<P extends Point>(candidates: readonly Candidate[], { estimates, budget, bounds, known, made, attempt }: Attempts<P>): Promise<Map<string, Outcome<P>>> {
  const outcomes = new Map<string, Outcome<P>>();
  for (const candidate of candidates) {
    const before = known.get(candidate.id);
    const why = prefixesOf(candidate, candidates).map((prefix) => because(prefix, outcomes.get(prefix.id), candidate, bounds)).find((reason) => reason !== undefined)
      ?? becauseOfTwin(candidate, candidates, outcomes, bounds);
    const [needed, left] = [estimates.of(candidate.steps, made(candidate)), budget.seconds - budget.spent()];
    if (before?.state === 'tried' || before?.state === 'failed') outcomes.set(candidate.id, before);
    else if (why !== undefined) outcomes.set(candidate.id, { state: 'eliminated', why });
    else if (needed > left) outcomes.set(candidate.id, { state: 'untried', why: `it is expected to take ${duration(needed)}, and ${duration(Math.max(0, left))} of the budget are left` });
    else outcomes.set(candidate.id, await attempt(candidate));
  }
  return outcomes;
}
