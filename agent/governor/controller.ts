/**
 * The governor's decisions: from a state and a reading it makes the next state, and perhaps the move to another rung of the ladder. Pure: it uses no
 * clock and no files. It goes down before a limit is reached, as far as the trend asks for. It comes up after a rest, to the highest rung that should
 * keep every limit. A rung that proved too high must rest twice as long, and nothing is raised while the last hour had `MOVES_AN_HOUR` moves, so the
 * governor cannot oscillate.
 */
import type { Rung } from './ladder.js';
import { secondsTo, trendOf, withSample, type Sample } from './trend.js';

export type GovernorReason = 'temperature' | 'power' | 'battery' | 'deadline' | 'recovered';

export interface Reading {
  /** Monotonic, milliseconds. */
  readonly nowMs: number;
  /** Temperature of the hottest zone, degrees Celsius; null without a sensor, or while no sensor can be believed. */
  readonly celsius: number | null;
  /** Mean power of the last seconds, watts; null while no meter gives a value. */
  readonly watts: number | null;
  /** How long the battery lasts at the present power, hours; null when no battery discharges. */
  readonly batteryHours: number | null;
  /** Share of the frames since the last reading whose results came too late; null without frames. */
  readonly late: number | null;
}

/** The limits that must be kept; null means that there is no such limit. */
export interface GovernorLimits {
  /** The temperature that must not be exceeded, degrees Celsius. */
  readonly celsius: number | null;
  /** The power that must not be exceeded, watts. */
  readonly watts: number | null;
  /** How long the battery must last at the present power, hours. */
  readonly batteryHours: number | null;
  /** The largest share of late frames. */
  readonly late: number | null;
}

export interface GovernorState {
  /** Index of the present rung; 0 is the best. */
  readonly rung: number;
  /** When the rung was reached. Monotonic, milliseconds. */
  readonly sinceMs: number;
  /** The lower rung from which this one was reached; null when it was reached from a higher one. */
  readonly raisedFrom: number | null;
  /** Temperatures of the newest 30 s, since the rung was reached; the first of them decided the move. */
  readonly samples: readonly Sample[];
  /** Whether a temperature was ever measured. If there is none now, the sensor is lost. */
  readonly sensed: boolean;
  /** For each rung, how long a lower one must hold before this one is tried again, milliseconds. An absent rung has the shortest rest. */
  readonly rests: Readonly<Record<number, number>>;
  /** Times of the moves within the last hour. Monotonic, milliseconds. */
  readonly movesMs: readonly number[];
}

export interface GovernorStep {
  readonly from: number;
  readonly to: number;
  readonly reason: GovernorReason;
}

export interface GovernorOptions {
  /** The rungs, the best first; there is at least one. */
  readonly ladder: readonly Rung[];
  readonly limits: GovernorLimits;
}

export const initialGovernor = (nowMs: number): GovernorState => ({ rung: 0, sinceMs: nowMs, raisedFrom: null, samples: [], sensed: false, rests: {}, movesMs: [] });

/** The governor aims at a temperature this many degrees Celsius below the limit. */
const MARGIN = 0.7;
/** The governor goes down when the trend reaches the aim within this time, seconds, and the temperature is within `NEAR` of it. */
const LEAD_S = 30;
/** Degrees Celsius below the aim within which the trend counts. Farther away it does not, because from a cold start every temperature rises steeply. */
const NEAR = 5;
/** When a steep trend reaches the aim within this time, seconds, the load is halved. */
const URGENT_S = 6;
/** When a steep trend reaches the aim within this time, seconds, the load is cut by a third. */
const SOON_S = 15;
/** When the temperature falls faster than this, degrees Celsius a second, the device cools down by itself, and heat is no reason to go down. */
const FALLING = 0.02;
/** When the temperature rises faster than this, degrees Celsius a second, one rung would not be enough. */
const STEEP = 0.1;
/** A rung is raised only while the temperature rises no faster than this, degrees Celsius a second: it is as good as steady. */
const STEADY = 0.005;
/**
 * The part of the temperature above this, degrees Celsius, is taken for heat of the work, because air and the heat of an idle device seldom add up to
 * less.
 */
const IDLE_CELSIUS = 30;

