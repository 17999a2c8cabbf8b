import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cpuModelMeter } from '../../../agent/energy/model.js';
import { EnergyMonitor, findMeters } from '../../../agent/energy/monitor.js';
import { pmicWatts } from '../../../agent/energy/power.js';
import { wrappedDifference } from '../../../agent/energy/rapl.js';
import type { Clock } from '../../../agent/platform/clock.js';
import { StuckDetector } from '../../../agent/platform/plausible.js';
import { machine } from '../support/machine.js';

const time = { ms: 0 };
const clock: Clock = { nowMs: () => time.ms, monotonicMs: () => time.ms, synchronized: () => false };
const options = { wattsPerCore: 2 };

const rapl = {
  'sys/class/powercap/intel-rapl:0/name': 'package-0', 'sys/class/powercap/intel-rapl:0/energy_uj': 9_000_000, 'sys/class/powercap/intel-rapl:0/max_energy_range_uj': 10_000_000,
  'sys/class/powercap/intel-rapl:0:0/name': 'core', 'sys/class/powercap/intel-rapl:0:0/energy_uj': 0, 'sys/class/powercap/intel-rapl:0:0/max_energy_range_uj': 10_000_000,
};

describe('RAPL', () => {
  it('counts across the wrap, each scope by itself', async () => {
    time.ms = 0;
    const { files, set } = machine(rapl);
    const monitor = new EnergyMonitor(await findMeters(files, options), clock);
    await monitor.close(0, true);
    time.ms = 1000;
    set('sys/class/powercap/intel-rapl:0/energy_uj', 2_000_000);
    set('sys/class/powercap/intel-rapl:0:0/energy_uj', 1_500_000);
    const { sources, inference } = await monitor.close(3, true);
    expect(sources).toEqual([
      { source: 'rapl', scope: 'package-0', quality: 'measured', joules: 3, joules_total: 3 },
      { source: 'rapl', scope: 'core', quality: 'measured', joules: 1.5, joules_total: 1.5 },
    ]);
    expect(inference).toMatchObject({ scope: 'package-0', gross_joules: 1 });
  });

  it('never goes backwards', () => {
    fc.assert(fc.property(fc.nat(1e9), fc.nat(1e9), (before, after) => {
      expect(wrappedDifference(before, after, 1e9)).toBeGreaterThanOrEqual(0);
      expect((before + wrappedDifference(before, after, 1e9)) % 1e9).toBe(after % 1e9);
    }));
  });
});

