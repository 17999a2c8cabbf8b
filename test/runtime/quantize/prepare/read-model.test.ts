import { describe, expect, it } from 'vitest';
import type { OnnxGraph } from '../../../../runtime/onnx/types.js';
import { serializeModel } from '../../../../runtime/onnx/serialize.js';
import { parseModel } from '../../../../runtime/onnx/parse.js';
import { modelPorts, prepareGraph } from '../../../../runtime/quantize/prepare/read-model.js';
import { modelBytes, node, randomTensor, type ModelSpec } from '../../support/models.js';

describe('ports of a model', () => {
  it('are inferred where the file leaves sizes open, and taken from constants', () => {
    const graph = {
      name: 'ports', valueInfo: [],
      nodes: [{ name: 'flat', op: 'Flatten', domain: '', inputs: ['x'], outputs: ['y'], attributes: new Map() }],
      initializers: new Map([['limits', { dtype: 'int32' as const, dims: [2], data: Int32Array.of(1, 2) }]]),
      inputs: [{ name: 'x', dtype: 'float32' as const, dims: [1, 'rows', 4] }],
      outputs: [{ name: 'y', dtype: 'float32' as const, dims: [1, undefined] }, { name: 'limits', dtype: 'int32' as const, dims: [2] }],
    };
    const bytes = serializeModel({ irVersion: 8, producerName: '', producerVersion: '', opsets: new Map([['', 13]]), metadata: new Map(), graph });
    expect(modelPorts(bytes, { symbols: { rows: 3 } })).toEqual({
      inputs: [{ name: 'x', type: 'float32', dims: [1, 3, 4] }],
      outputs: [{ name: 'y', type: 'float32', dims: [1, 12] }, { name: 'limits', type: 'int32', dims: [2] }],
    });
  });
});

describe('a model whose course depends on a number that it is fed', () => {
  const branch = (op: string): OnnxGraph => ({ name: op, nodes: [node(op, ['x', 'w'], [op])], initializers: new Map(), inputs: [], outputs: [{ name: op }], valueInfo: [] });
  const spec: ModelSpec = {
    inputs: { x: [2, 3], rate: [] }, types: { rate: 'int64' }, constants: { w: randomTensor([3, 4], 1), fast: { dtype: 'int64', dims: [], data: BigInt64Array.of(16_000n) } }, outputs: ['y'], outputTypes: { y: 'float32' },
    nodes: [node('Equal', ['rate', 'fast'], ['c']), node('If', ['c'], ['y'], { then_branch: { type: 'graph', value: branch('MatMul') }, else_branch: { type: 'graph', value: { ...branch('MatMul'), nodes: [node('ReduceSum', ['x'], ['MatMul'])] } } })],
  };

  it('is refused with the inputs and what to do about them', () => {
    for (const read of [() => prepareGraph(parseModel(modelBytes(spec)), {}), () => modelPorts(modelBytes(spec))]) expect(read).toThrow(expect.objectContaining({ code: 'E_MODEL_OP', message: expect.stringMatching(/depends on the inputs rate; .* give the file an initializer of that name/) as string, details: expect.objectContaining({ inputs: ['rate'] }) as object }));
  });

  it('is taken once these are initializers', () => {
    const fixed = { ...spec, constants: { ...spec.constants, rate: { dtype: 'int64', dims: [], data: BigInt64Array.of(16_000n) } } } satisfies ModelSpec;
    expect(prepareGraph(parseModel(modelBytes(fixed)), {}).nodes.map(({ op }) => op)).toEqual(['MatMul']);
  });
});
