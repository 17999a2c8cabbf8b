import { describe, expect, it } from 'vitest';
import { agreementOf, boxAgreement } from '../../../deploy/compress/box-agreement.js';
import type { Detection } from '../../../deploy/evaluate/decode.js';
import type { ModelInfo } from '../../../runtime/kinds/kind.js';
import type { Tensor } from '../../../runtime/tensor.js';

const box = (label: number, score: number, x = 0.1): Detection => ({ label, score, corners: [x, 0.1, x + 0.2, 0.4] });

describe('agreement of boxes', () => {
  it('is 1 of the same boxes, and undefined of none', () => {
    expect(boxAgreement([box(1, 0.9), box(2, 0.5, 0.6)], [box(2, 0.5, 0.6), box(1, 0.9)])).toBeCloseTo(1, 6);
    expect(boxAgreement([], [])).toBeUndefined();
    expect(boxAgreement([box(1, 0.1)], [box(1, 0.2)])).toBeUndefined();
  });

  it('falls with scores in either direction, with overlap, with lost boxes and with new ones', () => {
    const expected = [box(1, 0.8)];
    expect(boxAgreement(expected, [box(1, 0.4)])).toBeCloseTo(0.5, 6);
    expect(boxAgreement([box(1, 0.4)], [box(1, 0.8)])).toBeCloseTo(0.5, 6);
    expect(boxAgreement(expected, [box(1, 0.8, 0.12)])).toBeCloseTo(0.18 / 0.22, 5);
    expect(boxAgreement(expected, [])).toBe(0);
    expect(boxAgreement(expected, [box(2, 0.8)])).toBe(0);
    expect(boxAgreement(expected, [box(1, 0.8), box(1, 0.8, 0.7)])).toBeCloseTo(0.5, 6);
  });

  it('finds a box again that fell below the threshold', () => {
    expect(boxAgreement([box(1, 0.3)], [box(1, 0.15)])).toBeCloseTo(0.5, 6);
  });
});

describe('agreement of a model', () => {
  const detector: ModelInfo = {
    inputs: [{ name: 'images', type: 'float32', dims: [1, 3, 64, 64] }],
    outputs: [{ name: 'scores', type: 'float32', dims: [1, 10, 2] }, { name: 'boxes', type: 'float32', dims: [1, 10, 4] }],
  };

  it('compares what a detector finds', () => {
    const agreement = agreementOf(detector);
    const outputs = (score: number): Record<string, Tensor> => {
      const [scores, boxes] = [new Float32Array(20), new Float32Array(40)];
      scores[1] = score;
      boxes.set([0.1, 0.1, 0.4, 0.4]);
      return { scores: { type: 'float32', dims: [1, 10, 2], data: scores }, boxes: { type: 'float32', dims: [1, 10, 4], data: boxes } };
    };
    expect(agreement?.(outputs(0.8), outputs(0.8))).toBeCloseTo(1, 5);
    expect(agreement?.(outputs(0.8), outputs(0.4))).toBeCloseTo(0.5, 5);
    expect(agreement?.(outputs(0), outputs(0))).toBeUndefined();
  });

  it('is left to the default for a classifier, and for heads that nothing is known of', () => {
    expect(agreementOf({ ...detector, outputs: [{ name: 'y', type: 'float32', dims: [1, 10] }] })).toBeUndefined();
    expect(agreementOf({ ...detector, outputs: [{ name: 'y', type: 'float32', dims: [1, 3, 7, 11, 5] }] })).toBeUndefined();
  });
});
