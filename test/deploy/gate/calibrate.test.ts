import { describe, expect, it } from 'vitest';
import { bothPoint, cheapest, pixelPoint, splitsToTry, type GatePoint } from '../../../deploy/gate/choose.js';
import { curveSvg, drawnGates } from '../../../deploy/gate/curve.js';
import { FeatureTrial, PixelTrial } from '../../../deploy/gate/simulate.js';
import type { Frame } from '../../../runtime/frame.js';
import { featureGateSettings } from '../../../runtime/vision/gates/settings.js';
import { nativeMissing } from '../../runtime/support/native.js';

const split = { name: 'conv', shape: [1, 20, 20, 64], share: 0.2 };

describe('the choice of gates', () => {
  it('counts the cost of what stops at pixels, at features, and of what goes through', () => {
    const pixels = { frames: 100, stopped: 60, missed: 1 };
    expect(pixelPoint(10, pixels)).toEqual({ pixels: 10, features: null, cost: 0.4, missRate: 1 / 60, stopped: 60, missed: 1 });
    const both = bothPoint(10, pixels, { split, threshold: 0.3 }, { frames: 40, stopped: 30, missed: 2 });
    expect(both).toMatchObject({ features: { split: 'conv', threshold: 0.3 }, stopped: 90, missed: 3, missRate: 3 / 90 });
    expect(both.cost).toBeCloseTo((10 + 30 * 0.2) / 100, 12);
  });

  it('takes the cheapest that misses no more than wanted', () => {
    const point = (cost: number, missRate: number): GatePoint => ({ pixels: 1, features: null, cost, missRate, stopped: 1, missed: 0 });
    const points = [point(1, 0), point(0.5, 0.01), point(0.4, 0.03), point(0.5, 0)];
    expect(cheapest(points, 0.01)).toBe(points[3]);
    expect(cheapest(points, 0.05)).toBe(points[2]);
    expect(cheapest([point(0.1, 0.2)], 0.1)).toBeUndefined();
  });

  it('tries a few layers of the cheaper half that have a map to speak of', () => {
    const layers = Array.from({ length: 40 }, (_, i) => ({ name: `c${i}`, shape: i === 3 ? [1, 4, 4, 64] : [1, 20, 20, 64], share: i / 40 }));
    const tried = splitsToTry(layers);
    expect(tried.map(({ name }) => name)).toEqual(['c2', 'c5', 'c8', 'c12', 'c18']);
    expect(splitsToTry([{ name: 'small', shape: [1, 20, 20, 8], share: 0.1 }])).toEqual([]);
  });

  it('is drawn', () => {
    const points = [pixelPoint(null, { frames: 10, stopped: 0, missed: 0 }), bothPoint(5, { frames: 10, stopped: 2, missed: 1 }, { split: { ...split, name: 'a<b' }, threshold: 0.1 }, { frames: 8, stopped: 4, missed: 0 })];
    const svg = curveSvg(points.map(drawnGates), points[0] as GatePoint, 0.01);
    expect(svg.match(/<circle/g)).toHaveLength(3);
    expect(svg).toContain('a&lt;b');
    expect(svg).not.toContain('NaN');
  });
});

describe.skipIf(nativeMissing !== undefined)('trials on footage', () => {
  const motion = { enabled: true, cell_threshold: 10, min_cells: 1, hold_ms: 0, repeat_ms: 0, full_pass_every_ms: 100_000 };
  const frame = (sequence: number, level: number): Frame => {
    const data = new Uint8Array(32 * 16 * 3).fill(50);
    for (let y = 0; y < 8; y++) data.fill(level, y * 96, y * 96 + 24);
    return { width: 32, height: 16, sequence, capturedMs: sequence * 40, data };
  };
  const box = { label: 'face', box: [0, 0, 8, 8] as const };

  it('count a frame that stopped although something is new in it', () => {
    const [low, high] = [new PixelTrial(5, motion), new PixelTrial(200, motion)];
    const scene: [number, (typeof box)[]][] = [[50, []], [50, []], [90, [box]], [50, []]];
    scene.forEach(([level, found], i) => [low, high].forEach((trial) => trial.add(frame(i, level), found)));
    expect(low.passed.slice(0, 3)).toEqual([true, false, true]);
    expect(low.outcome.missed).toBe(0);
    expect(high.outcome).toEqual({ frames: 4, stopped: 3, missed: 1 });
  });

  it('do not count what was there already', () => {
    const trial = new FeatureTrial(featureGateSettings.parse({ enabled: true, split: 'conv', threshold: 0.3 }));
    const view = (v: number) => ({ width: 1, height: 1, channels: 2, data: Uint8Array.of(200, v), zeroPoint: 0 });
    trial.add(view(0), frame(0, 50), [box]);
    trial.add(view(0), frame(1, 50), [box]);
    trial.add(view(0), frame(2, 50), [box, { ...box, label: 'dog' }]);
    expect(trial.outcome).toEqual({ frames: 3, stopped: 2, missed: 1 });
  });
});
