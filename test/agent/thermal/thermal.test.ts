import { describe, expect, it } from 'vitest';
import { ThermalMonitor } from '../../../agent/thermal/thermal.js';
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
});
