import { describe, expect, it } from 'vitest';
import { ThermalMonitor } from '../../../agent/thermal/thermal.js';
import { readMemory } from '../../../agent/telemetry/memory.js';
import { machine } from '../support/machine.js';

const T = 'sys/class/thermal';
const base = {
  [`${T}/thermal_zone0/type`]: 'cpu-thermal', [`${T}/thermal_zone0/temp`]: 61_500,
  [`${T}/thermal_zone0/trip_point_0_temp`]: 85_000, [`${T}/thermal_zone0/trip_point_0_type`]: 'passive',
  [`${T}/thermal_zone0/trip_point_1_temp`]: 95_000, [`${T}/thermal_zone0/trip_point_1_type`]: 'critical',
  [`${T}/thermal_zone0/trip_point_2_temp`]: 40_000, [`${T}/thermal_zone0/trip_point_2_type`]: 'active',
  [`${T}/thermal_zone1/type`]: 'broken',
  [`${T}/cooling_device0/type`]: 'pwm-fan', [`${T}/cooling_device0/cur_state`]: 2, [`${T}/cooling_device0/max_state`]: 4,
  [`${T}/cooling_device1/type`]: 'cpufreq-cpu0', [`${T}/cooling_device1/cur_state`]: 0, [`${T}/cooling_device1/max_state`]: 9,
  'sys/class/hwmon/hwmon0/name': 'k10temp', 'sys/class/hwmon/hwmon0/temp1_input': 55_250, 'sys/class/hwmon/hwmon0/temp1_label': 'Tctl',
  'sys/class/hwmon/hwmon1/name': 'nvme', 'sys/class/hwmon/hwmon1/temp1_input': 40_000,
  'sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq': 1_200_000, 'sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq': 1_800_000, 'sys/devices/system/cpu/cpufreq/policy0/cpuinfo_max_freq': 2_400_000,
};

