import { describe, expect, it } from 'vitest';
import { agreementOf, agreementOfModel, boxAgreement } from '../../../deploy/compress/box-agreement.js';
import type { Detection } from '../../../deploy/evaluate/decode.js';
import type { ModelInfo } from '../../../runtime/kinds/kind.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import type { OnnxNode } from '../../../runtime/onnx/types.js';
import type { TensorValue } from '../../../runtime/graph/tensor-value.js';
import type { Tensor } from '../../../runtime/tensor.js';

/** A detector whose file says nothing of the sizes of its outputs. */
function openDetector(): Uint8Array {
  const node = (op: string, inputs: string[], output: string): OnnxNode => ({ name: output, op, domain: '', inputs, outputs: [output], attributes: new Map() });
  const shape = (...dims: number[]): TensorValue => ({ dtype: 'int64', dims: [dims.length], data: BigInt64Array.from(dims, BigInt) });
  const weights = (outputs: number): TensorValue => ({ dtype: 'float32', dims: [outputs, 3, 1, 1], data: new Float32Array(3 * outputs) });
  const graph = {
    name: 'detector', valueInfo: [],
    nodes: [
      node('GlobalAveragePool', ['images'], 'mean'), node('Conv', ['mean', 'w1'], 'y1'), node('Conv', ['mean', 'w2'], 'y2'),
      node('Reshape', ['y1', 's1'], 'logits'), node('Sigmoid', ['logits'], 'scores'), node('Reshape', ['y2', 's2'], 'boxes'),
    ],
    initializers: new Map([['w1', weights(20)], ['w2', weights(40)], ['s1', shape(1, 10, 2)], ['s2', shape(1, 10, 4)]]),
    inputs: [{ name: 'images', dtype: 'float32' as const, dims: [1, 3, 'height', 'width'] }],
    outputs: ['scores', 'boxes'].map((name) => ({ name, dtype: 'float32' as const, dims: [undefined, undefined, undefined] })),
  };
  return serializeModel({ irVersion: 8, producerName: '', producerVersion: '', opsets: new Map([['', 13]]), metadata: new Map(), graph });
}

/** Outputs [1, 10, 2] and [1, 10, 4] with one box. */
function oneBox(score: number): Record<string, Tensor> {
  const [scores, boxes] = [new Float32Array(20), new Float32Array(40)];
  scores[1] = score;
  boxes.set([0.1, 0.1, 0.4, 0.4]);
  return { scores: { type: 'float32', dims: [1, 10, 2], data: scores }, boxes: { type: 'float32', dims: [1, 10, 4], data: boxes } };
}

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
    expect(agreement?.(oneBox(0.8), oneBox(0.8))).toBeCloseTo(1, 5);
    expect(agreement?.(oneBox(0.8), oneBox(0.4))).toBeCloseTo(0.5, 5);
    expect(agreement?.(oneBox(0), oneBox(0))).toBeUndefined();
  });

  it('infers the sizes that the file of a model leaves open', () => {
    const agreement = agreementOfModel(openDetector(), { shapes: { images: [1, 3, 64, 64] } });
    expect(agreement?.(oneBox(0.8), oneBox(0.4))).toBeCloseTo(0.5, 5);
  });

  it('is left to the default for a classifier, and for heads that nothing is known of', () => {
    expect(agreementOf({ ...detector, outputs: [{ name: 'y', type: 'float32', dims: [1, 10] }] })).toBeUndefined();
    expect(agreementOf({ ...detector, outputs: [{ name: 'y', type: 'float32', dims: [1, 3, 7, 11, 5] }] })).toBeUndefined();
  });
});
