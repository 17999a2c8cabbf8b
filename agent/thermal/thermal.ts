/**
 * Reads temperatures, cooling and frequency from sysfs itself, because systeminformation misreads some boards. The kernel's units are millidegrees
 * Celsius and kilohertz. A sensor that does not answer is left out.
 */
import type { ThermalReport } from '../contracts/index.js';
import type { HostFiles } from '../platform/host-files.js';
import { plausibleCelsius, plausibleHertz, type InvalidReason } from '../platform/plausible.js';

interface Zone {
  zone: string;
  celsius: number;
  trip_celsius: number | null;
  passive_celsius: number | null;
}

const THERMAL = 'sys/class/thermal';
const CPUFREQ = 'sys/devices/system/cpu/cpufreq';
const PI_THROTTLED = 'sys/devices/platform/soc/soc:firmware/get_throttled';
/** hwmon chips that measure the processor's or the board's temperature. Others, such as those of disks and network cards, are ignored. */
const HWMON_CHIPS = /^(coretemp|k10temp|zenpower|cpu_thermal|soc_thermal|rp1_adc|acpitz)$/;

/** Bits of the Raspberry Pi's `get_throttled`: bits 0 to 3 hold now (under-voltage, capped, throttled, soft limit), bits 16 to 19 since boot. */
const PI_NOW = 0b1110;
const PI_SINCE_BOOT = PI_NOW << 16;
const PI_FLAGS = 0b1111 | (0b1111 << 16);

export class ThermalMonitor {
  readonly #files: HostFiles;
  #hottest = new Map<string, number>();
  #everThrottled = false;
  /** The kernel's count of slow-downs at the end of the last window, and at the last look in between. */
  #throttleCount: number | null = null;
  #countAtLook: number | null = null;
  /** Invalid readings of this window, by sensor. */
  #invalid = new Map<string, { reason: InvalidReason; readings: number }>();
  /** Why the newest reading of a sensor was invalid. Sensors whose newest reading was valid are not in it. */
  readonly #faulty = new Map<string, InvalidReason>();
  #invalidReadings = 0;
  #latest: { celsius: number | null; passiveCelsius: number | null } = { celsius: null, passiveCelsius: null };
  /** Sensors that gave a number at least once. When such a sensor gives none, it is faulty; others are just absent. */
  readonly #known = new Set<string>();

  constructor(files: HostFiles) {
    this.#files = files;
  }

