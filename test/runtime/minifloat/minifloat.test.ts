/** Floats of 6 to 16 bits: their numbers, their stream of bits, and models that store them. */
import { describe, expect, it } from 'vitest';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { float32s, fromNumbers, toNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { bitsOf, codeAt, decode, formatsFor, isMinifloat, largestOf, MinifloatRounding, packCodes, type MinifloatFormat } from '../../../runtime/minifloat/format.js';
import { minifloatFunction, storeMinifloats } from '../../../runtime/minifloat/stored.js';
import { float16ToNumber } from '../../../runtime/onnx/float16.js';
import type { OnnxNode } from '../../../runtime/onnx/types.js';
import { createSession } from '../../../runtime/session.js';
import { asTensor } from '../../../runtime/tensor.js';
import { model, modelBytes, node, randomTensor } from '../support/models.js';
import { nativeMissing } from '../support/native.js';
import { oracleMissing } from '../support/oracle.js';
import { random } from '../support/random.js';

const formats: MinifloatFormat[] = [6, 7, 8, 9, 10, 11].flatMap((bits) => formatsFor(bits, 3));

describe('a minifloat', () => {
  it('has a number for each code, in order, and the number its code', () => {
    for (const format of formats) {
      const half = 2 ** (bitsOf(format) - 1);
      const rounding = new MinifloatRounding(format);
      for (let code = 0; code < 2 * half; code++) {
        const number = decode(code, format);
        expect(Math.fround(number)).toBe(number);
        if (code !== half) expect(rounding.encode(number)).toBe(code);
        if (code > 0 && code < half) expect(number).toBeGreaterThan(decode(code - 1, format));
      }
      expect(decode(half - 1, format)).toBe(largestOf(format));
    }
  });

  it('is the nearest one, halves to the even code, and the largest beyond it', () => {
    const next = random(7);
    for (const format of formats) {
      const rounding = new MinifloatRounding(format);
      const numbers = Array.from({ length: 2 ** (bitsOf(format) - 1) }, (_, code) => decode(code, format));
      for (let i = 0; i < 60; i++) {
        const x = Math.fround((next() - 0.5) * 8 * 2 ** (-8 * next()));
        const least = Math.min(...numbers.map((number) => Math.abs(number - Math.abs(x))));
        expect(Math.abs(rounding.round(x) - x)).toBe(least);
        expect(rounding.round(x) + 0).toBe(decode(rounding.encode(x), format) + 0);
      }
      for (let code = 0; code + 1 < numbers.length; code++) {
        const [even = 0, odd = 0] = code % 2 === 0 ? [numbers[code], numbers[code + 1]] : [numbers[code + 1], numbers[code]];
        expect(rounding.round((even + odd) / 2)).toBe(even);
      }
      expect([rounding.round(1e30), rounding.round(-1e30)]).toEqual([largestOf(format), -largestOf(format)]);
    }
  });

  it('of 5 and 10 bits is binary16 where that has numbers', () => {
    const half = { exponent: 5, mantissa: 10, bias: 15 };
    for (let code = 0; code < 0x7c00; code += 7) expect(decode(code, half)).toBe(float16ToNumber(code));
  });

  it('travels in its real bits', () => {
    const next = random(3);
    for (let bits = 6; bits <= 16; bits++) {
      const codes = Uint16Array.from({ length: 61 }, () => Math.floor(next() * 2 ** bits));
      const bytes = packCodes(codes, bits);
      expect(bytes.length).toBe(8 * bits);
      expect(Uint16Array.from(codes, (_, i) => codeAt(bytes, bits, i))).toEqual(codes);
    }
  });

  it('needs a format whose numbers float32 holds', () => {
    expect([{ exponent: 8, mantissa: 7, bias: 127 }, { exponent: 8, mantissa: 7, bias: 128 }, { exponent: 0, mantissa: 7, bias: 0 }, { exponent: 2, mantissa: 2, bias: 0 }, { exponent: 5, mantissa: 5, bias: 0.5 }].map(isMinifloat)).toEqual([false, true, false, false, false]);
  });
});

const missing = nativeMissing ?? oracleMissing;

/** y = x W with W in 11 bits, and what W is. */
function stored(format: MinifloatFormat, dims: readonly number[] = [7, 9]) {
  const { data } = randomTensor(dims, 5);
  const { constants, node: made } = storeMinifloats('w', { dims, data: data as Float32Array }, format);
  const rounding = new MinifloatRounding(format);
  return { constants: Object.fromEntries(constants), made, rounded: Float32Array.from(data as Float32Array, (x) => rounding.round(x)) };
}

describe('a model with minifloats', () => {
  it.skipIf(missing !== undefined)('gives the same on both engines, of which one knows nothing but the functions of the model', async () => {
    for (const format of [{ exponent: 3, mantissa: 7, bias: 6 }, { exponent: 2, mantissa: 3, bias: 2 }, { exponent: 4, mantissa: 11, bias: 12 }, { exponent: 5, mantissa: 2, bias: -3 }]) {
      const { constants, made, rounded } = stored(format);
      const bytes = modelBytes({ inputs: { x: [1, 7] }, outputs: ['y'], outputTypes: { y: 'float32' }, constants, nodes: [made, node('MatMul', ['x', 'w'], ['y'])], domains: { sterna: 1 }, functions: [minifloatFunction(format)] });
      for (const engine of ['native', 'onnxruntime'] as const) {
        const session = await createSession(bytes, { engine });
        try {
          for (let row = 0; row < 7; row++) {
            const feeds = { x: asTensor(fromNumbers('float32', [1, 7], Float32Array.from({ length: 7 }, (_, i) => (i === row ? 1 : 0)))) };
            const { y } = await session.run(feeds);
            expect(Array.from(y?.data as Float32Array, (value) => value + 0)).toEqual(Array.from(rounded.subarray(9 * row, 9 * row + 9), (value) => value + 0));
          }
        } finally {
          await session.close();
        }
      }
    }
  });

  it('holds them as a constant once it is read', () => {
    const format = { exponent: 3, mantissa: 7, bias: 6 };
    const { constants, made, rounded } = stored(format);
    const graph = graphFromOnnx(model({ inputs: { x: [1, 7] }, outputs: ['y'], constants, nodes: [made, node('MatMul', ['x', 'w'], ['y'])], domains: { sterna: 1 }, functions: [minifloatFunction(format)] }));
    expect([...toNumbers(graph.constants.get('w') ?? float32s([]))]).toEqual([...rounded]);
    expect(graph.nodes.map(({ op }) => op)).toEqual(['MatMul']);
  });

  it.each<[string, (made: OnnxNode, constants: Readonly<Record<string, TensorValue>>) => [OnnxNode, Readonly<Record<string, TensorValue>>], string, RegExp]>([
    ['too few bytes', (made, c) => [made, { ...c, 'w.codes': fromNumbers('uint8', [3], [1, 2, 3]) }], 'E_MODEL_MALFORMED', /expected an initializer of 88 bytes for 63 numbers of 11 bits but received uint8\[3\]/],
    ['no bytes', (made, c) => [{ ...made, inputs: ['x', 'w.shape'] }, c], 'E_MODEL_MALFORMED', /but received none/],
    ['a negative size', (made, c) => [made, { ...c, 'w.shape': fromNumbers('int64', [2], [-7, -9]) }], 'E_MODEL_LIMIT', /negative size/],
    ['more numbers than a tensor may have', (made, c) => [made, { ...c, 'w.shape': fromNumbers('int64', [2], [2 ** 30, 2 ** 30]) }], 'E_MODEL_LIMIT', /has more than 268435456 elements/],
    ['a split that cannot be', (made, c) => [{ ...made, attributes: new Map([...made.attributes, ['exponent', { type: 'int', value: 200 }]]) }, c], 'E_MODEL_MALFORMED', /expected 6 to 16 bits .* received e200m7 with bias 6/],
    ['numbers beyond float32', (made, c) => [{ ...made, attributes: new Map([...made.attributes, ['bias', { type: 'int', value: -400 }]]) }, c], 'E_MODEL_MALFORMED', /bias -400/],
  ])('is refused with %s', (_, change, code, message) => {
    const { constants, made } = stored({ exponent: 3, mantissa: 7, bias: 6 });
    const [bad, values] = change(made, constants);
    const read = (): unknown => graphFromOnnx(model({ inputs: { x: [1, 7] }, outputs: ['y'], constants: values, nodes: [bad, node('MatMul', ['x', 'w'], ['y'])], domains: { sterna: 1 } }));
    expect(read).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) as string }) as Error);
  });
});
