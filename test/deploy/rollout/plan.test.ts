import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { planRollout, position, type PlanDevice } from '../../../deploy/rollout/plan.js';
import { defaultSpec, parseWave, waveName, type RolloutSpec } from '../../../deploy/rollout/spec.js';

const spec = (waves: string[], over: Partial<RolloutSpec> = {}): RolloutSpec => ({ ...defaultSpec, seed: 'x', waves: waves.map(parseWave), ...over });
const fleet = (n: number, labels: (i: number) => Record<string, string> = () => ({})): PlanDevice[] => Array.from({ length: n }, (_, i) => ({ device: `d${i}`, pipeline: 'main', labels: labels(i), active: null }));
const sizes = (rollout: RolloutSpec, devices: PlanDevice[]): number[] => { const plan = planRollout(rollout, devices, 'digest'); return rollout.waves.map((_, wave) => plan.devices.filter((d) => d.wave === wave).length); };

describe('a plan', () => {
  it('takes shares of the whole fleet, rounded up, so that small fleets have a first wave', () => {
    expect(sizes(spec(['5%', '25%', '100%']), fleet(100))).toEqual([5, 20, 75]);
    expect(sizes(spec(['5%', '25%', '100%']), fleet(3))).toEqual([1, 0, 2]);
    expect(sizes(spec(['7%']), fleet(100))).toEqual([7]);
  });

  it('chooses by labels, also a share of them, and says who is left out', () => {
    const devices = fleet(20, (i) => ({ ring: i < 4 ? 'canary' : 'rest', site: i % 2 === 0 ? 'berlin' : 'paris' }));
    expect(sizes(spec(['ring=canary', 'site=berlin:50%', '100%']), devices)).toEqual([4, expect.any(Number) as number, expect.any(Number) as number]);
    const plan = planRollout(spec(['ring=canary,site=paris']), devices, 'digest');
    expect(plan.devices.map(({ device }) => device).sort()).toEqual(['d1', 'd3']);
    expect(plan.left_out).toHaveLength(18);
  });

  it('leaves out devices that run the package already', () => {
    const devices = fleet(4).map((device, i) => ({ ...device, active: i === 2 ? 'digest' : 'other' }));
    expect(planRollout(spec(['100%']), devices, 'digest')).toMatchObject({ already: ['d2'], devices: [{ wave: 0 }, { wave: 0 }, { wave: 0 }] });
  });

  it('is a partition: every device is in one wave, started, or left out; the same seed gives the same plan, in any order of the devices', () => {
    const wave = fc.record({ labels: fc.constantFrom<Record<string, string>>({}, { a: '1' }, { a: '1', b: '0' }), percent: fc.integer({ min: 1, max: 100 }) });
    const device = fc.record({ a: fc.constantFrom('0', '1'), b: fc.constantFrom('0', '1'), active: fc.constantFrom('digest', null) });
    fc.assert(fc.property(fc.array(wave, { minLength: 1, maxLength: 5 }), fc.array(device, { maxLength: 60 }), fc.nat(), (waves, devices, seed) => {
      const rollout = { ...spec(['1%']), waves, seed: String(seed), spread_ms: 1000 };
      const all = devices.map(({ a, b, active }, i) => ({ device: `d${i}`, pipeline: 'main', labels: { a, b }, active }));
      const plan = planRollout(rollout, all, 'digest');
      const seen = [...plan.devices.map((d) => d.device), ...plan.already, ...plan.left_out];
      expect(seen.sort()).toEqual(all.map((d) => d.device).sort());
      for (const { offset_ms } of plan.devices) expect(offset_ms >= 0 && offset_ms < 1000).toBe(true);
      expect(planRollout(rollout, [...all].reverse(), 'digest')).toEqual(plan);
    }));
  });

  it('spreads starts evenly, independently of the order of waves', () => {
    const starts = fleet(2000).map(({ device }) => position('x', 'start', device));
    for (let tenth = 0; tenth < 10; tenth++) expect(Math.abs(starts.filter((at) => Math.floor(at * 10) === tenth).length - 200)).toBeLessThan(70);
    const first = fleet(2000).filter(({ device }) => position('x', 'wave', device) < 0.1).map(({ device }) => position('x', 'start', device));
    expect(first.reduce((sum, at) => sum + at, 0) / first.length).toBeCloseTo(0.5, 0);
  });

  it('reads and names waves, and refuses what is none', () => {
    expect(['25%', 'ring=canary', 'ring=canary,site=x:12.5%'].map((text) => waveName(parseWave(text)))).toEqual(['25 %', 'ring=canary', 'ring=canary,site=x: 12.5 %']);
    for (const text of ['', '0%', '101%', 'ring', 'ring=', '=x', 'a=b=c', 'x%', ':5%=']) expect(() => parseWave(text), text).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
  });
});
