/** The governor's shell. It reads the sensors every two seconds, asks the controller, and tells the pipelines how much to do. */
import type { Config } from '../config/schema.js';
import type { GovernorEvent, GovernorReport } from '../contracts/index.js';
import type { EventPort } from '../ground/events.js';
import type { Clock } from '../platform/clock.js';
import { initialGovernor, onOtherLadder, stepGovernor, type GovernorLimits, type GovernorState, type GovernorStep, type Reading } from './controller.js';
import { ladderFor, type LadderBounds, type OperatingPoint, type Rung, type Variant } from './ladder.js';
import { secondsTo, trendOf } from './trend.js';

const LOOK_MS = 2000;
/**
 * The default limit lies this many degrees Celsius below the temperature at which the kernel slows the processor down: losing a few frames on purpose
 * is better than having all of them late.
 */
const BELOW_TRIP = 3;

const allOfIt: OperatingPoint = { gate: 1, pace: 1, variant: 0 };

interface Deadlines {
  frames: number;
  missed: number;
}

/** The values that the governor reads; each of them may be missing. */
export interface GovernorSensors {
  /** From the newest sample: the hottest zone, and the lowest temperature at which the kernel slows the processor down. Degrees Celsius. */
  thermal(): { celsius: number | null; passiveCelsius: number | null };
  /** Mean power of the last seconds, watts. */
  watts(): number | null;
  /** Read only where there is a limit. */
  batteryHours(): Promise<number | null>;
  /** For each pipeline, the frames with a deadline since the start, and how many of them missed it. */
  deadlines(): readonly Deadlines[];
}

export interface GovernorSettings extends LadderBounds {
  enabled: boolean;
  /** Null means `BELOW_TRIP` under the lowest passive trip point; where there is no trip point, there is no limit. */
  celsius: number | null;
  watts: number | null;
  batteryHours: number | null;
  late: number | null;
}

export function governorSettings(config: Config['governor']): GovernorSettings {
  return {
    enabled: config.enabled, celsius: config.max_celsius ?? null, watts: config.max_watts ?? null, batteryHours: config.battery_hours ?? null,
    late: config.max_late ?? null, maxGate: config.max_gate_factor, minPace: config.min_pace, maxVariantCost: config.max_variant_cost,
  };
}

export interface GovernorParts {
  sensors: GovernorSensors;
  settings: GovernorSettings;
  events: EventPort;
  clock: Clock;
  /** Tells the pipelines how much to do. */
  apply(point: OperatingPoint): void;
  /** Of each pipeline, the variants that its package can go down to now. */
  variants(): readonly (readonly Variant[])[];
}

export class Governor {
  readonly #parts: GovernorParts;
  #ladder: readonly Rung[];
  #state: GovernorState;
  #limits: GovernorLimits;
  /** The lowest passive trip point when it was last read. It is kept, because it vanishes together with its sensor and the limit still holds. */
  #passiveCelsius: number | null = null;
  #deadlines: Deadlines = { frames: 0, missed: 0 };
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<void> = Promise.resolve();

  constructor(parts: GovernorParts) {
    this.#parts = parts;
    this.#ladder = ladderFor(parts.variants(), parts.settings);
    this.#state = initialGovernor(parts.clock.monotonicMs());
    this.#limits = limitsOf(parts.settings, null);
  }

  /** How much the pipelines do now. */
  get point(): OperatingPoint {
    const { gate, pace, variant } = this.#ladder[this.#state.rung] ?? allOfIt;
    return { gate, pace, variant };
  }

