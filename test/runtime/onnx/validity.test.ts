import { describe, expect, it } from 'vitest';
import type { DType } from '../../../runtime/graph/tensor-value.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import type { OnnxModel, OnnxNode, OnnxValueInfo } from '../../../runtime/onnx/types.js';
import { createSession } from '../../../runtime/session.js';
import { node, model, randomTensor, ints64, floats, type ModelSpec } from '../support/models.js';
import { oracleMissing } from '../support/oracle.js';

const relu = (input: string, output: string, name = output): OnnxNode => ({ ...node('Relu', [input], [output]), name });
const spec = (nodes: readonly OnnxNode[], rest: Partial<ModelSpec> = {}): OnnxModel => model({ inputs: { x: [1, 4] }, nodes, outputs: ['y'], ...rest });
const image = { inputs: { x: [1, 3, 4, 4] } };
const withGraph = (base: OnnxModel, graph: Partial<OnnxModel['graph']>): OnnxModel => ({ ...base, graph: { ...base.graph, ...graph } });
const described = (name: string, dtype: DType, dims: readonly number[]): OnnxValueInfo => ({ name, dtype, dims });
const opset = (base: OnnxModel, version: number): OnnxModel => ({ ...base, opsets: new Map([['', version]]) });
const types = { scale: floats([], 1), unsigned: { dtype: 'uint8', dims: [], data: Uint8Array.of(1) }, signed: { dtype: 'int8', dims: [], data: Int8Array.of(1) } } as const;

/** Files that are no valid ONNX: what the checker of ONNX and onnxruntime refuse. */
const invalid: Readonly<Record<string, OnnxModel>> = {
  'two nodes of one name': spec([relu('x', 'a', 'k'), relu('a', 'y', 'k')]),
  'a dead node of a name that another one has': spec([relu('x', 'dead', 'k'), relu('x', 'y', 'k')]),
  'a value made twice': spec([relu('x', 'y', 'first'), relu('x', 'y', 'second')]),
  'a dead value made twice': spec([relu('x', 'a', 'first'), relu('x', 'a', 'second'), relu('x', 'y')]),
  'a value of the name of an initializer': spec([relu('x', 'w'), relu('x', 'y')], { constants: { w: floats([1], 1) } }),
  'a value of the name of an input': spec([relu('x', 'x'), relu('x', 'y')]),
  'two inputs of one name': withGraph(spec([relu('x', 'y')]), { inputs: [described('x', 'float32', [1, 4]), described('x', 'float32', [1, 4])] }),
  'an operand that nothing makes': spec([node('Add', ['x', 'q'], ['y'])]),
  'an operand of a dead node that nothing makes': spec([node('Add', ['x', 'q'], ['dead']), relu('x', 'y')]),
  'a cycle': spec([node('Add', ['x', 'b'], ['a']), relu('a', 'b'), relu('a', 'y')]),
  'an attribute that the operator does not have': spec([node('Relu', ['x'], ['y'], { slope: 1 })]),
  'an attribute that its operator set no longer has': spec([node('Clip', ['x'], ['y'], { min: { float: 0 } })]),
  'axes as an attribute in operator set 18': opset(spec([node('ReduceMean', ['x'], ['y'], { axes: [1] })]), 18),
  'an attribute of another type': spec([node('LeakyRelu', ['x'], ['y'], { alpha: 1 })]),
  'no attribute where one must be': spec([node('Concat', ['x', 'x'], ['y'])]),
  'too many operands': spec([node('Relu', ['x', 'x'], ['y'])]),
  'too few operands': spec([node('BatchNormalization', ['x', 's'], ['y'])], { constants: { s: floats([4], 1, 1, 1, 1) } }),
  'an absent operand that must be there': spec([node('Add', ['x', ''], ['y'])]),
  'too many outputs': spec([node('Relu', ['x'], ['y', 'z'])]),
  'a node without outputs': spec([relu('x', 'y'), { ...node('Relu', ['x'], []), name: 'none' }]),
  'an operator that ONNX does not have': spec([node('Frobnicate', ['x'], ['y'])]),
  'a dead operator that ONNX does not have': spec([node('Frobnicate', ['x'], ['dead']), relu('x', 'y')]),
  'an operator that came later': opset(spec([node('Mish', ['x'], ['y'])]), 11),
  'an operator that is gone': spec([node('Upsample', ['x', 's'], ['y'])], { constants: { s: floats([2], 1, 2) } }),
  'an output of another type than stated': spec([relu('x', 'y')], { outputTypes: { y: 'int64' } }),
  'a value of another type than stated': withGraph(spec([relu('x', 'a'), relu('a', 'y')]), { valueInfo: [described('a', 'int64', [1, 4])] }),
  'an initializer of another type than its input': withGraph(spec([node('Add', ['x', 'w'], ['y'])], { constants: { w: floats([1], 1) } }), { inputs: [described('x', 'float32', [1, 4]), described('w', 'int64', [1])] }),
  'an initializer of another shape than its input': withGraph(spec([node('Add', ['x', 'w'], ['y'])], { constants: { w: floats([1], 1) } }), { inputs: [described('x', 'float32', [1, 4]), described('w', 'float32', [3])] }),
  'operands of two types': spec([node('Add', ['x', 'w'], ['y'])], { constants: { w: ints64(1) } }),
  'codes and a zero-point of two types': spec([node('QuantizeLinear', ['x', 'scale', 'unsigned'], ['q']), node('DequantizeLinear', ['q', 'scale', 'signed'], ['y'])], { constants: types }),
  'a pool whose window sees nothing but padding': spec([node('MaxPool', ['x'], ['y'], { kernel_shape: [2, 2], pads: [2, 2, 2, 2] })], image),
  'no version of the format': { ...spec([relu('x', 'y')]), irVersion: 0 },
  'a version of the format to come': { ...spec([relu('x', 'y')]), irVersion: 99 },
  'no operator set': { ...spec([relu('x', 'y')]), opsets: new Map() },
};

