import { describe, expect, it } from 'vitest';
import { MotionGate } from '../../../runtime/vision/motion.js';

const settings = { enabled: true, min_cells: 4, hold_ms: 1000, full_pass_every_ms: 10_000 };

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
