import { describe, expect, it } from 'vitest';
import type { CellMask, ImageView } from '../../../kernels/binding/image.js';
import { CellChooser, dilate, type ChooserSettings } from '../../../runtime/incremental/chooser.js';
import { nativeMissing } from '../support/native.js';
import { random } from '../support/random.js';

const settings: ChooserSettings = { threshold: 6, dilation: 1, fullEvery: 1000, fullShare: 0.9 };

/** A grey picture of 8 x 6 cells, with some cells of another grey. */
function picture(cells: Readonly<Record<number, number>> = {}, grey = 100): ImageView {
  const [width, height] = [64, 48];
  const data = new Uint8Array(width * height * 3).fill(grey);
  for (const [cell, level] of Object.entries(cells)) {
    const [left, top] = [(Number(cell) % 8) * 8, Math.floor(Number(cell) / 8) * 8];
    for (let y = top; y < top + 8; y++) data.fill(level, (y * width + left) * 3, (y * width + left + 8) * 3);
  }
  return { width, height, data };
}

const cellsOf = (mask: CellMask | null): number[] | null =>
  mask === null ? null : Array.from({ length: mask.width * mask.height }, (_, i) => i).filter((i) => (((mask.bits[i >> 3] ?? 0) >> (i & 7)) & 1) === 1);

describe('dilate', () => {
  it('sets the square around each cell, for any cells, sizes and distances', () => {
    const next = random(4);
    for (let round = 0; round < 100; round++) {
      const [width, height, distance] = [1 + Math.floor(next() * 9), 1 + Math.floor(next() * 9), Math.floor(next() * 4)];
      const cells = Uint8Array.from({ length: width * height }, () => (next() < 0.15 ? 1 : 0));
      const expected = cells.map((_, i) => (cells.some((cell, k) => cell === 1 && Math.abs((k % width) - (i % width)) <= distance && Math.abs(Math.floor(k / width) - Math.floor(i / width)) <= distance) ? 1 : 0));
      expect(dilate(cells, { width, height }, distance), `${width} x ${height}, ${distance}`).toEqual(expected);
    }
  });
});

describe.skipIf(nativeMissing !== undefined)(`CellChooser${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  it('takes the first picture in full, then what has changed by more than the threshold and the cells around it', () => {
    const chooser = new CellChooser(settings);
    expect(chooser.choose(picture())).toBeNull();
    expect(cellsOf(chooser.choose(picture({ 0: 106, 20: 94 })))).toEqual([]);
    expect(cellsOf(chooser.choose(picture({ 0: 107, 47: 93 })))).toEqual([0, 1, 8, 9, 38, 39, 46, 47]);
  });

  it('compares each cell with what it was computed from: slow change is seen when it has added up', () => {
    const chooser = new CellChooser(settings);
    chooser.choose(picture());
    const seen = Array.from({ length: 30 }, (_, i) => cellsOf(chooser.choose(picture({ 19: 101 + i })))?.length ?? -1);
    expect(seen.flatMap((count, i) => (count > 0 ? [i] : []))).toEqual([6, 13, 20, 27]);
    // What is computed around a cell is as new as the cell.
    expect(cellsOf(chooser.choose(picture({ 19: 128, 20: 105 })))).toEqual([]);
  });

  it('takes every N-th picture in full, and pictures of which too much would be computed', () => {
    const chooser = new CellChooser({ ...settings, fullEvery: 3, fullShare: 0.5 });
    expect(Array.from({ length: 7 }, () => chooser.choose(picture()) === null)).toEqual([true, false, false, true, false, false, true]);
    expect(chooser.choose(picture({}, 150))).toBeNull();
    expect(cellsOf(chooser.choose(picture({}, 150)))).toEqual([]);
  });

  it('takes a picture of another size in full, and the next one after it has been told to forget', () => {
    const chooser = new CellChooser(settings);
    chooser.choose(picture());
    const wide: ImageView = { width: 72, height: 48, data: new Uint8Array(72 * 48 * 3).fill(100) };
    expect([chooser.choose(wide), cellsOf(chooser.choose(wide)), chooser.choose(picture())]).toEqual([null, [], null]);
    chooser.forget();
    expect([chooser.choose(picture()), cellsOf(chooser.choose(picture()))]).toEqual([null, []]);
  });
});