  async zoneNames(): Promise<string[]> {
    return (await this.#zones()).map(({ zone }) => zone);
  }

  /** Sensors whose newest reading was invalid. */
  get faulty(): { sensor: string; reason: string }[] {
    return [...this.#faulty].map(([sensor, reason]) => ({ sensor, reason }));
  }

  /**
   * Values of the newest sample: the temperature of the hottest zone, and the lowest temperature at which the kernel slows the processor down. Null
   * where there is none.
   */
  get latest(): { celsius: number | null; passiveCelsius: number | null } {
    return this.#latest;
  }

  /** Invalid readings since the start. */
  get invalidReadings(): number {
    return this.#invalidReadings;
  }

  /** Takes a sample between two windows, for their peaks. */
  async sample(): Promise<void> {
    for (const { zone, celsius } of await this.#zones()) this.#note(zone, celsius);
  }

  /** Whether heat slows the processor down now. Frequent calls do not disturb the windows. */
  async throttledNow(): Promise<boolean> {
    const { now, count } = await this.#throttled(await this.#zones(), await this.#cooling(), this.#countAtLook);
    this.#countAtLook = count;
    return now;
  }

  /** Reads everything and begins a new window of peaks. */
  async close(): Promise<ThermalReport> {
    const zones = await this.#zones();
    for (const { zone, celsius } of zones) this.#note(zone, celsius);
    const peaks = this.#hottest;
    this.#hottest = new Map();
    const cooling = await this.#cooling();
    const throttled = await this.#throttled(zones, cooling, this.#throttleCount);
    this.#throttleCount = throttled.count;
    this.#everThrottled ||= throttled.now || throttled.sinceBoot;
    const cpus = await this.#cpus();
    const invalid = [...this.#invalid].map(([sensor, { reason, readings }]) => ({ sensor, reason, readings })).slice(0, 64);
    this.#invalid = new Map();
    return {
      zones: zones.map(({ zone, celsius, trip_celsius }) => ({ zone, celsius, celsius_max: peaks.get(zone) ?? celsius, trip_celsius })),
      ...(invalid.length > 0 ? { invalid } : {}),
      cooling,
      throttled: throttled.now,
      throttled_since_boot: this.#everThrottled,
      cpus,
    };
  }

  /**
   * The value; null for a reading that must not be used, because the sensor was always absent, or because the value is invalid and is counted as
   * such.
   */
  #checked(sensor: string, value: number | null, plausible: (value: number) => boolean): number | null {
    if (value === null && !this.#known.has(sensor)) return null;
    this.#known.add(sensor);
    const reason = value === null ? 'unreadable' : plausible(value) ? null : 'out_of_range';
    if (reason === null) {
      this.#faulty.delete(sensor);
      return value;
    }
    this.#faulty.set(sensor, reason);
    this.#invalid.set(sensor, { reason, readings: (this.#invalid.get(sensor)?.readings ?? 0) + 1 });
    this.#invalidReadings += 1;
    return null;
  }

  #note(zone: string, celsius: number): void {
    this.#hottest.set(zone, Math.max(celsius, this.#hottest.get(zone) ?? -Infinity));
  }

  async #zones(): Promise<Zone[]> {
    const zones = await this.#thermalZones();
    zones.push(...await this.#hwmonZones(new Set(zones.map(({ zone }) => zone.replace(/\.\d+$/, '').replaceAll('-', '_')))));
    this.#latest = {
      celsius: zones.length === 0 ? null : Math.max(...zones.map(({ celsius }) => celsius)),
      passiveCelsius: lowest(zones.flatMap(({ passive_celsius: passive }) => (passive === null ? [] : [passive]))),
    };
    return zones;
  }

  async #thermalZones(): Promise<Zone[]> {
    const zones: Zone[] = [];
    for (const name of await this.#files.list(THERMAL)) {
      if (!name.startsWith('thermal_zone')) continue;
      const zone = `${(await this.#files.text(`${THERMAL}/${name}/type`)) ?? 'zone'}.${name.slice('thermal_zone'.length)}`;
      const celsius = this.#checked(zone, degrees(await this.#files.number(`${THERMAL}/${name}/temp`)), plausibleCelsius);
      if (celsius === null) continue;
      const trips = await this.#trips(`${THERMAL}/${name}`);
      zones.push({
        zone,
        celsius,
        trip_celsius: lowest(trips.map((t) => t.celsius)),
        passive_celsius: lowest(trips.filter((t) => t.type === 'passive').map((t) => t.celsius)),
      });
    }
    return zones;
  }

  async #trips(folder: string): Promise<{ type: string; celsius: number }[]> {
    const trips: { type: string; celsius: number }[] = [];
    for (const entry of await this.#files.list(folder)) {
      const index = /^trip_point_(\d+)_temp$/.exec(entry)?.[1];
      if (index === undefined) continue;
      const type = await this.#files.text(`${folder}/trip_point_${index}_type`);
      const millis = await this.#files.number(`${folder}/${entry}`);
      if (type !== null && millis !== null && millis > 0 && plausibleCelsius(millis / 1000) && /^(passive|hot|critical)$/.test(type)) trips.push({ type, celsius: millis / 1000 });
    }
    return trips;
  }

