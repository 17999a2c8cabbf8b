import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FeatureGrid, type FeatureView } from '../../../../kernels/binding/feature-grid.js';
import { nativeMissing } from '../../support/native.js';

/** A plain gate with the published rule and its repairs, in whole numbers. */
class PlainGate {
  #background: number[] = [];
  #streaks: number[] = [];

  constructor(private readonly options: { shift: number; patience: number; renewal: number }) {}

  update({ data, channels, zeroPoint, width, height }: FeatureView, threshold: number): boolean[] {
    const cells = width * height;
    const values = Array.from(data, (v) => v - zeroPoint);
    if (this.#background.length === 0) {
      this.#learn(values, cells);
      return new Array<boolean>(cells).fill(true);
    }
    const active = Array.from({ length: cells }, (_, cell) => this.#step(values, cell, channels, threshold));
    if (active.filter(Boolean).length > this.options.renewal * cells) this.#learn(values, cells);
    return active;
  }

  #learn(values: number[], cells: number): void {
    this.#background = values.map((v) => v * 64);
    this.#streaks = new Array<number>(cells).fill(0);
  }

  #step(values: number[], cell: number, channels: number, threshold: number): boolean {
    let [dot, vv, bb] = [0, 0, 0];
    const at = Array.from({ length: channels }, (_, c) => cell * channels + c);
    for (const i of at) {
      const [v, b] = [values[i] ?? 0, ((this.#background[i] ?? 0) + 32) >> 6];
      dot += v * b;
      vv += v * v;
      bb += b * b;
    }
    const kept = 1 - threshold;
    const moved = (vv > channels || bb > channels) && (dot <= 0 || dot * dot <= kept * kept * (vv * bb));
    this.#streaks[cell] = moved ? Math.min(255, (this.#streaks[cell] ?? 0) + 1) : 0;
    if (moved && (this.#streaks[cell] ?? 0) <= this.options.patience) return moved;
    for (const i of at) {
      const b = this.#background[i] ?? 0;
      this.#background[i] = b + (((values[i] ?? 0) * 64 - b + (1 << (this.options.shift - 1))) >> this.options.shift);
    }
    return moved;
  }
}

const bitsOf = ({ bits, width, height }: FeatureGrid['mask']): boolean[] => Array.from({ length: width * height }, (_, i) => ((bits[i >> 3] ?? 0) & (1 << (i & 7))) !== 0);

const sequences = fc.record({
  width: fc.integer({ min: 1, max: 7 }), height: fc.integer({ min: 1, max: 5 }), channels: fc.integer({ min: 1, max: 40 }), signed: fc.boolean(),
  zeroPoint: fc.integer({ min: 0, max: 255 }), seed: fc.integer(), shift: fc.integer({ min: 1, max: 7 }), patience: fc.integer({ min: 0, max: 3 }),
  renewal: fc.constantFrom(0.5, 0.8, 1), threshold: fc.constantFrom(0, 0.05, 0.2, 0.4, 1),
});

describe.skipIf(nativeMissing !== undefined)(`the feature gate's cells${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  it('are those of the plain rule, frame after frame', () => {
    fc.assert(fc.property(sequences, ({ width, height, channels, signed, zeroPoint, seed, shift, patience, renewal, threshold }) => {
      let state = seed >>> 0;
      const next = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24;
      const options = { shift, patience, renewal };
      const [grid, plain] = [new FeatureGrid(options), new PlainGate(options)];
      const scene = Array.from({ length: width * height * channels }, next);
      for (let frame = 0; frame < 12; frame++) {
        // Some cells change for some frames; all have a little noise.
        for (let cell = 0; cell < width * height; cell++) if (next() < 40) for (let c = 0; c < channels; c++) scene[cell * channels + c] = next();
        const noisy = scene.map((v) => Math.max(0, Math.min(255, v + (next() % 3) - 1)));
        const data = signed ? Int8Array.from(noisy, (v) => v - 128) : Uint8Array.from(noisy);
        const map = { width, height, channels, data, zeroPoint: signed ? zeroPoint - 128 : zeroPoint };
        const expected = plain.update(map, threshold);
        expect(grid.update(map, threshold)).toBe(expected.filter(Boolean).length);
        expect(bitsOf(grid.mask)).toEqual(expected);
      }
    }), { numRuns: 150 });
  });

  const map = (cells: readonly (readonly number[])[]): FeatureView => ({ width: cells.length, height: 1, channels: 4, data: Uint8Array.from(cells.flat()), zeroPoint: 100 });
  const [quiet, moved, empty] = [[200, 100, 100, 100], [100, 200, 100, 100], [100, 100, 100, 100]] as const;

  it('let what stands still become background, and take it for motion when it leaves', () => {
    const grid = new FeatureGrid({ shift: 1, patience: 3 });
    const scene = map([quiet, quiet, quiet]);
    const parked = map([quiet, moved, quiet]);
    grid.update(scene, 0.3);
    expect(grid.update(scene, 0.3)).toBe(0);
    expect(Array.from({ length: 8 }, () => grid.update(parked, 0.3)).indexOf(0)).toBe(4);
    expect(grid.update(scene, 0.3)).toBe(1);
  });

  it('are quiet where there is nothing, before and now, and begin anew when everything changes', () => {
    const grid = new FeatureGrid();
    grid.update(map([empty, empty, empty]), 0.3);
    expect(grid.update(map([empty, empty, empty]), 0.3)).toBe(0);
    expect(grid.update(map([empty, empty, moved]), 0.3)).toBe(1);
    expect(grid.update(map([moved, moved, moved]), 0.3)).toBe(3);
    expect(grid.update(map([moved, moved, moved]), 0.3)).toBe(0);
  });

  it('refuse what is no feature map', () => {
    const grid = new FeatureGrid();
    for (const wrong of [{ ...map([quiet]), channels: 3 }, { ...map([quiet]), zeroPoint: 256 }, { ...map([quiet]), width: 0 }, { ...map([quiet]), data: new Int8Array(4), zeroPoint: 200 }]) {
      expect(() => grid.update(wrong, 0.3)).toThrow(expect.objectContaining({ code: 'E_ARGUMENT' }) as Error);
    }
    expect(() => grid.update(map([quiet]), 2)).toThrow(/0\.\.1 for threshold/);
    expect(() => new FeatureGrid({ shift: 8 })).toThrow(/shift/);
  });
});
