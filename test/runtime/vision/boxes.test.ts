import { describe, expect, it } from 'vitest';
import type { Tensor } from '../../../runtime/tensor.js';
import { decodeCorners, decodeYunet } from '../../../runtime/vision/boxes.js';

const tensor = (dims: number[], data: ArrayLike<number>): Tensor => ({ type: 'float32', dims, data: Float32Array.from(data) });
const input = { width: 320, height: 240 };
const identity = { scaleX: 1, scaleY: 1, offsetX: 0, offsetY: 0 };

describe('decodeCorners', () => {
  const heads = {
    scores: tensor([1, 3, 2], [0.125, 0.875, 0.75, 0.25, 0.375, 0.625]),
    boxes: tensor([1, 3, 4], [0, 0, 0.5, 0.5, 0, 0, 1, 1, 0.25, 0.5, 0.75, 1]),
    class: 1,
  };

  it('selects by the score of the class, in the order of the model', () => {
    const { count, boxes, scores } = decodeCorners(heads, input, identity, 0.625);
    expect(count).toBe(2);
    expect([...scores]).toEqual([0.875, 0.625]);
    expect([...boxes]).toEqual([0, 0, 160, 120, 80, 120, 240, 240]);
  });

  it('maps boxes back to the frame', () => {
    // 640 x 360 letterboxed into 320 x 240: scale 2, 30 rows of padding above.
    const { boxes } = decodeCorners(heads, input, { scaleX: 2, scaleY: 2, offsetX: 0, offsetY: 30 }, 0.75);
    expect([...boxes]).toEqual([0, -60, 320, 180]);
  });

  it('selects nothing by a NaN score', () => {
    expect(decodeCorners({ ...heads, scores: tensor([1, 3, 2], new Array<number>(6).fill(NaN)) }, input, identity, 0).count).toBe(0);
  });

  it('drops boxes without area, with NaN, or far outside', () => {
    const rows = [[0.5, 0.5, 0.25, 0.75], [0.5, 0.5, 0.5, 0.75], [NaN, 0, 1, 1], [0, 0, Infinity, 1], [0, -1e6, 1, 1], [0, 0, 0.5, 1]];
    const scores = tensor([1, 6, 2], rows.flatMap((_, i) => [0, 0.5 + i / 16]));
    const kept = decodeCorners({ scores, boxes: tensor([1, 6, 4], rows.flat()), class: 1 }, input, identity, 0.5);
    expect(kept.count).toBe(1);
    expect([...kept.boxes]).toEqual([0, 0, 160, 240]);
    expect([...kept.scores]).toEqual([0.8125]);
  });

  it('refuses outputs that do not fit together', () => {
    expect(() => decodeCorners({ ...heads, boxes: tensor([1, 2, 4], new Array<number>(8).fill(0)) }, input, identity, 0.5)).toThrow(/E_MODEL_SHAPE|Expected scores/);
    expect(() => decodeCorners({ ...heads, class: 2 }, input, identity, 0.5)).toThrow(/C > 2/);
    expect(() => decodeCorners({ ...heads, scores: { type: 'uint8', dims: [1, 3, 2], data: new Uint8Array(6) } }, input, identity, 0.5)).toThrow(/float32/);
  });
});

describe('decodeYunet', () => {
  const size = { width: 16, height: 16 };
  const outputs = (): Record<string, Tensor> => {
    // One level of 2 x 2 cells; the face is in cell 3 (column 1, row 1).
    const cls = [0, 0, 0, 0.81];
    const bbox = new Array<number>(16).fill(0);
    bbox.splice(12, 4, 0.5, 0.25, Math.log(2), Math.log(4));
    const kps = new Array<number>(40).fill(0);
    kps.splice(30, 10, 0, 0, 1, 0, 0.5, 0.5, 0, 1, 1, 1);
    return { cls_8: tensor([1, 4, 1], cls), obj_8: tensor([1, 4, 1], [0, 0, 0, 1.5]), bbox_8: tensor([1, 4, 4], bbox), kps_8: tensor([1, 4, 10], kps) };
  };

  it('decodes centre, size and points of a cell, and takes the geometric mean of the clamped scores', () => {
    const { count, boxes, scores, points } = decodeYunet(outputs(), [8], size, identity, 0.5);
    expect(count).toBe(1);
    expect(scores[0]).toBeCloseTo(0.9, 6);
    expect([...boxes].map((value) => Math.round(value * 1000) / 1000)).toEqual([4, -6, 20, 26]);
    expect([...(points ?? [])]).toEqual([8, 8, 16, 8, 12, 12, 8, 16, 16, 16]);
  });

  it('maps to the frame', () => {
    const { points } = decodeYunet(outputs(), [8], size, { scaleX: 3, scaleY: 2, offsetX: 8, offsetY: 4 }, 0.5);
    expect([...(points ?? [])].slice(0, 4)).toEqual([0, 8, 24, 8]);
  });

  it('drops a box whose size overflows, with its points', () => {
    const { bbox_8, ...rest } = outputs();
    const data = Float32Array.from(bbox_8?.data ?? [], Number);
    data[14] = 1000;
    expect(decodeYunet({ ...rest, bbox_8: tensor([1, 4, 4], data) }, [8], size, identity, 0.5)).toMatchObject({ count: 0, points: new Float32Array(0) });
  });

  it('names a head that is missing or has another size', () => {
    const { kps_8: _, ...rest } = outputs();
    expect(() => decodeYunet(rest, [8], size, identity, 0.5)).toThrow(/kps_8/);
    expect(() => decodeYunet({ ...outputs(), obj_8: tensor([1, 3, 1], [0, 0, 0]) }, [8], size, identity, 0.5)).toThrow(/obj_8/);
  });
});
