import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { fromNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { interpret } from '../../../runtime/infer/interpret.js';
import { compile } from '../../../runtime/lower/compile.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import type { OnnxNode } from '../../../runtime/onnx/types.js';
import { floats, modelBytes, node, randomTensor, type ModelSpec } from '../support/models.js';

function evaluate(spec: ModelSpec, feeds: Readonly<Record<string, TensorValue>>): TensorValue | undefined {
  return interpret(inferShapes(graphFromOnnx(parseModel(modelBytes(spec)))), new Map(Object.entries(feeds))).get('y');
}
const numbers = (value: TensorValue | undefined): number[] => Array.from(value?.data ?? [], Number);
const from = (domain: string, each: OnnxNode): OnnxNode => ({ ...each, domain });

describe('operators that no other engine here computes', () => {
  const x = floats([6], -3, -0.6, 0.24, 0.25, 0.74, 9);
  const quant = (op: string, attributes: Parameters<typeof node>[3]) => evaluate({
    inputs: { x: [6] }, constants: { s: floats([], 0.5), z: floats([], 0), b: floats([], 3) }, outputs: ['y'], domains: { 'qonnx.custom_op.general': 1 },
    nodes: [from('qonnx.custom_op.general', node(op, ['x', 's', 'z', 'b'], ['y'], attributes))],
  }, { x });

  it.each(['Quant', 'IntQuant'])('%s of QONNX: signed, narrow, unsigned', (op) => {
    expect(numbers(quant(op, { signed: 1, narrow: 0, rounding_mode: 'ROUND' }))).toEqual([-2, -0.5, 0, 0, 0.5, 1.5]);
    expect(numbers(quant(op, { signed: 1, narrow: 1, rounding_mode: 'FLOOR' }))).toEqual([-1.5, -1, 0, 0, 0.5, 1.5]);
    expect(numbers(quant(op, { signed: 0, narrow: 0, rounding_mode: 'CEIL' }))).toEqual([0, 0, 0.5, 0.5, 1, 3.5]);
  });

  it('BipolarQuant of QONNX', () => {
    const y = evaluate({ inputs: { x: [3] }, constants: { s: floats([], 0.5) }, outputs: ['y'], domains: { 'qonnx.custom_op.general': 1 }, nodes: [from('qonnx.custom_op.general', node('BipolarQuant', ['x', 's'], ['y']))] }, { x: floats([3], -2, 0, 0.1) });
    expect(numbers(y)).toEqual([-0.5, 0.5, 0.5]);
  });

  it.each([['NhwcConv', 'Conv', {}], ['NhwcFusedConv', 'Conv', { activation: 'Relu' }], ['NhwcMaxPool', 'MaxPool', { kernel_shape: [2, 2] }]] as const)('%s is %s with the channels last', (op, plain, attributes) => {
    const pixels = randomTensor([1, 5, 4, 3], 1);
    const w = randomTensor([2, 3, 2, 2], 2);
    const operands = plain === 'Conv' ? ['w'] : [];
    const last = evaluate({ inputs: { x: [1, 5, 4, 3] }, constants: { w }, outputs: ['y'], domains: { 'com.microsoft': 1 }, nodes: [from('com.microsoft', node(op, ['x', ...operands], ['y'], attributes))] }, { x: pixels });
    const turned = [node('Transpose', ['x'], ['f'], { perm: [0, 3, 1, 2] }), node(plain, ['f', ...operands], ['c'], plain === 'Conv' ? {} : attributes), ...(op === 'NhwcFusedConv' ? [node('Relu', ['c'], ['r'])] : [node('Identity', ['c'], ['r'])]), node('Transpose', ['r'], ['y'], { perm: [0, 2, 3, 1] })];
    expect(numbers(last)).toEqual(numbers(evaluate({ inputs: { x: [1, 5, 4, 3] }, constants: { w }, outputs: ['y'], nodes: turned }, { x: pixels })));
  });

  it.each([['linear', [0, 1, 20, 21, 4, 50, 60, 2, 3, 4]], ['circular', [0, 1, 20, 21, 4, 50, 60, 2, 3, 4]], ['circular at the end', [21, 1, 2, 3, 20, 60, 1, 2, 3, 50]]] as const)('TensorScatter %s', (mode, want) => {
    const starts = mode === 'circular at the end' ? [4, 4] : [2, 0];
    const y = evaluate({ opset: 24, inputs: { x: [2, 5, 1], u: [2, 2, 1], at: [2] }, types: { at: 'int64' }, outputs: ['y'], nodes: [node('TensorScatter', ['x', 'u', 'at'], ['y'], { mode: mode === 'linear' ? 'linear' : 'circular' })] },
      { x: floats([2, 5, 1], 0, 1, 2, 3, 4, 0, 1, 2, 3, 4), u: floats([2, 2, 1], 20, 21, 50, 60), at: fromNumbers('int64', [2], starts) });
    expect(numbers(y)).toEqual(want);
  });

  const microsoft = (each: OnnxNode, feeds: Readonly<Record<string, TensorValue>>) => evaluate({
    inputs: Object.fromEntries(Object.entries(feeds).map(([name, { dims }]) => [name, dims])), types: Object.fromEntries(Object.entries(feeds).map(([name, { dtype }]) => [name, dtype])),
    outputs: ['y'], domains: { 'com.microsoft': 1 }, nodes: [from('com.microsoft', each)],
  }, feeds);
  const close = (got: readonly number[], want: readonly number[]): void => {
    expect(got.length).toBe(want.length);
    for (const [i, value] of want.entries()) expect(Math.abs((got[i] ?? NaN) - value)).toBeLessThan(1e-6);
  };

  it('GroupNorm and SkipGroupNorm, channels last and first', () => {
    // Two groups of two channels at two places.
    const feeds = { x: floats([1, 1, 2, 4], 1, 3, 0, 4, 5, 7, 0, 4), g: floats([4], 1, 2, 1, 1), b: floats([4], 0, 0, 1, 0) };
    const [inner, outer] = [1 / Math.sqrt(5), 3 / Math.sqrt(5)];
    const want = [-outer, -2 * inner, 0, 1, inner, 2 * outer, 0, 1];
    const attributes = { groups: 2, epsilon: { float: 0 }, activation: 0 };
    close(numbers(microsoft(node('GroupNorm', ['x', 'g', 'b'], ['y'], attributes), feeds)), want);
    const silu = want.map((value) => value / (1 + Math.exp(-value)));
    close(numbers(microsoft(node('GroupNorm', ['x', 'g', 'b'], ['y'], { ...attributes, activation: 1 }), feeds)), silu);
    const first = { ...feeds, x: floats([1, 4, 1, 2], 1, 5, 3, 7, 0, 0, 4, 4) };
    close(numbers(microsoft(node('GroupNorm', ['x', 'g', 'b'], ['y'], { ...attributes, channels_last: 0 }), first)), [-outer, inner, -2 * inner, 2 * outer, 0, 0, 1, 1]);
    const skipped = { ...feeds, x: floats([1, 1, 2, 4], 0, 1, -1, 1, 4, 5, -1, 1), s: floats([1, 1, 2, 4], 1, 2, 1, 3, 1, 2, 1, 3) };
    close(numbers(microsoft(node('SkipGroupNorm', ['x', 'g', 'b', 's'], ['y'], attributes), skipped)), want);
  });

  it('BiasAdd, BiasSplitGelu and QLinearReduceMean', () => {
    const x = floats([1, 1, 4], 1, 2, 0.5, -1);
    expect(numbers(microsoft(node('BiasAdd', ['x', 'b', 's'], ['y']), { x, b: floats([4], 1, 1, 1, 1), s: x }))).toEqual([3, 5, 2, -1]);
    close(numbers(microsoft(node('BiasSplitGelu', ['x', 'b'], ['y']), { x, b: floats([4], 0, 0, 0.5, 1) })), [0.8413447460685429, 0]);
    const codes = { x: fromNumbers('uint8', [1, 4], [10, 20, 30, 41]), s: floats([], 0.5), z: fromNumbers('uint8', [], [10]), t: floats([], 0.25), u: fromNumbers('uint8', [], [3]) };
    // (0 + 5 + 10 + 15.5) / 4 = 7.625, which is 30.5 steps.
    expect(numbers(microsoft(node('QLinearReduceMean', ['x', 's', 'z', 't', 'u'], ['y'], { axes: [-1], keepdims: 1 }), codes))).toEqual([33]);
  });

  it('a negative scale', () => {
    const y = evaluate({ inputs: { x: [3] }, types: { x: 'int8' }, constants: { s: floats([], -0.5), z: fromNumbers('int8', [], [2]) }, outputs: ['y'], nodes: [node('DequantizeLinear', ['x', 's', 'z'], ['y'])] }, { x: fromNumbers('int8', [3], [-2, 2, 4]) });
    expect(numbers(y)).toEqual([2, -0, -1]);
  });
});

describe('what must not be written out', () => {
  const bodyOf = (nodes: readonly OnnxNode[]) => ({ type: 'graph', value: {
    name: 'body', nodes, initializers: new Map(), valueInfo: [], outputs: [{ name: 'on', dtype: 'bool' }, { name: 'n', dtype: 'float32' }],
    inputs: [{ name: 'i', dtype: 'int64', dims: [] }, { name: 'c', dtype: 'bool', dims: [] }, { name: 's', dtype: 'float32' }],
  } }) as const;
  const loops = (depth: number): ReturnType<typeof bodyOf> => bodyOf([node('Identity', ['c'], ['on']), depth === 0 ? node('Neg', ['s'], ['n']) : node('Loop', ['m', 'c', 's'], ['n'], { body: loops(depth - 1) })]);
  const spec = (depth: number, trips: number): ModelSpec => ({
    inputs: { x: [2] }, constants: { m: fromNumbers('int64', [], [trips]), c: fromNumbers('bool', [], [1]) }, outputs: ['y'], nodes: [node('Loop', ['m', 'c', 'x'], ['y'], { body: loops(depth) })],
  });

  it('loops of more steps than the limit: E_MODEL_LIMIT', () => {
    expect(() => compile(modelBytes(spec(0, 2 ** 40)))).toThrow(expect.objectContaining({ code: 'E_MODEL_LIMIT' }));
    expect(() => compile(modelBytes(spec(3, 1000)))).toThrow(expect.objectContaining({ code: 'E_MODEL_LIMIT' }));
  });

  it('a function that calls itself: E_MODEL_LIMIT', () => {
    const again = { name: 'F', domain: 'f', overload: '', inputs: ['a'], outputs: ['b'], defaults: new Map(), nodes: [from('f', node('F', ['a'], ['m'])), from('f', node('F', ['m'], ['b']))] };
    const model: ModelSpec = { inputs: { x: [2] }, outputs: ['y'], domains: { f: 1 }, functions: [again], nodes: [from('f', node('F', ['x'], ['y']))] };
    expect(() => compile(modelBytes(model))).toThrow(expect.objectContaining({ code: 'E_MODEL_LIMIT' }));
  });
});

const shared = new URL('../../../../shared/cases/', import.meta.url);
/** Left to sessions that know sizes when they run, or to operators that are not there yet. */
const elsewhere = new Set(['hw-dyn', 'unnamed-dyn', 'slow-elementwise', 'nms-post']);
const folders = existsSync(shared) ? readdirSync(shared).filter((name) => existsSync(new URL(`${name}/model.onnx`, shared)) && !elsewhere.has(name)) : [];

describe.skipIf(folders.length === 0)(`small graphs of users${folders.length === 0 ? ' (../shared/cases is missing)' : ''}`, () => {
  it.each(folders.length === 0 ? ['none'] : folders)('%s compiles', (name) => {
    expect(compile(readFileSync(new URL(`${name}/model.onnx`, shared))).outputs.length).toBeGreaterThan(0);
  });
});
