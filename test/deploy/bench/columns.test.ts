/** What windows of sound have in common: rows that are said to be kept are the same in both windows, bit by bit, and those that are not are not. */
import { describe, expect, it } from 'vitest';
import { followRows, savingOf } from '../../../deploy/bench/sound/columns.js';
import type { OnnxNode } from '../../../runtime/onnx/types.js';
import { elementCount, fromNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { interpret } from '../../../runtime/infer/interpret.js';
import { compile } from '../../../runtime/lower/compile.js';
import { modelBytes, node, randomTensor } from '../../runtime/support/models.js';
import { random } from '../../runtime/support/random.js';
import { nativeMissing } from '../../runtime/support/native.js';

const bands = 6;

/** A few layers over [1, 1, rows, bands]: convolutions of any kernel, stride, dilation and padding along time, pools and residual sums. */
function network(seed: number, rows: number): Uint8Array {
  const next = random(seed);
  const upTo = (n: number): number => Math.floor(next() * n);
  const nodes: OnnxNode[] = [];
  const constants: Record<string, TensorValue> = {};
  let [value, channels, left] = ['x', 1, rows];
  for (let layer = 0; layer < 4 && left > 6; layer++) {
    const [kernel, stride, dilation] = [1 + upTo(4), 1 + upTo(2), 1 + upTo(2)];
    const pads = [upTo(kernel), 1, upTo(kernel), 1];
    const y = `y${layer}`;
    const same = kernel === 3 && stride === 1 && next() < 0.7;
    const outputs = same ? channels : 2 + upTo(3);
    const along = same ? [dilation, 1, dilation, 1] : pads;
    constants[`w${layer}`] = randomTensor([outputs, channels, kernel, 3], seed + layer);
    nodes.push(node('Conv', [value, `w${layer}`], [`${y}c`], { kernel_shape: [kernel, 3], strides: [stride, 1], dilations: [dilation, 1], pads: along }));
    nodes.push(same ? node('Add', [`${y}c`, value], [y]) : node('Relu', [`${y}c`], [y]));
    left = Math.floor((left + (along[0] ?? 0) + (along[2] ?? 0) - dilation * (kernel - 1) - 1) / stride) + 1;
    [value, channels] = [y, outputs];
    if (next() < 0.3) {
      nodes.push(node('MaxPool', [value], [`${y}p`], { kernel_shape: [2, 1], strides: [2, 1] }));
      left = Math.floor(left / 2);
      value = `${y}p`;
    }
  }
  nodes.push(node('GlobalAveragePool', [value], ['out']));
  return modelBytes({ inputs: { x: [1, 1, rows, bands] }, constants, nodes, outputs: ['out'] });
}

/** Row `row` of a value along an axis. */
function rowOf({ dims, data }: TensorValue, axis: number, row: number): unknown[] {
  const inner = elementCount(dims.slice(axis + 1));
  return Array.from(data as ArrayLike<number>).filter((_, i) => Math.floor(i / inner) % (dims[axis] ?? 1) === row);
}

describe('rows that windows of sound have in common', () => {
  it('are the same in both windows, in random networks at random hops', () => {
    let [kept, changed] = [0, 0];
    for (let seed = 1; seed <= 60; seed++) {
      const next = random(seed);
      const rows = 20 + Math.floor(next() * 20);
      const hop = 1 + Math.floor(next() * 10);
      const { graph } = compile(network(seed, rows), { strips: false });
      const moves = followRows(graph, [{ shape: [1, 1, rows, bands], axis: 2 }], hop);
      const sound = Array.from({ length: (rows + hop) * bands }, () => next() - 0.5);
      const run = (from: number): Map<string, TensorValue> => {
        const wanted = [...moves.keys()].filter((value) => !graph.inputs.includes(value));
        return interpret(graph, new Map([['x', fromNumbers('float32', [1, 1, rows, bands], sound.slice(from * bands, (from + rows) * bands))]]), wanted);
      };
      const [before, now] = [run(0), run(hop)];
      for (const [value, { axis, shift, kept: same }] of moves) {
        const [old, fresh] = [before.get(value), now.get(value)];
        if (old === undefined || fresh === undefined) continue;
        same.forEach((isKept, row) => {
          if (row + shift >= same.length) return;
          const equal = JSON.stringify(rowOf(fresh, axis, row)) === JSON.stringify(rowOf(old, axis, row + shift));
          if (isKept) expect(equal, `seed ${seed}, ${value}, row ${row} of ${same.length}, shift ${shift}`).toBe(true);
          if (isKept) kept++;
          else if (!equal) changed++;
        });
      }
    }
    // The test has seen both: rows that are kept, and rows that padding has changed.
    expect(kept).toBeGreaterThan(500);
    expect(changed).toBeGreaterThan(50);
  });

  it('end where the hop is no whole number of rows, and come back with an older window', () => {
    const conv = (i: number, from: string): OnnxNode => node('Conv', [from, `w${i}`], [`y${i}`], { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 0, 0] });
    const bytes = modelBytes({ inputs: { x: [1, 1, 32, 32] }, constants: { w0: randomTensor([4, 1, 3, 3], 1), w1: randomTensor([4, 4, 3, 3], 2) }, nodes: [conv(0, 'x'), conv(1, 'y0')], outputs: ['y1'] });
    const { graph, opNodes } = compile(bytes, { strips: false });
    const shares = (hop: number): (string | undefined)[] => {
      const moves = followRows(graph, [{ shape: [1, 1, 32, 32], axis: 2 }], hop);
      return opNodes.filter(({ op }) => op === 'NhwcConv').map(({ outputs: [output = ''] }) => {
        const moved = moves.get(output);
        return moved === undefined ? undefined : `${moved.kept.filter(Boolean).length} of ${moved.kept.length} by ${moved.shift}`;
      });
    };
    // Of 16 rows and of 8; the first one has the padding before it.
    expect([5, 10, 20, 31].map(shares)).toEqual([[undefined, undefined], ['10 of 16 by 5', undefined], ['5 of 16 by 10', '2 of 8 by 5'], [undefined, undefined]]);
  });

  it.skipIf(nativeMissing !== undefined)('are weighed with the time of their layers', async () => {
    const rows = 40;
    const saving = (hop: number): ReturnType<typeof savingOf> => savingOf({ model: network(3, rows), starts: [{ shape: [1, 1, rows, bands], axis: 2 }], hop });
    const [near, far] = [await saving(1), await saving(rows)];
    expect(near.ms).toBeGreaterThan(0);
    expect(near.older).toBeGreaterThanOrEqual(near.before);
    expect(near.older).toBeLessThan(1);
    expect([far.before, far.older]).toEqual([0, 0]);
  }, 60_000);
});
