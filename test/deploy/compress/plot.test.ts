import { describe, expect, it } from 'vitest';
import { paretoSvg } from '../../../deploy/compress/plot.js';

describe('paretoSvg', () => {
  const points = [{ cost: 3.2, drop: 0, low_bit_layers: 0 }, { cost: 2.5, drop: 0.004, low_bit_layers: 4 }, { cost: 2, drop: 0.03, low_bit_layers: 9 }];
  const svg = paretoSvg({ target: 'a72', unit: 'instructions', points, chosen: { cost: 2.5, drop: 0.0045, low_bit_layers: 4 } });

  it('draws every point inside the picture, and the chosen one apart', () => {
    const places = [...svg.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)" r="(\d)"/g)].map(([, x, y, r]) => [Number(x), Number(y), Number(r)]);
    expect(places).toHaveLength(4);
    for (const [x = 0, y = 0] of places) expect(x > 50 && x < 600 && y > 50 && y < 350).toBe(true);
    expect(places.map(([x]) => x)[0]).toBeGreaterThan(places.map(([x]) => x)[2] ?? 0);
    expect(places.filter(([, , r]) => r === 6)).toHaveLength(1);
    expect(svg).toContain('million instructions on a72, counted');
  });

  it('is one well-formed element, also where nothing is lost', () => {
    const flat = paretoSvg({ target: 'this', unit: 'ms', points: [{ cost: 1, drop: 0, low_bit_layers: 0 }], chosen: { cost: 1, drop: 0, low_bit_layers: 0 } });
    for (const picture of [svg, flat]) {
      expect(picture).not.toMatch(/NaN|Infinity|undefined/);
      expect(picture.match(/<(?!\/)[a-z]+[^>]*[^/]>/g)?.length).toBe(picture.match(/<\/[a-z]+>/g)?.length);
    }
  });
});
