// Inputs that are read, and outputs that are written, where the caller has them (kernels/engine/outside.h).
import { describe, expect, it } from 'vitest';
import { loadProgram } from '../../../kernels/binding/index.js';
import { compile } from '../../../runtime/lower/compile.js';
import type { OnnxNode } from '../../../runtime/onnx/types.js';
import { modelBytes, node, randomTensor } from '../support/models.js';

const dims = [1, 8, 64, 64]; // 128 KiB: less is always copied
const count = 8 * 64 * 64;
const input = (seed: number): Float32Array => Float32Array.from({ length: count }, (_, i) => Math.sin(i * 0.37 + seed) * 3);

interface Case {
  readonly nodes: OnnxNode[];
  readonly outputs: string[];
  readonly inputs?: number;
}

const cases: Readonly<Record<string, Case>> = {
  'one operator': { nodes: [node('Tanh', ['x0'], ['y'])], outputs: ['y'] },
  'the first and the last of several': { nodes: [node('Exp', ['x0'], ['a']), node('Mul', ['a', 'a'], ['b']), node('Sigmoid', ['b'], ['y'])], outputs: ['y'] },
  'softmax of rows': { nodes: [node('Softmax', ['x0'], ['y'], { axis: -1 })], outputs: ['y'] },
  'softmax across rows': { nodes: [node('LogSoftmax', ['x0'], ['y'], { axis: 1 })], outputs: ['y'] },
  'a normalization between others': { nodes: [node('LayerNormalization', ['x0', 'scale'], ['a'], { axis: -1 }), node('Softmax', ['a'], ['y'], { axis: -1 })], outputs: ['y'] },
  'transpositions around others': { nodes: [node('Transpose', ['x0'], ['a'], { perm: [0, 2, 3, 1] }), node('Softmax', ['a'], ['b'], { axis: -1 }), node('Transpose', ['b'], ['y'], { perm: [0, 3, 1, 2] })], outputs: ['y'] },
  'an input that is read again later': { nodes: [node('Tanh', ['x0'], ['a']), node('Exp', ['a'], ['b']), node('Add', ['b', 'x0'], ['y'])], outputs: ['y'] },
  'an input that is an output too': { nodes: [node('Tanh', ['x0'], ['y'])], outputs: ['y', 'x0'] },
  'an output that others read': { nodes: [node('Tanh', ['x0'], ['y']), node('Exp', ['y'], ['z'])], outputs: ['y', 'z'] },
  'a view of the input': { nodes: [node('Flatten', ['x0'], ['v'], { axis: 1 }), node('Erf', ['v'], ['y']), node('Add', ['v', 'y'], ['z'])], outputs: ['z', 'y'] },
  'parts of a concatenation': { nodes: [node('Tanh', ['x0'], ['a']), node('Concat', ['x0', 'a'], ['c'], { axis: 1 }), node('Exp', ['c'], ['y'])], outputs: ['y'] },
  'a part of an output': { nodes: [node('Tanh', ['x0'], ['a']), node('Exp', ['x1'], ['b']), node('Concat', ['a', 'b'], ['y'], { axis: 1 })], outputs: ['y'], inputs: 2 },
  'two inputs': { nodes: [node('Tanh', ['x0'], ['a']), node('Exp', ['x1'], ['b']), node('Sub', ['a', 'b'], ['c']), node('Erf', ['c'], ['y'])], outputs: ['y', 'c'], inputs: 2 },
  'long lives in between': {
    nodes: [node('Tanh', ['x0'], ['a']), node('Transpose', ['a'], ['t'], { perm: [0, 2, 3, 1] }), node('Exp', ['t'], ['e']), node('Sigmoid', ['a'], ['s']), node('Neg', ['s'], ['n']), node('Erf', ['e'], ['y'])],
    outputs: ['y', 'n'],
  },
};

/** The same bytes at an odd address: such memory is copied. */
function odd(bytes: number): Uint8Array {
  return new Uint8Array(bytes + 3).subarray(3);
}

