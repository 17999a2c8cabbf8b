import { describe, expect, it } from 'vitest';
import { cheapestWithin, paretoCurve, type LayerChoices } from '../../../../runtime/quantize/formats/pareto.js';
import { instructionsFor } from '../../../../runtime/quantize/formats/targets.js';

const layers: LayerChoices[] = [
  { layer: 'a', choices: [{ format: 'int8', cost: 10, drop: 0 }, { format: 'w46', cost: 6, drop: 0.001 }, { format: 'int4', cost: 5, drop: 0.01 }] },
  { layer: 'b', choices: [{ format: 'int8', cost: 4, drop: 0 }, { format: 'w46', cost: 3, drop: 0.02 }] },
  { layer: 'c', choices: [{ format: 'int8', cost: 2, drop: 0 }] },
];

describe('paretoCurve', () => {
  it('goes from the first choices to the cheapest, best moves first', () => {
    const curve = paretoCurve(layers);
    expect(curve.map(({ cost }) => cost)).toEqual([16, 12, 11, 10]);
    expect(curve.map(({ drop }) => Number(drop.toFixed(4)))).toEqual([0, 0.001, 0.01, 0.03]);
    expect(Object.fromEntries(curve[1]?.formats ?? [])).toEqual({ a: 'w46', b: 'int8', c: 'int8' });
  });

  it('does not take a layer to a format that costs more', () => {
    expect(paretoCurve([{ layer: 'a', choices: [{ format: 'int8', cost: 1, drop: 0 }, { format: 'w46', cost: 2, drop: 0 }] }])).toHaveLength(1);
  });

  it('has one point without layers', () => {
    expect(paretoCurve([])).toEqual([{ cost: 0, drop: 0, formats: new Map() }]);
  });
});

describe('cheapestWithin', () => {
  it('takes what a bound allows, and int8 when it allows nothing', () => {
    const curve = paretoCurve(layers);
    expect(cheapestWithin(curve, 0.015)?.cost).toBe(11);
    expect(cheapestWithin(curve, 1)?.cost).toBe(10);
    expect(cheapestWithin(curve, 0.0001)?.cost).toBe(16);
  });
});

describe('instructionsFor', () => {
  it('ranks formats as the instructions of a core do', () => {
    const ratio = (target: 'avx2' | 'a72' | 'a76'): number => instructionsFor(target, 'int8', 1e6) / instructionsFor(target, 'w46', 1e6);
    expect(ratio('avx2')).toBeGreaterThan(1.3);
    expect(ratio('a72')).toBeGreaterThan(1.3);
    expect(ratio('a76')).toBe(1);
  });
});
