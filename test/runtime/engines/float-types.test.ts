import { describe, expect, it } from 'vitest';
import { float16ToNumber, numberToFloat16 } from '../../../runtime/onnx/float16.js';
import { onnxRuntimeVersion } from '../../../runtime/engines/onnxruntime.js';
import { createSession, type EngineName } from '../../../runtime/session.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { modelBytes, node, type ModelSpec } from '../support/models.js';
import { nativeMissing } from '../support/native.js';

const codes = { float16: 10, float64: 11 };
type Wide = keyof typeof codes;

/** The model with every input and output of float32 declared as another type: the graph between has no other types. */
function declaredAs(spec: ModelSpec, type: Wide, values = 2): Uint8Array {
  const bytes = Uint8Array.from(modelBytes(spec));
  let changed = 0;
  // TypeProto.Tensor: elem_type (field 1) is followed by shape (field 2), or is all that a message of two bytes holds.
  for (let i = 2; i + 2 < bytes.length; i++) {
    const alone = bytes[i - 2] === 0x0a && bytes[i - 1] === 2;
    if (bytes[i] !== 0x08 || bytes[i + 1] !== 1 || !(alone || bytes[i + 2] === 0x12)) continue;
    bytes[i + 1] = codes[type];
    changed++;
  }
  expect(changed).toBe(values);
  return bytes;
}

const doubled: ModelSpec = { inputs: { x: [2, 3] }, nodes: [node('Add', ['x', 'x'], ['d']), node('Neg', ['d'], ['y'])], outputs: ['y'] };

const numbers = [0.5, -1.25, 3, -0.0625, 100, 0];
const halves = (values: readonly number[]): Tensor => ({ type: 'float16', dims: [2, 3], data: Uint16Array.from(values, numberToFloat16) });
const doubles = (values: readonly number[]): Tensor => ({ type: 'float64', dims: [2, 3], data: Float64Array.from(values) });
const tensors = { float16: halves, float64: doubles };
const engines: EngineName[] = (await onnxRuntimeVersion()) === undefined ? ['native'] : ['native', 'onnxruntime'];

describe.each(engines)('floats of other types on %s', (engine) => {
  it.each(['float16', 'float64'] as const)('takes and gives %s where the model declares it', async (type) => {
    const session = await createSession(declaredAs(doubled, type), { engine });
    try {
      expect([session.inputs, session.outputs].flat().map((info) => info.type)).toEqual([type, type]);
      const wanted = tensors[type](numbers.map((value) => -2 * value));
      expect((await session.run({ x: tensors[type](numbers) }))['y']).toEqual(wanted);
      const reused = tensors[type](numbers);
      const { y } = await session.run({ x: tensors[type](numbers) }, { y: reused });
      expect(y?.data).toBe(reused.data);
      expect(reused).toEqual(wanted);
      await expect(session.run({ x: { type: 'float32', dims: [2, 3], data: Float32Array.from(numbers) } })).rejects.toMatchObject({ code: 'E_INPUT' });
    } finally {
      await session.close();
    }
  });

  it.each(['float16', 'float64'] as const)('takes and gives float32 instead of %s with the option floats', async (type) => {
    const session = await createSession(declaredAs(doubled, type), { engine, floats: 'float32' });
    try {
      const { y } = await session.run({ x: { type: 'float32', dims: [2, 3], data: Float32Array.from(numbers) } });
      expect(y).toEqual({ type: 'float32', dims: [2, 3], data: Float32Array.from(numbers, (value) => -2 * value) });
    } finally {
      await session.close();
    }
  });
});

describe('numbers of 16 bits', () => {
  it('come back from every bit pattern but those of NaN', () => {
    for (let bits = 0; bits < 0x10000; bits++) {
      const value = float16ToNumber(bits);
      if (Number.isNaN(value)) expect(Number.isNaN(float16ToNumber(numberToFloat16(value)))).toBe(true);
      else if (numberToFloat16(value) !== bits) expect(numberToFloat16(value)).toBe(bits);
    }
  });
  it.each([[65519, 0x7bff], [65520, 0x7c00], [-1e9, 0xfc00], [2 ** -25, 0], [2 ** -25 * 1.5, 1], [3 * 2 ** -25, 2], [1 + 2 ** -11, 0x3c00], [1 + 3 * 2 ** -11, 0x3c02], [6.1e-5, 0x03ff], [6.10352e-5, 0x0400]])('rounds %d to the nearest, ties to even', (value, bits) => {
    expect(numberToFloat16(value)).toBe(bits);
  });
});

describe.skipIf(nativeMissing !== undefined)('floats of other types, of sizes that the model does not state', () => {
  it.each(['float16', 'float64'] as const)('takes %s of sizes that the model leaves open', async (type) => {
    const session = await createSession(declaredAs({ ...doubled, inputs: { x: ['n', 3] } }, type), { engine: 'native' });
    try {
      for (const n of [2, 1, 4]) {
        const tensor = (factor: number): Tensor => ({ ...tensors[type](Array.from({ length: 3 * n }, (_, i) => factor * i)), dims: [n, 3] });
        expect((await session.run({ x: tensor(1) }))['y']).toEqual(tensor(-2));
      }
      expect(session.inputs[0]?.type).toBe(type);
      await expect(session.run({ x: { ...tensors[type]([1, 2, 3, 4]), dims: [1, 4] } })).rejects.toMatchObject({ code: 'E_INPUT' });
    } finally {
      await session.close();
    }
  });

  const sequence = { sequence: true, optional: false };
  const insert: ModelSpec = { inputs: { s: [], x: [2] }, nodes: [node('SequenceInsert', ['s', 'x'], ['y'])], outputs: ['y'], containers: { s: sequence, y: sequence } };
  it.each(['float16', 'float64'] as const)('sequences of %s', async (type) => {
    const tensor = (...values: number[]): Tensor => ({ ...tensors[type](values), dims: [values.length] });
    const session = await createSession(declaredAs(insert, type, 3));
    try {
      expect(session.inputs.map((info) => info.type)).toEqual([type, type]);
      expect(await session.run({ 's[0]': tensor(1, 0.5, 3), x: tensor(4, 5) })).toEqual({ 'y[0]': tensor(1, 0.5, 3), 'y[1]': tensor(4, 5) });
      await expect(session.run({ 's[0]': { type: 'float32', dims: [1], data: Float32Array.of(1) }, x: tensor(4, 5) })).rejects.toMatchObject({ code: 'E_INPUT' });
    } finally {
      await session.close();
    }
  });
});
