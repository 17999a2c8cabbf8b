import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Detection, Finding } from '../../../runtime/stages/finding.js';
import { applyRules, contains, counts, noRules } from '../../../runtime/vision/zones/rules.js';
import { polygonArea, ruleFields, strictRuleFields } from '../../../runtime/vision/zones/settings.js';
import type { Point, Zone } from '../../../runtime/vision/zones/settings.js';

const frame = { width: 200, height: 100 };
const detection = (box: Detection['box'], label = 'person'): Detection => ({ type: 'detection', label, score: 0.9, box });
/** A box whose lower edge has its middle at this share of the frame. */
const standingAt = (x: number, y: number, label = 'person'): Detection => detection([x * 200 - 5, y * 100 - 20, 10, 20], label);
const left: Zone = { name: 'path', kind: 'include', points: [[0, 0], [0.5, 0], [0.5, 1], [0, 1]] };
const corner: Zone = { name: 'street', kind: 'exclude', points: [[0, 0], [0.25, 0], [0.25, 0.5], [0, 0.5]] };
const labelsOf = (findings: readonly Finding[]): string[] => findings.map(({ label }) => label);

describe('zones', () => {
  it('keep what stands in an include zone, with its name, and drop what stands elsewhere', () => {
    const kept = applyRules([standingAt(0.3, 0.8, 'in'), standingAt(0.7, 0.8, 'out')], frame, { zones: [left] });
    expect(kept).toEqual([{ ...standingAt(0.3, 0.8, 'in'), zones: ['path'] }]);
  });

  it('drop what stands in an exclude zone, also inside of an include zone', () => {
    expect(labelsOf(applyRules([standingAt(0.1, 0.3, 'a'), standingAt(0.1, 0.8, 'b'), standingAt(0.9, 0.3, 'c')], frame, { zones: [corner] }))).toEqual(['b', 'c']);
    expect(labelsOf(applyRules([standingAt(0.1, 0.3, 'a'), standingAt(0.1, 0.8, 'b'), standingAt(0.9, 0.3, 'c')], frame, { zones: [left, corner] }))).toEqual(['b']);
  });

  it('are for some classes only where they say so', () => {
    const zones = [{ ...left, labels: ['car'] }];
    expect(applyRules([standingAt(0.9, 0.9, 'car'), standingAt(0.9, 0.9, 'person')], frame, { zones })).toEqual([standingAt(0.9, 0.9, 'person')]);
  });

  it('look at the foot of a box or at its center', () => {
    // Its center is in the upper half, its foot in the lower.
    const tall = detection([20, 10, 20, 70]);
    const upper: Zone = { name: 'upper', kind: 'include', points: [[0, 0], [1, 0], [1, 0.5], [0, 0.5]] };
    expect(counts(tall, frame, { zones: [upper] })).toBe(false);
    expect(counts(tall, frame, { zones: [upper] }, 'center')).toBe(true);
    expect(counts(tall, frame, { zones: [{ ...upper, anchor: 'center' }] })).toBe(true);
    expect(counts(tall, frame, { zones: [{ ...upper, anchor: 'foot' }] }, 'center')).toBe(false);
  });

  it('count a foot that the border of the frame cuts off as standing on the border', () => {
    const whole: Zone = { name: 'all', kind: 'include', points: [[0, 0], [1, 0], [1, 1], [0, 1]] };
    for (const box of [[-30, 50, 40, 80], [180, -40, 60, 50], [195, 95, 10, 10]] as const) expect(counts(detection(box), frame, { zones: [whole] })).toBe(true);
  });

  it('of one class say nothing about what a whole picture shows', () => {
    const whole: Finding = { type: 'class', label: 'rain', score: 0.6 };
    expect(applyRules([whole], frame, { zones: [left] })).toEqual([whole]);
    expect(applyRules([whole], frame, { labels: ['snow'] })).toEqual([]);
  });
});

