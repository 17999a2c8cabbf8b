/**
 * Temperatures, cooling and frequency, from sysfs directly (systeminformation misreads some boards). Units of the kernel:
 * millidegrees, kilohertz. A sensor that does not answer is left out.
 */
import type { ThermalReport } from '../contracts/index.js';
import type { HostFiles } from '../platform/host-files.js';

interface Zone {
  zone: string;
  celsius: number;
  trip_celsius: number | null;
  passive_celsius: number | null;
}

const THERMAL = 'sys/class/thermal';
const CPUFREQ = 'sys/devices/system/cpu/cpufreq';
const PI_THROTTLED = 'sys/devices/platform/soc/soc:firmware/get_throttled';
/** hwmon chips whose temperatures are the processor's or the board's; the rest (disks, network) is not ours to watch. */
const HWMON_CHIPS = /^(coretemp|k10temp|zenpower|cpu_thermal|soc_thermal|rp1_adc|acpitz)$/;

/** `get_throttled` of the Raspberry Pi: bits 0..3 now (under-voltage, capped, throttled, soft limit), 16..19 since boot. */
const PI_NOW = 0b1110;
const PI_SINCE_BOOT = PI_NOW << 16;

export class ThermalMonitor {
  readonly #files: HostFiles;
  #hottest = new Map<string, number>();
  #everThrottled = false;
  #throttleCount: number | null = null;

  constructor(files: HostFiles) {
    this.#files = files;
  }

  async zoneNames(): Promise<string[]> {
    return (await this.#zones()).map(({ zone }) => zone);
  }

  /** Notes peaks between two windows. */
  async sample(): Promise<void> {
    for (const { zone, celsius } of await this.#zones()) this.#note(zone, celsius);
  }

  /** Reads everything and begins a new window of peaks. */
  async close(): Promise<ThermalReport> {
    const zones = await this.#zones();
    for (const { zone, celsius } of zones) this.#note(zone, celsius);
    const peaks = this.#hottest;
    this.#hottest = new Map();
    const cooling = await this.#cooling();
    const throttled = await this.#throttled(zones, cooling);
    this.#everThrottled ||= throttled.now || throttled.sinceBoot;
    return {
      zones: zones.map(({ zone, celsius, trip_celsius }) => ({ zone, celsius, celsius_max: peaks.get(zone) ?? celsius, trip_celsius })),
      cooling,
      throttled: throttled.now,
      throttled_since_boot: this.#everThrottled,
      cpus: await this.#cpus(),
    };
  }

  #note(zone: string, celsius: number): void {
    this.#hottest.set(zone, Math.max(celsius, this.#hottest.get(zone) ?? -Infinity));
  }

  async #zones(): Promise<Zone[]> {
    return [...await this.#thermalZones(), ...await this.#hwmonZones()];
  }

  async #thermalZones(): Promise<Zone[]> {
    const zones: Zone[] = [];
    for (const name of await this.#files.list(THERMAL)) {
      if (!name.startsWith('thermal_zone')) continue;
      const millis = await this.#files.number(`${THERMAL}/${name}/temp`);
      if (millis === null) continue;
      const trips = await this.#trips(`${THERMAL}/${name}`);
      zones.push({
        zone: `${(await this.#files.text(`${THERMAL}/${name}/type`)) ?? 'zone'}.${name.slice('thermal_zone'.length)}`,
        celsius: millis / 1000,
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
      if (type !== null && millis !== null && millis > 0 && /^(passive|hot|critical)$/.test(type)) trips.push({ type, celsius: millis / 1000 });
    }
    return trips;
  }

  async #hwmonZones(): Promise<Zone[]> {
    const zones: Zone[] = [];
    for (const chip of await this.#files.list('sys/class/hwmon')) {
      const folder = `sys/class/hwmon/${chip}`;
      const name = await this.#files.text(`${folder}/name`);
      if (name === null || !HWMON_CHIPS.test(name)) continue;
      for (const entry of await this.#files.list(folder)) {
        const index = /^temp(\d+)_input$/.exec(entry)?.[1];
        const millis = index === undefined ? null : await this.#files.number(`${folder}/${entry}`);
        if (index === undefined || millis === null) continue;
        const label = (await this.#files.text(`${folder}/temp${index}_label`)) ?? index;
        const limit = await this.#files.number(`${folder}/temp${index}_crit`);
        zones.push({ zone: `${name}.${label}`, celsius: millis / 1000, trip_celsius: limit === null ? null : limit / 1000, passive_celsius: null });
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
      if (state === null || max === null || state < 0) continue;
      devices.push({ device: `${(await this.#files.text(`${THERMAL}/${name}/type`)) ?? 'device'}.${name.slice('cooling_device'.length)}`, state, state_max: max });
    }
    return devices;
  }

  /** Now: the kernel slows the processor down because of heat. A fan that turns is no throttling. */
  async #throttled(zones: readonly Zone[], cooling: ThermalReport['cooling']): Promise<{ now: boolean; sinceBoot: boolean }> {
    const cpuCooling = cooling.some(({ device, state }) => state > 0 && /^(cpufreq|processor|cpu-|thermal-cpufreq|intel_powerclamp)/i.test(device));
    const passive = zones.some(({ celsius, passive_celsius }) => passive_celsius !== null && celsius >= passive_celsius);
    const count = await this.#files.number('sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count');
    const grew = count !== null && this.#throttleCount !== null && count > this.#throttleCount;
    this.#throttleCount = count;
    const pi = Number.parseInt((await this.#files.text(PI_THROTTLED)) ?? '0', 16) || 0;
    return {
      now: cpuCooling || passive || grew || (pi & PI_NOW) !== 0,
      sinceBoot: (count ?? 0) > 0 || (pi & PI_SINCE_BOOT) !== 0,
    };
  }

  async #cpus(): Promise<ThermalReport['cpus']> {
    const cpus: ThermalReport['cpus'] = [];
    for (const policy of await this.#files.list(CPUFREQ)) {
      const [current, cap, max] = await Promise.all(['scaling_cur_freq', 'scaling_max_freq', 'cpuinfo_max_freq'].map((f) => this.#files.number(`${CPUFREQ}/${policy}/${f}`)));
      if (current == null || cap == null || max == null) continue;
      cpus.push({ policy, current_hertz: current * 1000, cap_hertz: cap * 1000, max_hertz: max * 1000 });
    }
    return cpus.slice(0, 64);
  }
}

function lowest(values: readonly number[]): number | null {
  return values.length === 0 ? null : Math.min(...values);
}