/** How long a rung is held before the load is halved, milliseconds. */
const URGENT_LOOK_MS = 4000;
/** How long a rung is held before the governor goes down for the trend of the temperature or for the power, milliseconds. */
const LOOK_MS = 10_000;
/** The same for the trend after a raise, milliseconds: the chip then warms up within seconds, which is no trend. */
const RAISED_LOOK_MS = 40_000;
/** The same for the battery and for late frames, milliseconds, because these figures change slowly. */
const SLOW_LOOK_MS = 60_000;

/** Moves are remembered for this time, milliseconds. */
const HOUR_MS = 3_600_000;
/** While the last hour had this many moves, nothing is raised. */
const MOVES_AN_HOUR = 2;
/** How long a rung is held at least before the governor comes up, milliseconds. */
const SHORTEST_REST_MS = 5 * 60_000;
/** Doubling the rest of a rung that proved too high ends here, milliseconds. */
const LONGEST_REST_MS = 4 * HOUR_MS;
/** A rung that is left within this time after it was tried was too high. Milliseconds. */
const TRIAL_MS = 45 * 60_000;
/** Watts and hours must keep this distance from their limits, as a share of the limit, before a rung is raised. */
const ROOM = 0.1;

/** Share of the present load to which the governor goes down: it stays where it is. */
const KEEP = 1;
/** The next lower rung, whatever its load. */
const ONE_RUNG = 0.999;
/** A third less. */
const TWO_THIRDS = 0.67;
/** Half of it, when there is hardly any time left. */
const HALF = 0.5;

/** The same device on another ladder. What is known of its rungs holds for none of the new ones; the trend and the moves of the last hour still count. */
export const onOtherLadder = (state: GovernorState, rung: number): GovernorState => ({ ...state, rung, raisedFrom: null, rests: {} });

/** Decides on one reading. Readings must come in the order of their times. */
export function stepGovernor(before: GovernorState, reading: Reading, options: GovernorOptions): { state: GovernorState; step: GovernorStep | null } {
  const state = observe(before, reading);
  const down = wantedLower(state, reading, options);
  if (down !== null) return move(state, reading.nowMs, down);
  const up = wantedHigher(state, reading, options);
  return up === null ? { state, step: null } : move(state, reading.nowMs, { to: up, reason: 'recovered' });
}

/** Adds the temperature to the samples. A gap in the temperatures ends the trend, because earlier samples say nothing about what follows. */
function observe(state: GovernorState, { nowMs, celsius }: Reading): GovernorState {
  if (celsius === null) return state.samples.length === 0 ? state : { ...state, samples: [] };
  return { ...state, sensed: true, samples: withSample(state.samples, { atMs: nowMs, celsius }) };
}

/** The rung to go down to, and why; null when no limit is in danger, or when there is no lower rung. */
function wantedLower(state: GovernorState, reading: Reading, { ladder, limits }: GovernorOptions): { to: number; reason: GovernorReason } | null {
  if (state.rung >= ladder.length - 1) return null;
  const slow = rested(state, reading, SLOW_LOOK_MS);
  const cuts: readonly (readonly [GovernorReason, number])[] = [
    ['temperature', thermalCut(state, reading, limits.celsius)],
    ['power', powerCut(state, reading, limits.watts)],
    ['battery', slow && exceeds(limits.batteryHours, reading.batteryHours) ? ONE_RUNG : KEEP],
    ['deadline', slow && exceeds(reading.late, limits.late) ? ONE_RUNG : KEEP],
  ];
  const [reason, share] = cuts.reduce((deepest, cut) => (cut[1] < deepest[1] ? cut : deepest));
  return share === KEEP ? null : { to: Math.max(firstWithin(ladder, state.rung, share), backFrom(state, reading)), reason };
}

/**
 * A trial that failed ends where it began, which is known to keep the limits: going down rung by rung from there would take a move for each of them.
 * The present rung when there was no trial.
 */
const backFrom = (state: GovernorState, { nowMs }: Reading): number => (isTrial(state, nowMs) ? state.raisedFrom ?? state.rung : state.rung);

