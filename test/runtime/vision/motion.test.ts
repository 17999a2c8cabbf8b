import { describe, expect, it } from 'vitest';
import type { Image } from '../../../runtime/frame.js';
import { LookedCells, MotionGate, PixelGate } from '../../../runtime/vision/motion.js';
import { nativePixels } from '../../../runtime/vision/pixels.js';
import { nativeMissing } from '../support/native.js';

const settings = { enabled: true, min_cells: 4, hold_ms: 1000, repeat_ms: 0, full_pass_every_ms: 10_000 };

describe('MotionGate', () => {
  it('is open for the first frame and closes when nothing moves', () => {
    const gate = new MotionGate(settings);
    expect(gate.decide(0, 0)).toBe(true);
    expect(gate.decide(0, 40)).toBe(false);
  });

  it('opens for as many cells as stated, not for fewer, and holds', () => {
    const gate = new MotionGate(settings);
    gate.decide(0, 0);
    expect(gate.decide(3, 100)).toBe(false);
    expect(gate.decide(4, 200)).toBe(true);
    expect(gate.decide(0, 1200)).toBe(true);
    expect(gate.decide(0, 1201)).toBe(false);
  });

  it('stays open for somebody who stands still', () => {
    const gate = new MotionGate(settings);
    gate.decide(9, 0);
    for (let now = 500; now <= 8000; now += 500) {
      expect(gate.decide(0, now)).toBe(true);
      gate.sawFinding(now);
    }
    expect(gate.decide(0, 9001)).toBe(false);
  });

  it('lets one frame pass every interval, whatever it sees', () => {
    const gate = new MotionGate(settings);
    gate.decide(0, 0);
    const open = Array.from({ length: 300 }, (_, i) => (i + 1) * 100).filter((now) => gate.decide(0, now));
    expect(open).toEqual([10_000, 20_000, 30_000]);
  });

  it('is always open when it is switched off', () => {
    const gate = new MotionGate({ ...settings, enabled: false });
    expect([0, 40, 80].map((now) => gate.decide(0, now))).toEqual([true, true, true]);
  });
});

describe('a picture that the detector has seen already', () => {
  it('does not open the gate before the repeat interval', () => {
    const gate = new MotionGate({ ...settings, repeat_ms: 200 });
    expect(gate.decide(9, 0, () => 0)).toBe(true);
    const open = Array.from({ length: 30 }, (_, i) => (i + 1) * 40).filter((now) => gate.decide(0, now, () => 0));
    expect(open).toEqual([200, 400, 600, 800, 1000]); // then the hold time is over
  });

  it('opens it at once when it changes while the gate is active, and not otherwise', () => {
    const gate = new MotionGate({ ...settings, repeat_ms: 200 });
    gate.decide(9, 0, () => 0);
    expect(gate.decide(0, 40, () => 3)).toBe(false);
    expect(gate.decide(0, 80, () => 4)).toBe(true);
    expect(gate.decide(0, 2000, () => 48)).toBe(false);
  });
});

describe('LookedCells', () => {
  it('counts what changed since the last look, without the light of the whole picture', () => {
    const looked = new LookedCells();
    const cells = Uint8Array.of(10, 20, 30, 40);
    expect(looked.changed(cells, 5)).toBe(4);
    looked.keep(cells);
    cells.fill(0); // the caller's memory
    expect(looked.changed(Uint8Array.of(60, 70, 80, 90), 5)).toBe(0);
    expect(looked.changed(Uint8Array.of(10, 20, 30, 80), 15)).toBe(1);
    expect(looked.changed(Uint8Array.of(10), 5)).toBe(1);
  });
});

describe.skipIf(nativeMissing !== undefined)('PixelGate', () => {
  /** A grey room of 80 x 64 pixels, and a bright square of 16 x 16 in it. */
  const room = (at: number | null): Image => {
    const data = new Uint8Array(80 * 64 * 3).fill(100);
    if (at !== null) for (let y = 16; y < 32; y++) data.fill(200, (y * 80 + at) * 3, (y * 80 + at + 16) * 3);
    return { width: 80, height: 64, data };
  };

  it('looks once at somebody who comes and stands, then only now and then, and at once when he moves', () => {
    const gate = new PixelGate({ ...settings, repeat_ms: 200, cell_threshold: 10 }, nativePixels.motionGrid());
    const looks: number[] = [];
    for (let now = 0; now <= 1000; now += 40) if (gate.opensFor(room(now < 100 ? null : now < 600 ? 16 : 48), now)) looks.push(now);
    expect(looks).toEqual([0, 120, 320, 520, 600, 800, 1000]);
  });
});