describe('sensors of power', () => {
  it('INA3221: the rail by its label, watts integrated over time', async () => {
    time.ms = 0;
    const { files, set } = machine({
      'sys/class/hwmon/hwmon3/name': 'ina3221', 'sys/class/hwmon/hwmon3/in1_label': 'VDD_IN', 'sys/class/hwmon/hwmon3/in1_input': 5000, 'sys/class/hwmon/hwmon3/curr1_input': 1000,
      'sys/class/hwmon/hwmon3/in2_label': 'VDD_CPU', 'sys/class/hwmon/hwmon3/in2_input': 1000, 'sys/class/hwmon/hwmon3/curr2_input': 500,
      'sys/class/hwmon/hwmon0/name': 'nvme', 'sys/class/hwmon/hwmon0/temp1_input': 40_000,
    });
    const monitor = new EnergyMonitor(await findMeters(files, options), clock);
    await monitor.close(0, true);
    time.ms = 1000;
    set('sys/class/hwmon/hwmon3/curr1_input', 2000);
    const first = await monitor.close(0, true);
    expect(first.sources.map((s) => [s.scope, s.joules])).toEqual([['VDD_IN', 7.5], ['VDD_CPU', 0.5]]);
    time.ms = 2000;
    expect((await monitor.close(0, false)).inference).toBeNull();
    time.ms = 3000;
    const second = await monitor.close(10, true);
    expect(second.inference).toEqual({ source: 'ina3221', scope: 'VDD_IN', quality: 'measured', gross_joules: 1, net_joules: 0.25 });
  });

  it('the power at rest of the configuration serves until the daemon has rested itself, and never for a model', async () => {
    time.ms = 0;
    const { files } = machine({ 'sys/class/hwmon/hwmon3/name': 'ina219', 'sys/class/hwmon/hwmon3/in1_input': 5000, 'sys/class/hwmon/hwmon3/curr1_input': 800 });
    const monitor = new EnergyMonitor(await findMeters(files, options), clock, 3);
    await monitor.close(0, false);
    time.ms = 1000;
    expect((await monitor.close(2, false)).inference).toMatchObject({ gross_joules: 2, net_joules: 0.5 });
    time.ms = 2000;
    await monitor.close(0, true);
    time.ms = 3000;
    expect((await monitor.close(2, false)).inference).toMatchObject({ gross_joules: 2, net_joules: 0 });
    const modelled = new EnergyMonitor([cpuModelMeter(2, () => ({ user: time.ms * 1000, system: 0 }))], clock, 3);
    await modelled.close(0, false);
    time.ms = 4000;
    expect((await modelled.close(1, false)).inference).toMatchObject({ gross_joules: 2, net_joules: null });
  });

  it('a battery counts only while it discharges', async () => {
    time.ms = 0;
    const { files, set } = machine({ 'sys/class/power_supply/BAT0/type': 'Battery', 'sys/class/power_supply/BAT0/status': 'Discharging', 'sys/class/power_supply/BAT0/voltage_now': 8_000_000, 'sys/class/power_supply/BAT0/current_now': -500_000, 'sys/class/power_supply/AC/type': 'Mains' });
    const monitor = new EnergyMonitor(await findMeters(files, options), clock);
    await monitor.close(0, true);
    time.ms = 1000;
    expect((await monitor.close(0, true)).sources).toEqual([{ source: 'battery', scope: 'BAT0', quality: 'measured', joules: 4, joules_total: 4 }]);
    set('sys/class/power_supply/BAT0/status', 'Charging');
    time.ms = 2000;
    expect((await monitor.close(0, true)).sources[0]?.joules).toBeNull();
  });

  it('the PMIC of a Raspberry Pi 5 is an estimate', async () => {
    const output = '   3V7_WL_SW_A current(0)=0.50000000A\n   VDD_CORE_A current(7)=2.00000000A\n   3V7_WL_SW_V volt(8)=4.00000000V\n  VDD_CORE_V volt(15)=0.50000000V\n   EXT5V_V volt(24)=5.1V\n';
    expect(pmicWatts(output)).toBeCloseTo(1.1451 * 3 + 0.5879, 9);
    expect([pmicWatts(''), pmicWatts('error=1'), pmicWatts('VDD_A current(1)=NaNA')]).toEqual([null, null, null]);
    const meters = await findMeters(machine({}).files, { ...options, readPmic: () => Promise.resolve(output) });
    expect(meters.map((m) => [m.source, m.quality])).toEqual([['rpi5_pmic', 'estimated']]);
  });

  it('a gap longer than a minute says nothing', async () => {
    time.ms = 0;
    const { files } = machine({ 'sys/class/power_supply/B/type': 'Battery', 'sys/class/power_supply/B/status': 'Discharging', 'sys/class/power_supply/B/power_now': 1e6 });
    const monitor = new EnergyMonitor(await findMeters(files, options), clock);
    await monitor.sample();
    time.ms = 3_600_000;
    expect((await monitor.close(0, true)).sources[0]?.joules).toBeNull();
  });
});

describe('a machine without sensors', () => {
  it('has modelled joules, and says so', async () => {
    const usage = { user: 1_000_000, system: 0 };
    const meter = cpuModelMeter(2, () => usage);
    await meter.sample(0);
    usage.system = 500_000;
    expect(await meter.sample(1)).toEqual({ joules: 1 });
    expect((await findMeters(machine({}).files, options)).map((m) => [m.source, m.quality])).toEqual([['cpu_model', 'modelled']]);
  });

  it('leaves out what it may not read or what makes no sense', async () => {
    const { files } = machine({ 'sys/class/powercap/intel-rapl:0/name': 'package-0', 'sys/class/powercap/intel-rapl:0/energy_uj': 'garbage', 'sys/class/hwmon/hwmon0/name': 'ina219', 'sys/class/hwmon/hwmon0/curr1_input': 5 });
    expect((await findMeters(files, options)).map((m) => m.source)).toEqual(['cpu_model']);
  });
});