  /** What telemetry reports. Null where nothing is governed: the governor is off, or it has no limit to keep. */
  get report(): GovernorReport | null {
    const { celsius } = this.#limits;
    const { rung, samples } = this.#state;
    if (!this.#parts.settings.enabled || Object.values(this.#limits).every((limit) => limit === null)) return null;
    const trend = trendOf(samples);
    const left = celsius === null || trend === null ? null : secondsTo(celsius, trend);
    return {
      rung, rungs: this.#ladder.length, limit_celsius: celsius, seconds_to_limit: left === null ? null : Math.round(left),
      celsius_per_minute: trend?.slope == null ? null : Number((60 * trend.slope).toFixed(2)),
    };
  }

  start(): void {
    if (!this.#parts.settings.enabled || this.#timer !== undefined) return;
    this.#timer = setInterval(() => void this.look(), LOOK_MS);
    this.#timer.unref();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    await this.#looking;
  }

  /** Reads the sensors once, and moves to another rung when it must. Calls that overlap run one after another. */
  look(): Promise<void> {
    this.#looking = this.#looking.then(() => this.#look());
    return this.#looking;
  }

  /**
   * Another package serves, or a variant cannot be used any more: the ladder is made anew. The governor goes on at the first of its rungs that has no more
   * load than the present one. The pipelines are told in any case, because a package that has just been opened runs its own networks.
   */
  variantsChanged(): void {
    const [before, from] = [this.#ladder, this.#state.rung];
    const load = before[from]?.load ?? 1;
    const was = this.point;
    this.#ladder = ladderFor(this.#parts.variants(), this.#parts.settings);
    const found = this.#ladder.findIndex((rung) => rung.load <= load);
    const to = found === -1 ? this.#ladder.length - 1 : found;
    this.#state = onOtherLadder(this.#state, to);
    this.#parts.apply(this.point);
    if (JSON.stringify(was) === JSON.stringify(this.point)) return;
    this.#tell({ from, to, reason: 'variants' }, (this.#ladder[to]?.load ?? 1) > load ? 'raised' : 'lowered', { celsius: null, watts: null, batteryHours: null, late: null });
  }

  async #look(): Promise<void> {
    const { sensors, settings, clock } = this.#parts;
    const { celsius, passiveCelsius } = sensors.thermal();
    this.#passiveCelsius = passiveCelsius ?? this.#passiveCelsius;
    this.#limits = limitsOf(settings, this.#passiveCelsius);
    const hours = settings.batteryHours === null ? null : await sensors.batteryHours();
    const reading: Reading = { nowMs: clock.monotonicMs(), celsius, watts: sensors.watts(), batteryHours: hours, late: this.#late() };
    const { state, step } = stepGovernor(this.#state, reading, { ladder: this.#ladder, limits: this.#limits });
    this.#state = state;
    if (step !== null) this.#moved(step, reading);
  }

  /** Share of the frames since the last look that missed their deadline; null without frames. */
  #late(): number | null {
    const now = { frames: 0, missed: 0 };
    for (const { frames, missed } of this.#parts.sensors.deadlines()) {
      now.frames += frames;
      now.missed += missed;
    }
    const frames = now.frames - this.#deadlines.frames;
    const missed = now.missed - this.#deadlines.missed;
    this.#deadlines = now;
    return frames <= 0 ? null : missed / frames;
  }

  #moved(step: GovernorStep, reading: Reading): void {
    this.#parts.apply(this.point);
    this.#tell(step, step.to > step.from ? 'lowered' : 'raised', reading);
  }

  #tell({ from, to, reason }: { from: number; to: number; reason: GovernorEvent['reason'] }, action: GovernorEvent['action'], { celsius, watts, batteryHours, late }: Omit<Reading, 'nowMs'>): void {
    const { gate, pace, variant } = this.point;
    this.#parts.events.emit({
      type: 'governor', pipeline: null, action, reason, from, to, rungs: this.#ladder.length, gate_factor: gate, pace, variant,
      reading: { celsius, watts, battery_hours: batteryHours, late },
    });
  }
}

function limitsOf({ celsius, watts, batteryHours, late }: GovernorSettings, passiveCelsius: number | null): GovernorLimits {
  return { celsius: celsius ?? (passiveCelsius === null ? null : passiveCelsius - BELOW_TRIP), watts, batteryHours, late };
}