describe('a file that is no valid ONNX', () => {
  it.each(Object.entries(invalid))('is refused: %s', async (_, file) => {
    await expect(createSession(serializeModel(file))).rejects.toMatchObject({ code: expect.stringMatching(/^E_MODEL_(MALFORMED|OP|SHAPE)$/) as string });
  });

  it.skipIf(oracleMissing !== undefined).each(Object.entries(invalid))(`is refused by onnxruntime, too: %s${oracleMissing === undefined ? '' : ` (${oracleMissing})`}`, async (_, file) => {
    await expect(createSession(serializeModel(file), { engine: 'onnxruntime' })).rejects.toMatchObject({ code: expect.stringMatching(/^E_MODEL_/) as string });
  });

  it('names node, operator set and what to look at', async () => {
    const refusal = (name: string): Promise<unknown> => createSession(serializeModel(invalid[name] ?? spec([]))).then(() => undefined, (error: Error) => error.message);
    expect(await refusal('two nodes of one name')).toBe("Two nodes are named 'k'");
    expect(await refusal('an attribute that its operator set no longer has')).toBe("Clip 'y': operator set 17 knows no attribute 'min' of this operator");
    expect(await refusal('an operator that came later')).toBe("Mish 'y': the model is of operator set 11, which has no such operator: it came with operator set 18");
    expect(await refusal('an operator that is gone')).toBe("Upsample 'y': the model is of operator set 17, and operator set 10 removed this operator");
    expect(await refusal('too few operands')).toBe("BatchNormalization 'y': expected 5 inputs but received 2");
  });

  it('refuses a kernel shape that is not that of the weights, which onnxruntime finds when it runs', async () => {
    const file = spec([node('Conv', ['x', 'w'], ['y'], { kernel_shape: [3, 3] })], { ...image, constants: { w: randomTensor([1, 3, 1, 1], 1) } });
    await expect(createSession(serializeModel(file))).rejects.toMatchObject({ code: 'E_MODEL_SHAPE', message: expect.stringContaining('kernel_shape [3, 3]') as string });
  });
});

describe('what files may leave out', () => {
  it('takes nodes without names, whatever their outputs are called', async () => {
    const file = spec([{ ...relu('x', 'a'), name: '' }, relu('a', 'y', 'a')]);
    await (await createSession(serializeModel(file))).close();
  });
});
