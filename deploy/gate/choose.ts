import { missShare, type GateOutcome } from './simulate.js';

/** A layer after which a detector can be stopped, and the share of its multiplications up to there. */
export interface SplitChoice {
  name: string;
  shape: readonly number[];
  share: number;
}

/** What a gate costs, and the share of what it stopped in which it missed something. */
export interface Trade {
  cost: number;
  missRate: number;
}

/** One setting of the gates, and what it did to the footage. */
export interface GatePoint {
  /** Change of grey level that opens the pixel gate; null: every frame passes. */
  pixels: number | null;
  /** Null: no gate on features. */
  features: { split: string; share: number; threshold: number } | null;
  /** Multiplications of the detector, as a share of running every frame in full. */
  cost: number;
  /** Share of the frames that stopped in which a full run finds something new. */
  missRate: number;
  stopped: number;
  missed: number;
}

/** Smallest side and number of channels of a feature map that a gate can work with. */
const [smallestSide, fewestChannels] = [8, 16];
/** Splits cost these shares of a run, about: where it is cut hardly matters for what is missed, but what runs before it is paid for every frame. */
const wantedShares = [0.05, 0.12, 0.2, 0.3, 0.45];

/** A few splits over the cheaper half of the network, with maps that say where something is. */
export function splitsToTry(all: readonly SplitChoice[]): SplitChoice[] {
  const usable = all.filter(({ shape: [, height = 0, width = 0, channels = 0], share }) => Math.min(height, width) >= smallestSide && channels >= fewestChannels && share > 0 && share < 0.6);
  const nearest = wantedShares.map((wanted) => usable.reduce<SplitChoice | undefined>((best, one) => (best === undefined || Math.abs(one.share - wanted) < Math.abs(best.share - wanted) ? one : best), undefined));
  return [...new Set(nearest.flatMap((one) => one ?? []))];
}

/** The point of a pixel gate alone. */
export function pixelPoint(threshold: number | null, outcome: GateOutcome): GatePoint {
  const { frames, stopped, missed } = outcome;
  return { pixels: threshold, features: null, cost: frames === 0 ? 1 : (frames - stopped) / frames, missRate: missShare(outcome), stopped, missed };
}

/** The point of both gates: `behind` counts the frames that passed the pixel gate. */
export function bothPoint(pixels: number | null, before: GateOutcome, { split, threshold }: { split: SplitChoice; threshold: number }, behind: GateOutcome): GatePoint {
  const total = { frames: before.frames, stopped: before.stopped + behind.stopped, missed: before.missed + behind.missed };
  const full = behind.frames - behind.stopped;
  const cost = before.frames === 0 ? 1 : (full + behind.stopped * split.share) / before.frames;
  return { pixels, features: { split: split.name, share: split.share, threshold }, cost, missRate: missShare(total), stopped: total.stopped, missed: total.missed };
}

/** The cheapest point that misses no more than wanted; of equally cheap ones the one that misses less. Undefined when there is none. */
export function cheapest<P extends Trade>(points: readonly P[], missRate: number): P | undefined {
  return points.filter((point) => point.missRate <= missRate).reduce<P | undefined>(
    (best, point) => (best === undefined || point.cost < best.cost || (point.cost === best.cost && point.missRate < best.missRate) ? point : best), undefined);
}

/** Settings that no other one beats in cost and in misses at once, cheapest first. */
export function unbeaten<P extends Trade>(points: readonly P[]): P[] {
  const beaten = (a: P): boolean => points.some((b) => b.cost <= a.cost && b.missRate <= a.missRate && (b.cost < a.cost || b.missRate < a.missRate));
  return points.filter((point) => !beaten(point)).sort((a, b) => a.cost - b.cost);
}
