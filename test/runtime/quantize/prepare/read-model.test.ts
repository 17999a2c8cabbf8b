import { describe, expect, it } from 'vitest';
import { serializeModel } from '../../../../runtime/onnx/serialize.js';
import { modelPorts } from '../../../../runtime/quantize/prepare/read-model.js';

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