const constants = { scale: randomTensor([64], 5) };

const bytesOf = (view: Float32Array): Uint8Array => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

describe.each(Object.entries(cases))('%s', (_, { nodes, outputs, inputs = 1 }) => {
  const names = Array.from({ length: inputs }, (_, i) => `x${i}`);
  const program = compile(modelBytes({ inputs: Object.fromEntries(names.map((name) => [name, dims])), nodes, outputs, constants }));
  const sizes = program.outputs.map((port) => port.dims.reduce((a, b) => a * b, 1));

  it.each([1, 3])('gives the bits that copies give, run after run, with %d threads', async (threads) => {
    const native = loadProgram(program.bytes, { threads });
    try {
      for (let run = 0; run < 3; run++) {
        const feeds = names.map((_, i) => input(run * 2 + i));
        const copied = feeds.map((feed) => {
          const bytes = odd(feed.byteLength);
          bytes.set(bytesOf(feed));
          return bytes;
        });
        const expected = sizes.map((size) => odd(size * 4));
        await native.run(copied, expected);
        const guarded = sizes.map((size) => new Float32Array(size + 32).fill(-7));
        const given = feeds.map((feed) => feed.slice());
        await native.run(given, guarded.map((memory) => memory.subarray(16, -16)));
        guarded.forEach((memory, i) => {
          expect(Buffer.from(bytesOf(memory.subarray(16, -16))).equals(Buffer.from(expected[i] ?? []))).toBe(true);
          expect([...memory.subarray(0, 16), ...memory.subarray(-16)].every((value) => value === -7)).toBe(true);
        });
        expect(given).toEqual(feeds);
      }
    } finally {
      await native.close();
    }
  });
});

describe('memory of the caller', () => {
  const program = compile(modelBytes({ inputs: { x0: dims }, nodes: [node('Exp', ['x0'], ['a']), node('Tanh', ['a'], ['y'])], outputs: ['y'] }));

  it('may be the same for an input and an output', async () => {
    const native = loadProgram(program.bytes);
    const [apart, shared] = [new Float32Array(count), input(1)];
    await native.run([input(1)], [apart]);
    await native.run([shared], [shared]);
    expect(shared).toEqual(apart);
    const overlapping = new Float32Array(count + 1);
    overlapping.set(input(1), 1);
    await native.run([overlapping.subarray(1)], [overlapping.subarray(0, count)]);
    expect(overlapping.subarray(0, count)).toEqual(apart);
    await native.close();
  });

  it('is no place that later parts of a program go on from', async () => {
    const native = loadProgram(program.bytes);
    const [whole, part] = [new Float32Array(count), new Float32Array(count)];
    await native.run([input(1)], [whole]);
    await expect(native.runPart(0, 2, null, [part])).rejects.toMatchObject({ code: 'E_ARGUMENT' });
    await expect(native.runPart(1, 2, [input(1)], [part])).rejects.toMatchObject({ code: 'E_ARGUMENT' });
    await native.runPart(0, 1, [input(1)], [null]);
    await native.runPart(1, 2, null, [part]);
    expect(part).toEqual(whole);
    await native.close();
  });

  it.each([node('Exp', ['x0'], ['y']), node('Transpose', ['x0'], ['y'], { perm: [0, 2, 3, 1] }), node('Softmax', ['x0'], ['y'], { axis: -1 }), node('LayerNormalization', ['x0', 'scale'], ['y'], { axis: -1 })])('is where $op works', async (operator) => {
    const native = loadProgram(compile(modelBytes({ inputs: { x0: dims }, nodes: [operator], outputs: ['y'], constants })).bytes);
    await native.run([input(1)], [new Float32Array(count)]);
    // What was written outside is not in the program's own memory, so that nothing can go on from there.
    await expect(native.runPart(0, 1, null, [new Float32Array(count)])).rejects.toMatchObject({ code: 'E_ARGUMENT' });
    await native.close();
  });
});
