/** Fits the energy model of a device to the readings of a meter, while known work runs at several loads. */
import type { EnergyMeter } from '../energy/types.js';
import { AgentError } from '../errors.js';
import type { NetworkFormat } from '../ground/test-networks.js';
import { leastSquares, type Estimate } from './least-squares.js';
import type { Load } from './loads.js';

/** Where time, work and rest come from; tests have their own. */
export interface Rig {
  nowMs(): number;
  sleep(ms: number): Promise<void>;
  /** Calls `work` again and again. @returns ends that */
  every(ms: number, work: () => void): () => void;
  /** CPU time of this process so far. */
  cpuSeconds(): number;
}

/** One step of the measurement: a load, the share of the time in which it works, and what the meter said. */
export interface Observation {
  load: NetworkFormat | null;
  /** From the beginning of the calibration to the middle of the step. */
  atSeconds: number;
  watts: number;
  busyCores: number;
  macsPerSecond: Record<NetworkFormat, number>;
}

export interface Calibration {
  /** Power at rest, watts, in the middle of the measurement. */
  idle_watts: Estimate;
  /** Power of one busy core, watts. */
  watts_per_core: Estimate;
  /** Energy of one multiply-add above the power at rest, joules. Absent when the loads do not tell it. */
  joules_per_mac?: Record<NetworkFormat, Estimate>;
  /** How fast the power at rest changed meanwhile. */
  drift_watts_per_minute: Estimate;
  /** What the power of busy cores leaves unexplained, and what multiply-adds do, watts. */
  residual_watts: number;
  residual_watts_of_macs?: number;
  r_squared: number;
  steps: number;
  /** Steps that were left out because of readings that cannot be true. */
  steps_left_out: number;
}

/** Working time of a duty cycle, and time between readings. Neither is a multiple of the other, so that readings meet every phase. */
const PERIOD_MS = 230;
const SAMPLE_MS = 41;
/** Before each step, until regulators and averages of the sensor have settled; at most a quarter of the step. */
const SETTLE_MS = 1500;
/** The interval of `watts_per_core` may be this wide at most, on either side. */
const LARGEST_ERROR = 0.2;

type Step = readonly [NetworkFormat | null, number];
/** Rest at both ends and in between, loads in turn and their shares up and down: a drift of the power at rest looks like none of them. */
const STEPS: readonly Step[] = [
  [null, 0], ['int8', 1], ['float32', 0.5], [null, 0], ['float32', 1], ['int8', 0.5], [null, 0],
  ['int8', 0.25], ['float32', 1], [null, 0], ['float32', 0.25], ['int8', 1], [null, 0],
];

/** How long a calibration takes, seconds. */
export const calibrationSeconds = (secondsPerStep: number): number => STEPS.length * secondsPerStep;

/** Reads the meter beside the work, and adds up its joules. */
class Ledger {
  #joules = 0;
  #bad = 0;
  #charging = false;
  #reading: Promise<void> = Promise.resolve();

  constructor(private readonly meter: EnergyMeter, private readonly nowMs: () => number) {}

