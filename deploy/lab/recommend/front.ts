/** Which of several models is worth having, and which one fits the bounds. */
import type { Scenario } from './scenarios.js';

/** What counts of a model; of each less is better. Null where nobody knows it. */
export interface Point {
  /** 1 minus the agreement with the original on samples that no step saw. */
  readonly drop: number;
  /** Milliseconds of a run, or millions of counted instructions. */
  readonly cost: number;
  /** What the file takes in a package, kB. */
  readonly kb: number;
  /** Most that a run needs, weights included, kB. */
  readonly memory_kb: number;
  readonly mj: number | null;
}

const axes = ['drop', 'cost', 'kb', 'memory_kb', 'mj'] as const;

const compare = (a: Point, b: Point, axis: (typeof axes)[number]): number => (a[axis] ?? 0) - (b[axis] ?? 0);

/** Whether the first is nowhere worse than the second, and somewhere better. */
export const dominates = (a: Point, b: Point): boolean => axes.every((axis) => compare(a, b, axis) <= 0) && axes.some((axis) => compare(a, b, axis) < 0);

/** Those that no other one dominates, in the order that they have. */
export const paretoFront = <T extends Point>(points: readonly T[]): T[] => points.filter((point) => !points.some((other) => dominates(other, point)));

export interface Bounds {
  readonly maxDrop: number;
  /** Of `cost`, in its unit. */
  readonly cost?: number | undefined;
  readonly memoryKb?: number | undefined;
}

/** A bound that a model does not keep. */
export interface Miss {
  readonly bound: 'drop' | 'cost' | 'memory';
  readonly value: number;
  readonly limit: number;
  /** By how much, as a share of the limit. */
  readonly over: number;
}

/** The bounds that a model does not keep; empty when it fits. */
export function missesOf(point: Point, { maxDrop, cost, memoryKb }: Bounds): Miss[] {
  const wanted = [['drop', point.drop, maxDrop], ['cost', point.cost, cost], ['memory', point.memory_kb, memoryKb]] as const;
  return wanted.flatMap(([bound, value, limit]) => (limit === undefined || value <= limit ? [] : [{ bound, value, limit, over: value / limit - 1 }]));
}

/** Costs that differ by less than this share are equal: measurements of one model do. */
const noise = 0.03;

/** Drops that differ by less than this share of the bound are equal: whoever allows so much does not pay bytes for less. */
const indifference = 0.1;

/**
 * The model to take: of those that fit all bounds, the one of the least cost, or for little memory of the least memory. Of those that hardly differ
 * from it, the one with the least drop; and of those that hardly differ in this either, the smallest file.
 * @returns undefined when none fits; the result is on the front of the points
 */
export function bestOf<T extends Point>(points: readonly T[], bounds: Bounds, scenario: Scenario): T | undefined {
  const axis = scenario === 'low-memory' ? 'memory_kb' : 'cost';
  const fitting = points.filter((point) => missesOf(point, bounds).length === 0);
  const least = Math.min(...fitting.map((point) => point[axis]));
  const cheap = fitting.filter((point) => point[axis] <= least * (1 + noise));
  const closest = Math.min(...cheap.map(({ drop }) => drop));
  const order = ['kb', 'drop', axis, ...axes] as const;
  const first = (a: T, b: T): number => order.map((each) => compare(a, b, each)).find((difference) => difference !== 0) ?? 0;
  return cheap.filter(({ drop }) => drop <= closest + indifference * bounds.maxDrop).sort(first)[0];
}

/** The model that comes nearest to the bounds: its worst miss, as a share of the limit, is the smallest. */
export function nearestTo<T extends Point>(points: readonly T[], bounds: Bounds): T | undefined {
  const worst = (point: T): number => Math.max(0, ...missesOf(point, bounds).map(({ over }) => over));
  return [...points].sort((a, b) => worst(a) - worst(b) || a.drop - b.drop)[0];
}
