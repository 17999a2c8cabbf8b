import { describe, expect, it } from 'vitest';
import { inspectModel } from '../../../runtime/inspect.js';
import type { OnnxContainer, OnnxGraph, OnnxNode } from '../../../runtime/onnx/types.js';
import { createSession } from '../../../runtime/session.js';
import { asTensor, type Tensor } from '../../../runtime/tensor.js';
import { floats, fromInts, modelBytes, node, type ModelSpec } from '../support/models.js';
import { nativeMissing } from '../support/native.js';

const sequence: OnnxContainer = { sequence: true, optional: false };
const optional: OnnxContainer = { sequence: false, optional: true };
const optionalSequence: OnnxContainer = { sequence: true, optional: true };

async function run(spec: ModelSpec, feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, readonly number[]>> {
  const session = await createSession(modelBytes(spec));
  try {
    return Object.fromEntries(Object.entries(await session.run(feeds)).map(([name, { data }]) => [name, Array.from(data, Number)]));
  } finally {
    await session.close();
  }
}
const tensor = (...values: number[]): Tensor => asTensor(floats([values.length], ...values));
const body = (nodes: readonly OnnxNode[], inputs: readonly string[], outputs: readonly string[]) => ({ type: 'graph', value: {
  name: 'body', nodes, initializers: new Map(), valueInfo: [], inputs: inputs.map((name) => ({ name, dtype: 'float32' as const })), outputs: outputs.map((name) => ({ name, dtype: 'float32' as const })),
} satisfies OnnxGraph }) as const;

describe.skipIf(nativeMissing !== undefined)(`sequences and optionals at the interface${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  const insert: ModelSpec = { inputs: { s: [], x: [2] }, nodes: [node('SequenceInsert', ['s', 'x', 'at'], ['y'])], constants: { at: fromInts('int64', [0]) }, outputs: ['y'], outputTypes: { y: 'float32' }, containers: { s: sequence, y: sequence } };

  it('a sequence is fed and given by its tensors, of any number and size', async () => {
    expect(await run(insert, { 's[0]': tensor(1), 's[1]': tensor(2, 3), x: tensor(8, 9) })).toEqual({ 'y[0]': [8, 9], 'y[1]': [1], 'y[2]': [2, 3] });
    expect(await run(insert, { x: tensor(8, 9) })).toEqual({ 'y[0]': [8, 9] });
  });

  it('the interface says what holds tensors', async () => {
    const session = await createSession(modelBytes(insert));
    expect(session.inputs.map(({ name, container }) => [name, container])).toEqual([['s', 'sequence'], ['x', undefined]]);
    expect(session.outputs.map(({ name, container }) => [name, container])).toEqual([['y', 'sequence']]);
    await session.close();
    expect(await inspectModel(modelBytes(insert))).toMatchObject({ interpretedNodes: 1, inputs: [{ name: 's', container: 'sequence' }, { name: 'x' }] });
  });

  it.each([
    ['the name of the sequence itself', { s: tensor(1), x: tensor(8, 9) }, /"s\[0\]"/],
    ['a gap', { 's[1]': tensor(1), x: tensor(8, 9) }, /"s\[1\]"/],
    ['another type', { 's[0]': asTensor(fromInts('int32', [1])), x: tensor(8, 9) }, /Expected float32/],
    ['a tensor of another size', { x: tensor(8) }, /float32\[2\]/],
  ])('refuses %s with E_INPUT', async (_name, feeds, message) => {
    await expect(run(insert, feeds)).rejects.toMatchObject({ code: 'E_INPUT', message: expect.stringMatching(message) as unknown });
  });

  it('what is computed before and behind a sequence runs in the engine, or is interpreted', async () => {
    const spec: ModelSpec = {
      inputs: { s: [], x: [2] }, outputs: ['y', 'n'], outputTypes: { y: 'float32', n: 'int64' }, containers: { s: sequence },
      nodes: [node('Exp', ['x'], ['e']), node('SequenceInsert', ['s', 'e'], ['t']), node('ConcatFromSequence', ['t'], ['c'], { axis: 0 }), node('Neg', ['c'], ['y']), node('SequenceLength', ['t'], ['n'])],
    };
    expect(await run(spec, { 's[0]': tensor(1, 2, 3), x: tensor(0, 0) })).toEqual({ y: [-1, -2, -3, -1, -1], n: [2] });
  });

  it('a sequence that the model makes is given, whether its nodes are known beforehand or chosen in a run', async () => {
    const made: ModelSpec = { inputs: { x: [4] }, nodes: [node('SplitToSequence', ['x'], ['y'])], outputs: ['y'], outputTypes: { y: 'float32' }, containers: { y: sequence } };
    expect(await run(made, { x: tensor(1, 2, 3, 4) })).toEqual({ 'y[0]': [1], 'y[1]': [2], 'y[2]': [3], 'y[3]': [4] });
    const branch = (op: string, name: string) => body([node(op, ['x'], [`${name}r`]), node('SequenceConstruct', [`${name}r`, 'x'], [name])], [], [name]);
    const chosen: ModelSpec = { inputs: { c: [], x: [1] }, types: { c: 'bool' }, nodes: [node('If', ['c'], ['y'], { then_branch: branch('Neg', 't'), else_branch: branch('Exp', 'e') })], outputs: ['y'], outputTypes: { y: 'float32' }, containers: { y: sequence } };
    const c = (value: number): Tensor => ({ type: 'bool', dims: [], data: Uint8Array.of(value) });
    expect(await run(chosen, { c: c(1), x: tensor(0) })).toEqual({ 'y[0]': [-0], 'y[1]': [0] });
    expect(await run(chosen, { c: c(0), x: tensor(0) })).toEqual({ 'y[0]': [1], 'y[1]': [0] });
  });

  it('SequenceMap over sequences that are fed', async () => {
    const spec: ModelSpec = {
      inputs: { a: [], b: [] }, outputs: ['y'], outputTypes: { y: 'float32' }, containers: { a: sequence, b: sequence, y: sequence },
      nodes: [node('SequenceMap', ['a', 'b'], ['y'], { body: body([node('Add', ['p', 'q'], ['r'])], ['p', 'q'], ['r']) })],
    };
    expect(await run(spec, { 'a[0]': tensor(1), 'a[1]': tensor(1, 2), 'b[0]': tensor(5), 'b[1]': tensor(6, 7) })).toEqual({ 'y[0]': [6], 'y[1]': [7, 9] });
  });

  it('an optional tensor is fed or left out', async () => {
    const has: ModelSpec = { inputs: { o: [2] }, nodes: [node('OptionalHasElement', ['o'], ['y'])], outputs: ['y'], outputTypes: { y: 'bool' }, containers: { o: optional } };
    expect(await run(has, { o: tensor(1, 2) })).toEqual({ y: [1] });
    expect(await run(has, {})).toEqual({ y: [0] });
    const get: ModelSpec = { inputs: { o: [2] }, nodes: [node('OptionalGetElement', ['o'], ['e']), node('Neg', ['e'], ['y'])], outputs: ['y'], outputTypes: { y: 'float32' }, containers: { o: optional } };
    expect(await run(get, { o: tensor(1, 2) })).toEqual({ y: [-1, -2] });
    await expect(run(get, {})).rejects.toMatchObject({ code: 'E_MODEL_SHAPE', message: expect.stringMatching(/OptionalHasElement/) as unknown });
  });

  it('an optional sequence tells nothing from a sequence of nothing', async () => {
    const spec: ModelSpec = { inputs: { o: [] }, nodes: [node('Identity', ['o'], ['y']), node('OptionalHasElement', ['o'], ['h'])], outputs: ['y', 'h'], outputTypes: { y: 'float32', h: 'bool' }, containers: { o: optionalSequence, y: optionalSequence } };
    expect(await run(spec, {})).toEqual({ h: [0] });
    expect(await run(spec, { 'o[]': tensor() })).toEqual({ 'y[]': [], h: [1] });
    expect(await run(spec, { 'o[0]': tensor(3) })).toEqual({ 'y[0]': [3], h: [1] });
  });
});