  /** @param shown chips that the kernel makes of the thermal zones (drivers/thermal/thermal_hwmon.c): what they measure is known already */
  async #hwmonZones(shown: ReadonlySet<string>): Promise<Zone[]> {
    const zones: Zone[] = [];
    for (const chip of await this.#files.list('sys/class/hwmon')) {
      const folder = `sys/class/hwmon/${chip}`;
      const name = await this.#files.text(`${folder}/name`);
      if (name === null || !HWMON_CHIPS.test(name) || shown.has(name)) continue;
      for (const entry of await this.#files.list(folder)) {
        const index = /^temp(\d+)_input$/.exec(entry)?.[1];
        if (index === undefined) continue;
        const label = (await this.#files.text(`${folder}/temp${index}_label`)) ?? index;
        const celsius = this.#checked(`${name}.${label}`, degrees(await this.#files.number(`${folder}/${entry}`)), plausibleCelsius);
        if (celsius === null) continue;
        const limit = degrees(await this.#files.number(`${folder}/temp${index}_crit`));
        zones.push({ zone: `${name}.${label}`, celsius, trip_celsius: limit !== null && limit > 0 && plausibleCelsius(limit) ? limit : null, passive_celsius: null });
      }
    }
    return zones;
  }

  async #cooling(): Promise<ThermalReport['cooling']> {
    const devices: ThermalReport['cooling'] = [];
    for (const name of await this.#files.list(THERMAL)) {
      if (!name.startsWith('cooling_device')) continue;
      const state = await this.#files.number(`${THERMAL}/${name}/cur_state`);
      const max = await this.#files.number(`${THERMAL}/${name}/max_state`);
      const device = `${(await this.#files.text(`${THERMAL}/${name}/type`)) ?? 'device'}.${name.slice('cooling_device'.length)}`;
      // Intel's powerclamp says -1 while it is off.
      if (max === null || state === -1 || this.#checked(device, state, (s) => Number.isInteger(s) && s >= 0 && s <= max) === null || state === null) continue;
      devices.push({ device, state, state_max: max });
    }
    return devices;
  }

  /** Whether the kernel slows the processor down now because of heat. A fan that turns is no throttling. */
  async #throttled(zones: readonly Zone[], cooling: ThermalReport['cooling'], before: number | null): Promise<{ now: boolean; sinceBoot: boolean; count: number | null }> {
    const cpuCooling = cooling.some(({ device, state }) => state > 0 && /^(cpufreq|processor|cpu-|thermal-cpufreq|intel_powerclamp)/i.test(device));
    const passive = zones.some(({ celsius, passive_celsius }) => passive_celsius !== null && celsius >= passive_celsius);
    const count = await this.#files.number('sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count');
    const grew = count !== null && before !== null && count > before;
    const pi = this.#checked('get_throttled', parseFlags(await this.#files.text(PI_THROTTLED)), (flags) => flags >= 0 && flags <= PI_FLAGS) ?? 0;
    return {
      now: cpuCooling || passive || grew || (pi & PI_NOW) !== 0,
      count,
      sinceBoot: (count ?? 0) > 0 || (pi & PI_SINCE_BOOT) !== 0,
    };
  }

  async #cpus(): Promise<ThermalReport['cpus']> {
    const cpus: ThermalReport['cpus'] = [];
    for (const policy of await this.#files.list(CPUFREQ)) {
      const [current, cap, max] = await Promise.all(['scaling_cur_freq', 'scaling_max_freq', 'cpuinfo_max_freq'].map((f) => this.#files.number(`${CPUFREQ}/${policy}/${f}`)));
      const [now, most, limit] = [['current', current], ['cap', cap], ['max', max]].map(([what, value]) => this.#checked(`${policy}.${what}`, typeof value === 'number' ? value * 1000 : null, plausibleHertz));
      if (now == null || most == null || limit == null) continue;
      cpus.push({ policy, current_hertz: now, cap_hertz: most, max_hertz: limit });
    }
    return cpus.slice(0, 64);
  }
}

function degrees(millis: number | null): number | null {
  return millis === null ? null : millis / 1000;
}

/** Parses hexadecimal digits, with or without 0x. -1 for a text that is no such number, null when there is no text. */
function parseFlags(text: string | null): number | null {
  if (text === null) return null;
  return /^(0x)?[0-9a-f]{1,8}$/i.test(text) ? Number.parseInt(text, 16) : -1;
}

function lowest(values: readonly number[]): number | null {
  return values.length === 0 ? null : Math.min(...values);
}