describe('classes and sizes', () => {
  it('keep the classes that are listed', () => {
    expect(labelsOf(applyRules([standingAt(0.5, 0.5, 'car'), standingAt(0.5, 0.5, 'dog')], frame, { labels: ['dog', 'cat'] }))).toEqual(['dog']);
  });

  it('limit boxes by class, and those of other classes by the entry *', () => {
    const sizes = { car: { min_area: 0.1, max_width: 0.6 }, '*': { min_height: 0.5 } };
    const [small, wide, fits] = [[0, 0, 40, 40], [0, 0, 160, 60], [0, 0, 100, 30]] as const;
    expect([small, wide, fits].map((box) => counts(detection(box, 'car'), frame, { sizes }))).toEqual([false, false, true]);
    expect([small, wide, fits].map((box) => counts(detection(box, 'dog'), frame, { sizes }))).toEqual([false, true, false]);
    expect(counts(detection(small, 'toString'), frame, { sizes: { car: { min_area: 1 } } })).toBe(true);
  });

  it('change nothing without rules', () => {
    const findings = [standingAt(0.1, 0.1), standingAt(0.9, 0.9)];
    expect(applyRules(findings, frame, noRules)).toEqual(findings);
  });
});

/** On a grid, off whose lines the boxes stand: what lies exactly on an edge is a matter of rounding. */
const unit = fc.nat(1000).map((n) => n / 1000);
const triangle = fc.tuple(unit, unit, unit, unit, unit, unit).map(([a, b, c, d, e, f]): Point[] => [[a, b], [c, d], [e, f]]).filter((points) => polygonArea(points) > 1e-3);
const boxes = fc.array(fc.tuple(unit, unit, unit, unit).map(([x, y, w, h]) => detection([x * 200 + 0.0371, y * 100 + 0.0173, 1 + w * 80, 1 + h * 60])), { maxLength: 8 });

describe('for any polygon and boxes', () => {
  it('a triangle contains a point exactly when the point is on the same side of all its edges', () => {
    fc.assert(fc.property(triangle, unit, unit, (points, x, y) => {
      const sides = points.map(([x1, y1], i) => {
        const [x2, y2] = points[(i + 1) % 3] ?? [x1, y1];
        return (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1);
      });
      fc.pre(sides.every((side) => Math.abs(side) > 1e-9) && x < 1 && y < 1);
      expect(contains(points, [x, y])).toBe(sides.every((side) => side > 0) || sides.every((side) => side < 0));
    }));
  });

  it('include and exclude of the same polygon share the boxes out between them', () => {
    fc.assert(fc.property(triangle, boxes, (points, found) => {
      const inside = applyRules(found, frame, { zones: [{ name: 'z', kind: 'include', points }] });
      const outside = applyRules(found, frame, { zones: [{ name: 'z', kind: 'exclude', points }] });
      expect(inside.length + outside.length).toBe(found.length);
      expect(inside.every(({ zones }) => zones?.join() === 'z') && outside.every(({ zones }) => zones === undefined)).toBe(true);
    }));
  });

  it('it does not matter where the polygon begins, nor in which direction it runs, nor at which resolution the camera delivers', () => {
    fc.assert(fc.property(triangle, boxes, fc.nat(2), (points, found, turn) => {
      const judge = (corners: Point[], scale = 1): boolean[] => found.map(({ box: [x, y, w, h] }) => counts(
        detection([x * scale, y * scale, w * scale, h * scale]), { width: 200 * scale, height: 100 * scale }, { zones: [{ name: 'z', kind: 'include', points: corners }] },
      ));
      const expected = judge(points);
      expect(judge([...points.slice(turn), ...points.slice(0, turn)])).toEqual(expected);
      expect(judge(points.toReversed())).toEqual(expected);
      expect(judge(points, 4)).toEqual(expected);
    }));
  });
});

describe('the settings', () => {
  const strict = z.strictObject(strictRuleFields);
  it('are shares of the frame, and polygons that enclose something', () => {
    expect(strict.parse({ zones: [{ name: 'a', points: [[0, 0], [1, 0], [1, 1]] }] }).zones?.[0]?.kind).toBe('include');
    for (const points of [[[0, 0], [1, 1]], [[0, 0], [640, 0], [1, 1]], [[0, 0], [0.5, 0.5], [1, 1]]]) expect(strict.safeParse({ zones: [{ name: 'a', points }] }).success).toBe(false);
  });

  it('refuse a misspelt field in a file, and ignore an unknown one in a message', () => {
    const zone = { name: 'a', points: [[0, 0], [1, 0], [1, 1]], label: ['car'] };
    expect(strict.safeParse({ zones: [zone] }).success).toBe(false);
    expect(z.object(ruleFields).parse({ zones: [zone] }).zones?.[0]).not.toHaveProperty('label');
  });
});
