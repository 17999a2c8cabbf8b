import { describe, expect, it } from 'vitest';
import { batteryHours } from '../../../agent/energy/battery.js';
import { Governor, type GovernorSensors, type GovernorSettings } from '../../../agent/governor/governor.js';
import type { OperatingPoint, Variant } from '../../../agent/governor/ladder.js';
import type { EventBody } from '../../../agent/ground/events.js';
import { machine } from '../support/machine.js';

const settings: GovernorSettings = { enabled: true, celsius: 75, watts: null, batteryHours: null, late: null, maxGate: 2, minPace: 0.05, maxVariantCost: 0.2 };

function governed(change: Partial<GovernorSettings> = {}) {
  const now = { ms: 0, celsius: 60 as number | null, passiveCelsius: null as number | null, frames: 0, missed: 0, variants: [] as Variant[] };
  const events: EventBody[] = [];
  const applied: OperatingPoint[] = [];
  const sensors: GovernorSensors = {
    thermal: () => ({ celsius: now.celsius, passiveCelsius: now.passiveCelsius }), watts: () => null, batteryHours: () => Promise.resolve(null),
    deadlines: () => [{ frames: now.frames, missed: now.missed }, { frames: 0, missed: 0 }],
  };
  const governor = new Governor({
    sensors, settings: { ...settings, ...change }, events: { emit: (body) => `e-${events.push(body)}` },
    clock: { nowMs: () => now.ms, monotonicMs: () => now.ms, synchronized: () => true }, apply: (point) => applied.push(point), variants: () => [now.variants],
  });
  const look = async (n: number): Promise<void> => {
    for (let i = 0; i < n; i++) {
      now.ms += 2000;
      await governor.look();
    }
  };
  return { governor, now, events, applied, look };
}

describe('the governor at work', () => {
  it('tells the pipelines and everybody else what it does, and why', async () => {
    const { governor, now, events, applied, look } = governed();
    await look(4);
    expect(applied).toEqual([]);
    now.celsius = 76;
    await look(2);
    expect(applied).toHaveLength(1);
    expect(applied[0]).toEqual(governor.point);
    expect(events[0]).toMatchObject({ type: 'governor', action: 'lowered', reason: 'temperature', from: 0, reading: { celsius: 76 }, pace: governor.point.pace });
    expect(governor.report).toMatchObject({ limit_celsius: 75, seconds_to_limit: 0 });
  });

  it('stays below the temperature at which the kernel slows the processor down, unless told otherwise', async () => {
    const { governor, now, look } = governed({ celsius: null });
    await look(1);
    expect(governor.report).toBeNull(); // no limit, nothing to report
    now.passiveCelsius = 85;
    await look(1);
    expect(governor.report?.limit_celsius).toBe(82);
  });

  it('keeps that limit, and its rung, when the sensor vanishes with its trip point', async () => {
    const { governor, now, applied, look } = governed({ celsius: null });
    Object.assign(now, { celsius: 84, passiveCelsius: 85 });
    await look(4);
    const { point } = governor;
    const moves = applied.length;
    expect(point.pace).toBeLessThan(1);
    Object.assign(now, { celsius: null, passiveCelsius: null });
    await look(600);
    expect(applied).toHaveLength(moves);
    expect(governor.point).toEqual(point);
    expect(governor.report?.limit_celsius).toBe(82);
  });

  it('counts late frames between two looks only', async () => {
    const { governor, now, look } = governed({ celsius: null, late: 0.1 });
    Object.assign(now, { frames: 1000, missed: 500 });
    await look(1);
    for (let i = 0; i < 40; i++) {
      now.frames += 10;
      await look(1);
    }
    expect(governor.point).toEqual({ gate: 1, pace: 1, variant: 0 });
  });

  it('goes down to a variant when a package that has one serves, and never to more load than before', async () => {
    const { governor, now, events, applied, look } = governed();
    now.celsius = 76;
    await look(2);
    const { pace } = governor.point;
    expect(pace).toBeLessThan(1);
    now.variants = [{ name: 'small', load: 0.3, cost: 0.01 }];
    governor.variantsChanged();
    expect(governor.point).toEqual({ gate: 1, pace: 1, variant: 1 });
    expect(applied.at(-1)).toEqual(governor.point);
    expect(events.at(-1)).toMatchObject({ type: 'governor', action: 'lowered', reason: 'variants', variant: 1, pace: 1 });
    // The same again, as another package of the same kind: it is told, and nobody else.
    const [told, said] = [applied.length, events.length];
    governor.variantsChanged();
    expect([applied.length - told, events.length - said]).toEqual([1, 0]);
    now.variants = [];
    governor.variantsChanged();
    expect(governor.point).toMatchObject({ gate: 2, variant: 0 });
    expect(governor.point.pace).toBeLessThanOrEqual(0.3);
  });

  it('keeps all of the work on whatever ladder while there is no reason to do less', () => {
    const { governor, now, events } = governed();
    now.variants = [{ name: 'small', load: 0.3, cost: 0.01 }];
    governor.variantsChanged();
    expect([governor.point, events]).toEqual([{ gate: 1, pace: 1, variant: 0 }, []]);
  });

  it('does nothing when it is switched off', async () => {
    const { governor, applied } = governed({ enabled: false });
    governor.start();
    await governor.stop();
    expect(applied).toEqual([]);
    expect(governor.report).toBeNull();
  });
});

describe('the hours that a battery lasts', () => {
  const folder = 'sys/class/power_supply/BAT0';
  const battery = { [`${folder}/type`]: 'Battery', [`${folder}/status`]: 'Discharging' };

  it.each([
    ['energy and power', { [`${folder}/energy_now`]: 30_000_000, [`${folder}/power_now`]: 6_000_000 }, 5],
    ['charge, current and voltage', { [`${folder}/charge_now`]: 2_000_000, [`${folder}/current_now`]: -500_000, [`${folder}/voltage_now`]: 3_700_000 }, 4],
    ['nothing that says what is left', { [`${folder}/power_now`]: 6_000_000 }, null],
    ['a battery that charges', { [`${folder}/status`]: 'Charging', [`${folder}/energy_now`]: 30_000_000, [`${folder}/power_now`]: 6_000_000 }, null],
  ])('come from %s', async (_, files, hours) => {
    expect(await batteryHours(machine({ ...battery, ...files }).files)).toBe(hours);
  });
});
