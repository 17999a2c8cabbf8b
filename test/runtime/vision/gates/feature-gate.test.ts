import { describe, expect, it } from 'vitest';
import type { Detection } from '../../../../runtime/stages/finding.js';
import { cellOf, FeatureGate, type FeatureCells } from '../../../../runtime/vision/gates/feature-gate.js';
import { featureGateSettings } from '../../../../runtime/vision/gates/settings.js';

const settings = featureGateSettings.parse({ enabled: true, split: 'conv', threshold: 0.2, full_pass_every_ms: 1000, track_ms: 300 });
const view = { width: 4, height: 2, channels: 1, data: new Uint8Array(8), zeroPoint: 0 };
/** Cells of 10 x 10 pixels of a picture of 40 x 20. */
const toMap = cellOf({ scaleX: 1, scaleY: 1, offsetX: 0, offsetY: 0 }, { width: 40, height: 20 });

function setUp(): { gate: FeatureGate; show: (...cells: number[]) => void; thresholds: number[] } {
  let active: number[] = [];
  const thresholds: number[] = [];
  const cells: FeatureCells = {
    mask: { width: 4, height: 2, bits: new Uint8Array(1) },
    update(_, threshold) {
      thresholds.push(threshold);
      this.mask.bits[0] = active.reduce((bits, cell) => bits | (1 << cell), 0);
      return active.length;
    },
  };
  return { gate: new FeatureGate(settings, cells), thresholds, show: (...next) => { active = next; } };
}

const box = (x: number, y: number, label = 'person'): { detection: Detection } => ({ detection: { type: 'detection', label, score: 0.9, box: [x, y, 8, 8] } });

describe('the feature gate', () => {
  it('opens for any active cell, and for one frame when that is due', () => {
    const { gate, show, thresholds } = setUp();
    expect(gate.decide(view, 0)).toMatchObject({ open: true, due: true });
    expect(gate.decide(view, 100)).toMatchObject({ open: false, due: false });
    show(5);
    const { open, mask } = gate.decide(view, 200, 0.5);
    expect(open).toBe(true);
    show();
    expect(gate.decide(view, 1100).open).toBe(false);
    expect(mask.bits[0]).toBe(1 << 5);
    expect(gate.decide(view, 1200)).toMatchObject({ open: true, due: true });
    expect(thresholds.slice(1, 3)).toEqual([0.2, 0.1]);
  });

  it('keeps a box by any active cell, or because it is still being found', () => {
    const { gate, show } = setUp();
    const look = (nowMs: number, ...found: { detection: Detection }[]) => {
      const { mask, due } = gate.decide(view, nowMs);
      return gate.keep(found, { mask, due, nowMs, toMap }).map(({ detection }) => detection.box[0]);
    };
    gate.decide(view, 0);
    show(0);
    expect(look(100, box(1, 1), box(31, 11))).toEqual([1]);
    show(7);
    // The first one stopped moving: it is kept while it is found again and again, and as long as a gap may be.
    expect(look(200, box(2, 1), box(31, 11))).toEqual([2, 31]);
    expect(look(450, box(2, 1))).toEqual([2]);
    expect(look(800, box(2, 1))).toEqual([]);
  });

  it('keeps everything that a due frame finds', () => {
    const { gate } = setUp();
    const { mask, due } = gate.decide(view, 0);
    expect(gate.keep([box(1, 1), box(20, 1)], { mask, due, nowMs: 0, toMap })).toHaveLength(2);
  });

  it('maps boxes through the letterbox to cells', () => {
    const at = cellOf({ scaleX: 2, scaleY: 2, offsetX: 0, offsetY: 40 }, { width: 320, height: 320 });
    expect(at(0, 0)).toEqual([0, 0.125]);
    expect(at(640, 480)).toEqual([1, 0.875]);
  });

  it('reads float features on the scale of the first map', () => {
    const { gate } = setUp();
    const split = { features: { name: 'f', type: 'float32' as const, dims: [1, 1, 2, 2] }, zeroPoint: 0 };
    const first = gate.viewOf(split, { type: 'float32', dims: [1, 1, 2, 2], data: Float32Array.of(4, -2, 0, 1) });
    expect(first).toMatchObject({ width: 2, height: 1, channels: 2, zeroPoint: 0 });
    expect([...first.data]).toEqual([102, -51, 0, 25]);
    expect([...gate.viewOf(split, { type: 'float32', dims: [1, 1, 2, 2], data: Float32Array.of(40, -40, 2, 0) }).data]).toEqual([127, -127, 51, 0]);
  });
});