describe('the thermal report', () => {
  it('has zones, trip points, cooling and frequencies in base units', async () => {
    const report = await new ThermalMonitor(machine(base).files).close();
    expect(report).toEqual({
      zones: [
        { zone: 'cpu-thermal.0', celsius: 61.5, celsius_max: 61.5, trip_celsius: 85 },
        { zone: 'k10temp.Tctl', celsius: 55.25, celsius_max: 55.25, trip_celsius: null },
      ],
      cooling: [{ device: 'pwm-fan.0', state: 2, state_max: 4 }, { device: 'cpufreq-cpu0.1', state: 0, state_max: 9 }],
      throttled: false,
      throttled_since_boot: false,
      cpus: [{ policy: 'policy0', current_hertz: 1.2e9, cap_hertz: 1.8e9, max_hertz: 2.4e9 }],
    });
  });

  it('remembers the peak of the window, and only of that', async () => {
    const { files, set } = machine(base);
    const monitor = new ThermalMonitor(files);
    set(`${T}/thermal_zone0/temp`, 80_000);
    await monitor.sample();
    set(`${T}/thermal_zone0/temp`, 60_000);
    expect((await monitor.close()).zones[0]).toMatchObject({ celsius: 60, celsius_max: 80 });
    expect((await monitor.close()).zones[0]).toMatchObject({ celsius_max: 60 });
  });

  it.each([
    ['the processor is being cooled by slowing it down', { [`${T}/cooling_device1/cur_state`]: 3 }],
    ['a passive trip point is reached', { [`${T}/thermal_zone0/temp`]: 85_000 }],
    ['a Raspberry Pi says so', { 'sys/devices/platform/soc/soc:firmware/get_throttled': '4' }],
  ])('is throttled when %s, and remembers it', async (_, change) => {
    const { files, set } = machine({ ...base, ...change });
    const monitor = new ThermalMonitor(files);
    expect(await monitor.close()).toMatchObject({ throttled: true, throttled_since_boot: true });
    for (const [path, value] of Object.entries(base)) set(path, value);
    set('sys/devices/platform/soc/soc:firmware/get_throttled', '0');
    expect(await monitor.close()).toMatchObject({ throttled: false, throttled_since_boot: true });
  });

  it('tells what the Raspberry Pi remembers from what it does now', async () => {
    const { files } = machine({ 'sys/devices/platform/soc/soc:firmware/get_throttled': '40000' });
    expect(await new ThermalMonitor(files).close()).toMatchObject({ throttled: false, throttled_since_boot: true });
  });

  it('of an empty machine is empty', async () => {
    expect(await new ThermalMonitor(machine({}).files).close()).toEqual({ zones: [], cooling: [], throttled: false, throttled_since_boot: false, cpus: [] });
  });

  it('does not believe 999 999 degrees, and is not throttled by them', async () => {
    const { files, set } = machine(base);
    const monitor = new ThermalMonitor(files);
    await monitor.close();
    set(`${T}/thermal_zone0/temp`, 999_999_000);
    await monitor.sample();
    const report = await monitor.close();
    expect(report.zones.map(({ zone }) => zone)).toEqual(['k10temp.Tctl']);
    expect(report).toMatchObject({ throttled: false, throttled_since_boot: false, invalid: [{ sensor: 'cpu-thermal.0', reason: 'out_of_range', readings: 2 }] });
    expect(monitor.faulty).toEqual([{ sensor: 'cpu-thermal.0', reason: 'out_of_range' }]);
    set(`${T}/thermal_zone0/temp`, 60_000);
    const after = await monitor.close();
    expect(after.zones[0]).toMatchObject({ celsius: 60, celsius_max: 60 });
    expect(after).not.toHaveProperty('invalid');
    expect([monitor.faulty, monitor.invalidReadings]).toEqual([[], 2]);
  });

  it.each([
    ['a zone that was readable', `${T}/thermal_zone0/temp`, '', { sensor: 'cpu-thermal.0', reason: 'unreadable' }],
    ['a zone below what silicon bears', `${T}/thermal_zone0/temp`, -274_000, { sensor: 'cpu-thermal.0', reason: 'out_of_range' }],
    ['a chip of hwmon', 'sys/class/hwmon/hwmon0/temp1_input', 255_000, { sensor: 'k10temp.Tctl', reason: 'out_of_range' }],
    ['a cooling device beyond its last state', `${T}/cooling_device1/cur_state`, 200, { sensor: 'cpufreq-cpu0.1', reason: 'out_of_range' }],
    ['a frequency of zero', 'sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq', 0, { sensor: 'policy0.current', reason: 'out_of_range' }],
    ['a frequency of 4 THz', 'sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq', 4_294_967_295, { sensor: 'policy0.current', reason: 'out_of_range' }],
    ['flags of a Raspberry Pi that are none', 'sys/devices/platform/soc/soc:firmware/get_throttled', 'error=1', { sensor: 'get_throttled', reason: 'out_of_range' }],
    ['flags of a Raspberry Pi that are all ones', 'sys/devices/platform/soc/soc:firmware/get_throttled', 'ffffffff', { sensor: 'get_throttled', reason: 'out_of_range' }],
  ])('leaves out and counts %s', async (_, path, value, expected) => {
    const { files, set } = machine(base);
    const monitor = new ThermalMonitor(files);
    await monitor.close();
    set(path, value);
    expect(await monitor.close()).toMatchObject({ throttled: false, throttled_since_boot: false, invalid: [{ ...expected, readings: 1 }] });
  });

  it('ignores trip points that no processor has', async () => {
    const { files } = machine({ ...base, [`${T}/thermal_zone0/trip_point_0_temp`]: -274_000, [`${T}/thermal_zone0/trip_point_0_type`]: 'critical', [`${T}/thermal_zone0/trip_point_1_temp`]: 2_147_483_647 });
    expect((await new ThermalMonitor(files).close()).zones[0]).toMatchObject({ trip_celsius: null });
  });
});

describe('memory', () => {
  it('that is left is null when it is more than there is, or no number', async () => {
    const left = async (text: string): Promise<number | null> => (await readMemory(machine({ 'proc/meminfo': text }).files)).system_available_bytes;
    expect(await left('MemTotal:  100 kB\nMemAvailable:  40 kB')).toBe(40_960);
    expect([await left('MemTotal:  100 kB\nMemAvailable:  400 kB'), await left('MemAvailable:  x kB'), await left('')]).toEqual([null, null, null]);
  });
});
