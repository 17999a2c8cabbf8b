import { describe, expect, it } from 'vitest';
import { openNative } from '../../../runtime/engines/native.js';
import { fromNumbers, scalar, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import type { OnnxNode } from '../../../runtime/onnx/types.js';
import { asTensor } from '../../../runtime/tensor.js';
import { floats, modelBytes, node, randomInts, randomTensor, type ModelSpec } from '../support/models.js';
import { nativeMissing } from '../support/native.js';
import { difference, oracle, oracleMissing } from '../support/oracle.js';

// Quantized weights as pruning, other runtimes' formats and converters leave them, between quantized activations.

interface Weights {
  readonly w: TensorValue;
  readonly s: TensorValue;
  readonly z?: TensorValue;
  readonly attributes?: Parameters<typeof node>[3];
}

const activation = (value: string): OnnxNode[] => [node('QuantizeLinear', [value, 'xs', 'xz'], [`${value}.q`]), node('DequantizeLinear', [`${value}.q`, 'xs', 'xz'], [`${value}.d`])];

/** x, quantized -> a layer by weights that are dequantized -> y. */
function layer(op: string, dims: readonly number[], { w, s, z, attributes }: Weights, options: Parameters<typeof node>[3] = {}): ModelSpec {
  return {
    opset: 21, inputs: { x: dims }, outputs: ['y'], outputTypes: { y: 'float32' }, constants: { w, s, ...(z === undefined ? {} : { z }), xs: floats([], 1 / 128), xz: scalar('uint8', 127) },
    nodes: [...activation('x'), node('DequantizeLinear', ['w', 's', ...(z === undefined ? [] : ['z'])], ['wd'], attributes), node(op, ['x.d', 'wd'], ['l'], options), ...activation('l'), node('Identity', ['l.d'], ['y'])],
  };
}

const signed = (low: number, high: number, ...dims: number[]): TensorValue => randomTensor(dims, 5, low, high);
const cases: [string, ModelSpec][] = [
  ['a convolution with channels whose scale is 0', layer('Conv', [1, 3, 6, 5], { w: randomInts('int8', [4, 3, 3, 3], 1, -127, 127), s: floats([4], 0.002, 0, 0.003, 0), attributes: { axis: 0 } })],
  ['a convolution whose only scale is 0', layer('Conv', [1, 3, 6, 5], { w: randomInts('uint8', [4, 3, 3, 3], 1, 0, 255), s: floats([], 0), z: scalar('uint8', 7) })],
  ['a product with a column whose scale is 0 and a zero-point for each', layer('MatMul', [3, 8], { w: randomInts('int8', [8, 3], 1, -127, 127), s: floats([3], 0.002, 0, 0.004), z: fromNumbers('int8', [3], [1, -3, 0]), attributes: { axis: 1 } })],
  ['a transposed convolution with a zero-point for each channel', layer('ConvTranspose', [1, 3, 4, 5], { w: randomInts('uint8', [3, 2, 3, 3], 1, 0, 255), s: floats([2], 0.003, 0.002), z: fromNumbers('uint8', [2], [120, 140]), attributes: { axis: 1 } }, { strides: [2, 2] })],
  ['a Gemm by blocks of bytes', layer('Gemm', [3, 8], { w: randomInts('uint8', [8, 5], 1, 0, 255), s: signed(0.001, 0.004, 2, 5), z: randomInts('uint8', [2, 5], 6, 100, 150), attributes: { axis: 0, block_size: 4 } })],
  ['a Gemm with a scale for each row', layer('Gemm', [3, 8], { w: randomInts('int8', [8, 5], 1, -127, 127), s: signed(0.001, 0.004, 8), attributes: { axis: 0 } })],
  ['a product by blocks with scales of both signs', layer('MatMul', [3, 64], { w: randomInts('int4', [64, 5], 1, -8, 7), s: signed(-0.02, 0.02, 2, 5), attributes: { axis: 0, block_size: 32 } })],
];

const bits: ModelSpec = {
  opset: 21, inputs: { x: [2, 64] }, outputs: ['y'], outputTypes: { y: 'float32' }, domains: { 'com.microsoft': 1 }, constants: { w: randomInts('uint8', [5, 2, 16], 1, 0, 255), s: signed(-0.2, 0.2, 5, 2) },
  nodes: [{ ...node('MatMulNBits', ['x', 'w', 's'], ['y'], { K: 64, N: 5, bits: 4, block_size: 32 }), domain: 'com.microsoft' }],
};

const missing = nativeMissing ?? oracleMissing;

describe.skipIf(missing !== undefined)(`odd quantization against onnxruntime${missing === undefined ? '' : ` (${missing})`}`, () => {
  it.each([...cases, ['MatMulNBits with scales of both signs', bits] as [string, ModelSpec]])('%s', async (_name, spec) => {
    const x = randomTensor(Object.values(spec.inputs)[0]?.map(Number) ?? [], 9);
    const session = await openNative(modelBytes(spec));
    const { y } = await session.run({ x: asTensor(x) });
    await session.close();
    const wanted = await oracle(modelBytes(spec), { x }, false);
    // A step of the activations is 1 / 128; sums that fall between two may be rounded either way.
    expect(difference(y?.data ?? [], wanted['y']?.data ?? []).maximum).toBeLessThanOrEqual(spec === bits ? 1e-5 : 1.001 / 128);
    expect(Array.from(wanted['y']?.data ?? []).some((value) => value !== 0) || spec.constants?.['s']?.data.length === 1).toBe(true);
  });
});
