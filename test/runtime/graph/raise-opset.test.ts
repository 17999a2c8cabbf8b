import { describe, expect, it } from 'vitest';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { interpret } from '../../../runtime/infer/interpret.js';
import { int4Opset, qdqOpset, raiseOpset } from '../../../runtime/graph/raise-opset.js';
import { floats, ints64, model, node, randomTensor, type ModelSpec } from '../support/models.js';

const float = (value: number) => ({ float: value });
const cases: Record<string, Omit<ModelSpec, 'inputs' | 'outputs'>> = {
  'Clip by attributes': { opset: 9, nodes: [node('Clip', ['x'], ['y'], { min: float(-0.3), max: float(0.4) })] },
  'Clip with one bound': { opset: 9, nodes: [node('Clip', ['x'], ['y'], { max: float(0.4) })] },
  'Slice by attributes': { opset: 9, nodes: [node('Slice', ['x'], ['y'], { starts: [1, 0], ends: [3, 2], axes: [1, 3] })] },
  'Pad by attributes': { opset: 9, nodes: [node('Pad', ['x'], ['y'], { pads: [0, 0, 1, 2, 0, 0, 1, 0], value: float(0.5) })] },
  'Squeeze and Unsqueeze by attributes': { opset: 11, nodes: [node('Squeeze', ['x'], ['s'], { axes: [0] }), node('Unsqueeze', ['s'], ['y'], { axes: [0, 2] })] },
  'ReduceSum by attributes': { opset: 11, nodes: [node('ReduceSum', ['x'], ['y'], { axes: [2, 3], keepdims: 0 })] },
  'Softmax over the last axis': { opset: 9, nodes: [node('Softmax', ['x'], ['y'], { axis: 3 })] },
  'Upsample 9': { opset: 9, constants: { scales: floats([4], 1, 1, 2, 2) }, nodes: [node('Upsample', ['x', 'scales'], ['y'], { mode: 'nearest' })] },
  'Resize 10': { opset: 10, constants: { scales: floats([4], 1, 1, 2, 1.5) }, nodes: [node('Resize', ['x', 'scales'], ['y'], { mode: 'nearest' })] },
};

const laterCases: typeof cases = {
  'ReduceMean by attributes': { opset: 13, nodes: [node('ReduceMean', ['x'], ['y'], { axes: [2, 3], keepdims: 0 })] },
  'ReduceMax of everything': { opset: 17, nodes: [node('ReduceMax', ['x'], ['y'])] },
  'Split into equal parts': { opset: 13, nodes: [node('Split', ['x'], ['a', 'b'], { axis: 1 }), node('Sub', ['a', 'b'], ['y'])] },
  'Split by sizes': { opset: 13, constants: { sizes: ints64(1, 3) }, nodes: [node('Split', ['x', 'sizes'], ['a', 'b'], { axis: 1 }), node('Mul', ['a', 'b'], ['y'])] },
  'GroupNormalization 18': { opset: 18, constants: { s: floats([2], 1, -2), b: floats([2], 0.5, 3) }, nodes: [node('GroupNormalization', ['x', 's', 'b'], ['y'], { num_groups: 2 })] },
  'operator sets before 13': { opset: 9, nodes: [node('Clip', ['x'], ['c'], { max: float(0.4) }), node('ReduceMean', ['c'], ['y'], { axes: [1] })] },
};

describe('raiseOpset', () => {
  const graphOf = (spec: Omit<ModelSpec, 'inputs' | 'outputs'>, channels = 3) => inferShapes(graphFromOnnx(model({ ...spec, inputs: { x: [1, channels, 4, 4] }, outputs: ['y'] })));

  it.each(Object.entries(cases))('keeps the meaning of %s', (_, spec) => {
    const before = graphOf(spec);
    const after = inferShapes(raiseOpset(before, 'E_QUANTIZE'));
    expect(after.opset).toBe(qdqOpset);
    const feeds = new Map([['x', randomTensor([1, 3, 4, 4], 5)]]);
    expect(interpret(after, feeds).get('y')).toEqual(interpret(before, feeds).get('y'));
  });

  it.each(Object.entries(laterCases))('keeps the meaning of %s in operator set 21', (_, spec) => {
    const before = graphOf(spec, 4);
    const after = inferShapes(raiseOpset(before, 'E_QUANTIZE', int4Opset));
    expect(after.opset).toBe(int4Opset);
    const feeds = new Map([['x', randomTensor([1, 4, 4, 4], 5)]]);
    expect(interpret(after, feeds).get('y')).toEqual(interpret(before, feeds).get('y'));
  });

  it('refuses a group normalization whose scale is computed', () => {
    const graph = inferShapes(graphFromOnnx(model({ opset: 18, inputs: { x: [1, 4, 4, 4], s: [2] }, constants: { b: floats([2], 1, 2) }, nodes: [node('GroupNormalization', ['x', 's', 'b'], ['y'], { num_groups: 2 })], outputs: ['y'] })));
    expect(() => raiseOpset(graph, 'E_QUANTIZE', int4Opset)).toThrow(expect.objectContaining({ code: 'E_QUANTIZE', details: { node: 'y', op: 'GroupNormalization' } }));
  });

  it('refuses a softmax that flattens', () => {
    const spec = { opset: 9, nodes: [node('Softmax', ['x'], ['y'], { axis: 1 })] };
    expect(() => raiseOpset(graphOf(spec), 'E_QUANTIZE')).toThrow(expect.objectContaining({ code: 'E_QUANTIZE', details: { node: 'y', op: 'Softmax', attribute: 'axis' } }));
  });

  it('leaves later operator sets alone', () => {
    const graph = graphOf({ opset: 17, nodes: [node('Relu', ['x'], ['y'])] });
    expect(raiseOpset(graph, 'E_QUANTIZE')).toBe(graph);
  });
});