function thermalCut(state: GovernorState, reading: Reading, limit: number | null): number {
  const trend = trendOf(state.samples);
  if (limit === null || trend === null || reading.celsius === null) return KEEP;
  const { celsius, slope } = trend;
  if (slope !== null && slope < -FALLING) return KEEP;
  const urgent = rested(state, reading, URGENT_LOOK_MS);
  if (reading.celsius >= limit) return urgent ? HALF : KEEP;
  const target = limit - MARGIN;
  const left = secondsTo(target, trend);
  if (slope === null || left === null || left > LEAD_S || celsius < target - NEAR) return KEEP;
  if (left < URGENT_S && slope > STEEP) return urgent ? HALF : KEEP;
  if (!rested(state, reading, state.raisedFrom !== null ? RAISED_LOOK_MS : LOOK_MS)) return KEEP;
  return left < SOON_S && slope > STEEP ? TWO_THIRDS : ONE_RUNG;
}

function powerCut(state: GovernorState, reading: Reading, limit: number | null): number {
  const { watts } = reading;
  if (limit === null || watts === null || watts <= limit || !rested(state, reading, LOOK_MS)) return KEEP;
  return Math.min(ONE_RUNG, limit / watts);
}

/** The highest rung that has rested long enough and should keep every limit; null when there is none. */
function wantedHigher(state: GovernorState, reading: Reading, { ladder, limits }: GovernorOptions): number | null {
  const { rung, rests, movesMs } = state;
  if (!rested(state, reading, SHORTEST_REST_MS) || recent(movesMs, reading.nowMs).length >= MOVES_AN_HOUR) return null;
  const found = ladder.slice(0, rung).findIndex(({ load }, i) => rested(state, reading, rests[i] ?? SHORTEST_REST_MS)
    && keeps(state, reading, { limits, more: load / loadOf(ladder, rung) }));
  return found === -1 ? null : found;
}

/** Whether every limit should be kept with `more` times the present load. */
function keeps(state: GovernorState, { watts, batteryHours, late }: Reading, { limits, more }: { limits: GovernorLimits; more: number }): boolean {
  return coolEnough(state, limits.celsius, more)
    && (limits.watts === null || watts === null || watts * more <= limits.watts * (1 - ROOM))
    && (limits.batteryHours === null || batteryHours === null || batteryHours / more >= limits.batteryHours * (1 + ROOM))
    && (limits.late === null || late === null || late * more <= limits.late / 2);
}

/**
 * Whether the temperature should keep its limit with `more` times the load. What it has above the air grows at most as the load does, because a part
 * of it comes from the idle device. While a sensor is lost, nothing shows that there is room.
 */
function coolEnough({ samples, sensed }: GovernorState, limit: number | null, more: number): boolean {
  if (limit === null) return true;
  const trend = trendOf(samples);
  if (trend === null) return !sensed;
  if (trend.slope === null || trend.slope > STEADY) return false;
  return trend.celsius + Math.max(0, trend.celsius - IDLE_CELSIUS) * (more - 1) <= limit - MARGIN;
}

const isTrial = ({ raisedFrom, sinceMs }: GovernorState, nowMs: number): boolean => raisedFrom !== null && nowMs - sinceMs < TRIAL_MS;
const rested = ({ sinceMs }: GovernorState, { nowMs }: Reading, ms: number): boolean => nowMs - sinceMs >= ms;
const exceeds = (value: number | null, limit: number | null): boolean => value !== null && limit !== null && value > limit;
const recent = (times: readonly number[], nowMs: number): readonly number[] => times.filter((ms) => nowMs - ms < HOUR_MS);
const loadOf = (ladder: readonly Rung[], rung: number): number => ladder[rung]?.load ?? 1;

/** The first lower rung with at most this share of the present load; if there is none, the last rung. */
function firstWithin(ladder: readonly Rung[], rung: number, share: number): number {
  const found = ladder.findIndex(({ load }, i) => i > rung && load <= loadOf(ladder, rung) * share);
  return found === -1 ? ladder.length - 1 : found;
}

function move(state: GovernorState, nowMs: number, { to, reason }: { to: number; reason: GovernorReason }): { state: GovernorState; step: GovernorStep } {
  const { rung, samples, sensed, movesMs } = state;
  const lowered = to > rung;
  const { [rung]: rest = SHORTEST_REST_MS, ...others } = state.rests;
  const tooHigh = lowered && isTrial(state, nowMs);
  const rests = tooHigh ? { ...others, [rung]: Math.min(LONGEST_REST_MS, 2 * rest) } : others;
  return {
    state: { rung: to, sinceMs: nowMs, raisedFrom: lowered ? null : rung, samples: samples.slice(-1), sensed, rests, movesMs: [...recent(movesMs, nowMs), nowMs] },
    step: { from: rung, to, reason },
  };
}