describe('sensors that lie', () => {
  const ENERGY = 'sys/class/powercap/intel-rapl:0/energy_uj';
  const server = { 'sys/class/powercap/intel-rapl:0/name': 'package-0', [ENERGY]: 200_000_000_000, 'sys/class/powercap/intel-rapl:0/max_energy_range_uj': 262_143_328_850 };

  async function step(monitor: EnergyMonitor, seconds = 1): Promise<Awaited<ReturnType<EnergyMonitor['close']>>> {
    time.ms += seconds * 1000;
    return monitor.close(10, true);
  }

  it('a RAPL counter that begins anew is no 62 kJ in a second, and one that wraps is told from it', async () => {
    time.ms = 0;
    const { files, set } = machine(server);
    const monitor = new EnergyMonitor(await findMeters(files, options), clock);
    await step(monitor);
    set(ENERGY, 5_000_000);
    const reset = await step(monitor);
    expect(reset.sources).toEqual([{ source: 'rapl', scope: 'package-0', quality: 'invalid', reason: 'reset', invalid_readings: 1, joules: null, joules_total: 0 }]);
    expect(reset.inference).toBeNull();
    expect(monitor.sources).toEqual([{ source: 'rapl', scope: 'package-0', quality: 'invalid', reason: 'reset' }]);
    set(ENERGY, 25_000_000);
    expect((await step(monitor)).sources[0]).toEqual({ source: 'rapl', scope: 'package-0', quality: 'measured', joules: 20, joules_total: 20 });
    set(ENERGY, 900_000_000_000);
    expect((await step(monitor)).sources[0]).toMatchObject({ reason: 'out_of_range', joules: null });
    set(ENERGY, 262_143_328_850);
    await step(monitor);
    set(ENERGY, 30_000_000);
    expect((await step(monitor)).sources[0]).toMatchObject({ quality: 'measured', joules: 30 });
    set(ENERGY, 'garbage');
    expect((await step(monitor)).sources[0]).toMatchObject({ reason: 'unreadable', joules: null, joules_total: 50 });
    expect(monitor.invalidReadings).toBe(4);
  });

  it('a rail that cannot be read, or reads all ones, has null joules and not 0, and is averaged into nothing', async () => {
    time.ms = 0;
    const CURRENT = 'sys/class/hwmon/hwmon3/curr1_input';
    const { files, set } = machine({ 'sys/class/hwmon/hwmon3/name': 'ina3221', 'sys/class/hwmon/hwmon3/in1_label': 'VDD_IN', 'sys/class/hwmon/hwmon3/in1_input': 5000, [CURRENT]: 1000 });
    const monitor = new EnergyMonitor(await findMeters(files, options), clock);
    await step(monitor);
    expect((await step(monitor)).inference).toMatchObject({ gross_joules: 0.5 });
    set(CURRENT, '');
    expect(await step(monitor)).toMatchObject({ sources: [{ quality: 'invalid', reason: 'unreadable', joules: null }], inference: null });
    set(CURRENT, 4_294_967_295);
    expect(await step(monitor)).toMatchObject({ sources: [{ reason: 'out_of_range', joules: null }] });
    set(CURRENT, 1000);
    expect(await step(monitor)).toMatchObject({ sources: [{ quality: 'measured', joules: null }] });
    expect(await step(monitor)).toMatchObject({ sources: [{ quality: 'measured', joules: 5, joules_total: 10 }] });
  });

  it('a battery whose status cannot be read is not one that charges', async () => {
    time.ms = 0;
    const { files, set } = machine({ 'sys/class/power_supply/B/type': 'Battery', 'sys/class/power_supply/B/status': 'Discharging', 'sys/class/power_supply/B/power_now': 8e6 });
    const monitor = new EnergyMonitor(await findMeters(files, options), clock);
    await step(monitor);
    set('sys/class/power_supply/B/status', 'x'.repeat(70_000));
    expect((await step(monitor)).sources[0]).toMatchObject({ quality: 'invalid', reason: 'unreadable', joules: null });
  });

  it('a PMIC whose output cannot be parsed any more is unreadable', async () => {
    time.ms = 0;
    const answers = ['VDD_CORE_A current(7)=2.0A\nVDD_CORE_V volt(15)=0.5V\n'];
    const monitor = new EnergyMonitor(await findMeters(machine({}).files, { ...options, readPmic: () => Promise.resolve(answers[0] ?? null) }), clock);
    answers[0] = 'VCHI initialization failed';
    expect((await step(monitor)).sources[0]).toMatchObject({ source: 'rpi5_pmic', quality: 'invalid', reason: 'unreadable', joules: null });
  });

  it('a value is stuck when it stays for ten minutes while the load changes, and not under a steady load', () => {
    const run = (loadAt: (second: number) => number): boolean => {
      let cpu = 0;
      const detector = new StuckDetector(() => cpu);
      let stuck = false;
      for (let second = 0; second <= 700; second++) {
        cpu += loadAt(second);
        stuck = detector.isStuck('5', second * 1000);
        if (second < 600) expect(stuck).toBe(false);
      }
      return stuck || detector.isStuck('6', 701_000);
    };
    expect([run(() => 0.9), run((second) => (second % 60 < 30 ? 0.1 : 0.9))]).toEqual([false, true]);
  });
});
