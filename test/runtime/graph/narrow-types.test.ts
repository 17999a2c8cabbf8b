import { describe, expect, it } from 'vitest';
import { withNarrowArithmetic } from '../../../runtime/graph/narrow-types.js';
import type { OnnxGraph } from '../../../runtime/onnx/types.js';

describe('arithmetic of 16 bits', () => {
  it('leaves a constant of the model as it is that is called like one of its own', () => {
    const own = { dtype: 'int32' as const, dims: [2], data: Int32Array.of(65_536, 7) };
    const add = (output: string) => ({ name: output, op: 'Add', domain: '', inputs: ['x', 'narrow.65536'], outputs: [output], attributes: new Map() });
    const graph: OnnxGraph = {
      name: 'graph',
      nodes: [add('y'), add('z')], initializers: new Map([['narrow.65536', own]]), valueInfo: [],
      inputs: [{ name: 'x', dtype: 'int32', dims: [2], narrow: 'uint16' }], outputs: [{ name: 'y', dtype: 'int32', dims: [2] }, { name: 'z', dtype: 'int32', dims: [2] }],
    };
    const { nodes, initializers } = withNarrowArithmetic(graph);
    expect(initializers.get('narrow.65536')).toBe(own);
    const added = [...initializers].filter(([name]) => name !== 'narrow.65536');
    expect(added.map(([, { dims, data }]) => [dims, [...data]])).toEqual([[[], [65_536]]]);
    // One constant serves both remainders.
    expect(nodes.filter(({ op }) => op === 'Mod').map(({ inputs }) => inputs[1])).toEqual([added[0]?.[0], added[0]?.[0]]);
  });
});