  sample(): Promise<void> {
    this.#reading = this.#reading.then(async () => {
      const reading = await this.meter.sample(this.nowMs());
      this.#charging = !('invalid' in reading) && reading.joules === null;
      if ('invalid' in reading || reading.joules === null) this.#bad += 1;
      else this.#joules += reading.joules;
    });
    return this.#reading;
  }

  /** Since the last time: joules, or null when a reading was missing; and whether the newest reading had no value. */
  async take(): Promise<{ joules: number | null; charging: boolean }> {
    await this.sample();
    const taken = { joules: this.#bad > 0 ? null : this.#joules, charging: this.#charging };
    [this.#joules, this.#bad] = [0, 0];
    return taken;
  }
}

/** Repeats: works for a share of each period, rests for the remainder. @returns the number of runs */
async function keepBusy(load: Load | undefined, share: number, ms: number, rig: Rig): Promise<number> {
  let runs = 0;
  for (const end = rig.nowMs() + ms; rig.nowMs() < end;) {
    const began = rig.nowMs();
    if (load === undefined) {
      await rig.sleep(end - began);
      continue;
    }
    do {
      await load.run();
      runs += 1;
    } while (rig.nowMs() < Math.min(end, began + PERIOD_MS * share));
    const rest = Math.min(end - rig.nowMs(), (rig.nowMs() - began) * (1 / share - 1));
    if (rest > 0) await rig.sleep(rest);
  }
  return runs;
}

export interface CalibrateOptions {
  meter: EnergyMeter;
  loads: readonly Load[];
  rig: Rig;
  secondsPerStep: number;
  onStep?: (done: number, all: number) => void;
}

/**
 * Runs all steps, and fits.
 * @throws AgentError E_ENERGY_SOURCE when the meter gives no values, E_ENERGY_READING when too many of them cannot be true, and E_ENERGY_FIT when they
 * do not tell the power of a core
 */
export async function calibrate({ meter, loads, rig, secondsPerStep, onStep }: CalibrateOptions): Promise<Calibration> {
  const name = `${meter.source}/${meter.scope}`;
  const ledger = new Ledger(meter, () => rig.nowMs());
  const observations: Observation[] = [];
  await ledger.take();
  const [startMs, settleMs] = [rig.nowMs(), Math.min(SETTLE_MS, secondsPerStep * 250)];
  const stop = rig.every(SAMPLE_MS, () => void ledger.sample());
  try {
    for (const [i, [format, share]] of STEPS.entries()) {
      const load = loads.find((one) => one.format === format);
      await keepBusy(load, share, settleMs, rig);
      const { charging } = await ledger.take();
      if (i === 0 && charging) throw new AgentError('E_ENERGY_SOURCE', `${name} gives no values: a battery measures only while it discharges. Unplug the charger, and repeat`);
      const [fromMs, fromCpu] = [rig.nowMs(), rig.cpuSeconds()];
      const runs = await keepBusy(load, share, secondsPerStep * 1000 - settleMs, rig);
      const { joules } = await ledger.take();
      const seconds = (rig.nowMs() - fromMs) / 1000;
      const rate = (of: NetworkFormat): number => (load?.format === of ? (runs * load.macs) / seconds : 0);
      if (joules !== null) {
        observations.push({
          load: format, atSeconds: (fromMs - startMs) / 1000 + seconds / 2, watts: joules / seconds,
          busyCores: (rig.cpuSeconds() - fromCpu) / seconds, macsPerSecond: { int8: rate('int8'), float32: rate('float32') },
        });
      }
      onStep?.(i + 1, STEPS.length);
    }
  } finally {
    stop();
  }
  if (observations.length < STEPS.length - 3) {
    throw new AgentError('E_ENERGY_READING', `Readings of ${name} were missing or impossible in ${STEPS.length - observations.length} of ${STEPS.length} steps. Check its wiring and driver (sterna doctor), and repeat`);
  }
  return fitted(observations, STEPS.length - observations.length);
}

/** @throws AgentError E_ENERGY_FIT */
export function fitted(observations: readonly Observation[], leftOut: number): Calibration {
  const middle = observations.reduce((sum, { atSeconds }) => sum + atSeconds, 0) / observations.length;
  const watts = observations.map((one) => one.watts);
  const minutes = observations.map(({ atSeconds }) => (atSeconds - middle) / 60);
  const cores = leastSquares(observations.map(({ busyCores }, i) => [1, minutes[i] ?? 0, busyCores]), watts);
  // In thousands of millions a second, so that the columns have similar sizes.
  const macs = leastSquares(observations.map(({ macsPerSecond: { int8, float32 } }, i) => [1, minutes[i] ?? 0, int8 / 1e9, float32 / 1e9]), watts);
  const [idle, drift, core] = cores?.coefficients ?? [];
  if (cores === null || idle === undefined || drift === undefined || core === undefined || !(core.plus_minus <= LARGEST_ERROR * core.value)) {
    const found = core === undefined ? 'the loads cannot be told apart' : `a busy core takes ${core.value.toPrecision(3)} ± ${core.plus_minus.toPrecision(3)} W, which is not within ${LARGEST_ERROR * 100} %`;
    throw new AgentError('E_ENERGY_FIT', `The readings do not determine the energy model: ${found}. Stop the daemon and other programs, let the device cool down, and repeat with more --seconds`);
  }
  const [, , int8, float32] = (macs?.coefficients ?? []).map(({ value, plus_minus }): Estimate => ({ value: value / 1e9, plus_minus: plus_minus / 1e9 }));
  return {
    idle_watts: idle, watts_per_core: core,
    ...(macs === null || int8 === undefined || float32 === undefined ? {} : { joules_per_mac: { int8, float32 }, residual_watts_of_macs: macs.residual }),
    drift_watts_per_minute: drift, residual_watts: cores.residual, r_squared: cores.r_squared, steps: observations.length, steps_left_out: leftOut,
  };
}
