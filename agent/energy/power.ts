/**
 * Meters that show watts, integrated over time: INA3221 and similar sensors (hwmon), batteries, and the power management chip (PMIC) of a Raspberry
 * Pi 5.
 */
import type { Quality } from '../contracts/index.js';
import type { HostFiles } from '../platform/host-files.js';
import { MAX_WATTS, StuckDetector, type InvalidReason } from '../platform/plausible.js';
import type { EnergyMeter, Reading } from './types.js';

/** After a longer gap between two readings nothing is known about the power in between, so nothing is added for it. */
const LONGEST_GAP_MS = 60_000;

/** The present power in watts, or why the reading is invalid, or null when there is nothing to measure. */
type Watts = number | { invalid: InvalidReason } | null;

/** Integrates by the trapezoidal rule between valid readings. After an invalid reading the integration begins anew with the next valid one. */
export function integratingMeter(id: { source: string; scope: string; quality: Quality }, watts: () => Promise<Watts>): EnergyMeter {
  const limit = Object.entries(MAX_WATTS).find(([source]) => id.source.startsWith(source))?.[1] ?? Infinity;
  const stuck = new StuckDetector();
  let last: { watts: number; atMs: number } | null = null;
  return {
    ...id,
    sample: async (nowMs): Promise<Reading> => {
      const now = await watts();
      const before = last;
      last = null;
      if (now === null) return { joules: null };
      if (typeof now === 'object') return now;
      if (now < 0 || now > limit) return { invalid: 'out_of_range' };
      if (now > 0 && stuck.isStuck(String(now), nowMs)) return { invalid: 'stuck' };
      last = { watts: now, atMs: nowMs };
      const gapMs = before === null ? Infinity : nowMs - before.atMs;
      return { joules: before === null || gapMs > LONGEST_GAP_MS ? null : Math.max(0, ((before.watts + now) / 2) * (gapMs / 1000)) };
    },
  };
}

/**
 * INA219, INA226, INA3221 ... as the kernel's hwmon gives them (Documentation/hwmon/ina3221.rst): inN_input in millivolts,
 * currN_input in milliamperes, rails named by inN_label; or powerN_input in microwatts.
 */
export async function findInaMeters(files: HostFiles): Promise<EnergyMeter[]> {
  const meters: EnergyMeter[] = [];
  for (const chip of await files.list('sys/class/hwmon')) {
    const folder = `sys/class/hwmon/${chip}`;
    const name = await files.text(`${folder}/name`);
    if (name === null || !/^ina\d/.test(name)) continue;
    const entries = await files.list(folder);
    for (const entry of entries) {
      const channel = /^curr(\d+)_input$/.exec(entry)?.[1];
      if (channel === undefined || !entries.includes(`in${channel}_input`)) continue;
      const scope = (await files.text(`${folder}/in${channel}_label`)) ?? `${chip}.${channel}`;
      meters.push(integratingMeter({ source: name, scope, quality: 'measured' }, async () => product(
        await files.number(`${folder}/in${channel}_input`), await files.number(`${folder}/curr${channel}_input`), 1e-6,
      )));
    }
  }
  return meters;
}

/** Discharging batteries (kernel Documentation/ABI/testing/sysfs-class-power): power_now in microwatts, or volts times amperes. */
export async function findBatteries(files: HostFiles): Promise<EnergyMeter[]> {
  const meters: EnergyMeter[] = [];
  for (const name of await files.list('sys/class/power_supply')) {
    const folder = `sys/class/power_supply/${name}`;
    if ((await files.text(`${folder}/type`)) !== 'Battery') continue;
    meters.push(integratingMeter({ source: 'battery', scope: name, quality: 'measured' }, async () => {
      const status = await files.text(`${folder}/status`);
      if (status === null) return { invalid: 'unreadable' };
      if (status !== 'Discharging') return null;
      const power = await files.number(`${folder}/power_now`);
      if (power !== null) return Math.abs(power) / 1e6;
      return product(await files.number(`${folder}/voltage_now`), await files.number(`${folder}/current_now`), 1e-12);
    }));
  }
  return meters;
}

/**
 * Watts from the output of `vcgencmd pmic_read_adc`: the sum over all rails, corrected to the power of the whole board. Null when the text is no such
 * output.
 */
export function pmicWatts(output: string): number | null {
  const volts = new Map<string, number>();
  const amperes = new Map<string, number>();
  for (const [, rail = '', kind, value] of output.matchAll(/^\s*(\w+)_([AV])\s+(?:current|volt)\(\d+\)=([\d.]+)[AV]\s*$/gm)) {
    (kind === 'V' ? volts : amperes).set(rail, Number(value));
  }
  let sum = 0;
  for (const [rail, current] of amperes) sum += current * (volts.get(rail) ?? 0);
  // The rails leave out USB and the 5 V loads. These factors are a linear fit that users of the board made against a wall meter.
  return sum === 0 || !Number.isFinite(sum) ? null : 1.1451 * sum + 0.5879;
}

function product(a: number | null, b: number | null, scale: number): Watts {
  return a === null || b === null ? { invalid: 'unreadable' } : Math.abs(a * b) * scale;
}
