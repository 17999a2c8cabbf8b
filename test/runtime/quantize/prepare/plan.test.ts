import { describe, expect, it } from 'vitest';
import { graphFromOnnx } from '../../../../runtime/graph/import.js';
import { inferShapes } from '../../../../runtime/infer/infer.js';
import { Histogram } from '../../../../runtime/quantize/observe/histogram.js';
import { chooseParameters } from '../../../../runtime/quantize/ranges/parameters.js';
import { planQuantization } from '../../../../runtime/quantize/prepare/plan.js';
import { fromNumbers } from '../../../../runtime/graph/tensor-value.js';
import { floats, model, node, randomTensor, type ModelSpec } from '../../support/models.js';
import { residualNet } from '../networks.js';

const graphOf = (spec: ModelSpec) => inferShapes(graphFromOnnx(model(spec)));
const planOf = (spec: ModelSpec, exclude: string[] = []) => planQuantization(graphOf(spec), new Set(exclude));
const ops = (layers: readonly { op: string }[]): string[] => layers.map(({ op }) => op);

describe('planQuantization', () => {
  it('joins activations to the layer before them and leaves the end in floating point', () => {
    const plan = planOf(residualNet());
    expect(ops(plan.layers)).toEqual(['Conv+PRelu', 'Conv+Relu', 'Conv', 'Conv', 'Add+Relu', 'GlobalAveragePool', 'Reshape', 'Gemm']);
    expect(ops(plan.floatLayers)).toEqual(['Softmax']);
    expect([...plan.values].sort()).toEqual(['a1', 'a2', 'a3', 'c3', 'c4', 'logits', 'pool', 'vector', 'x']);
  });

  it('keeps excluded nodes in floating point, and what only they would have used', () => {
    const plan = planOf(residualNet(), ['logits', 'c4']);
    expect(ops(plan.layers)).toEqual(['Conv+PRelu', 'Conv+Relu', 'Conv']);
    expect(plan.values.has('c4')).toBe(false);
  });

  it('does not join an activation whose input is read by others, or is an output', () => {
    const spec = residualNet();
    expect(ops(planOf({ ...spec, outputs: ['y', 'c1'] }).layers)[0]).toBe('Conv');
  });

  const head = (tail: ModelSpec['nodes'], outputs: string[]): ModelSpec => ({
    inputs: { x: [1, 2, 4, 4] },
    constants: { w: randomTensor([4, 2, 1, 1], 1), shape: fromNumbers('int64', [3], [1, -1, 2]), half: floats([1], 0.5) },
    nodes: [node('Conv', ['x', 'w'], ['c']), node('Transpose', ['c'], ['t'], { perm: [0, 2, 3, 1] }), node('Reshape', ['t', 'shape'], ['r']), ...tail],
    outputs,
  });

  it('leaves box arithmetic in floating point from the head on', () => {
    const plan = planOf(head([node('Exp', ['r'], ['e']), node('Mul', ['e', 'half'], ['y'])], ['y']));
    expect(ops(plan.layers)).toEqual(['Conv']);
    expect([...plan.values].sort()).toEqual(['c', 'x']);
  });

  it('takes a sigmoid as a table, with all that moves elements before it, on a fixed grid', () => {
    const plan = planOf(head([node('Sigmoid', ['r'], ['y'])], ['y']));
    expect(ops(plan.layers)).toEqual(['Conv', 'Transpose', 'Reshape', 'Sigmoid']);
    expect(plan.fixed.get('y')).toEqual({ scale: 1 / 256, zeroPoint: 0 });
  });

  describe('with float heads', () => {
    const headsOf = (spec: ModelSpec, exclude: string[] = []) => planQuantization(graphOf(spec), new Set(exclude), { floatHeads: true });

    it('rounds what the last layers put out no more, nor anything behind them', () => {
      const plan = headsOf(residualNet());
      expect(ops(plan.layers)).toEqual(['Conv+PRelu', 'Conv+Relu', 'Conv', 'Conv', 'Add+Relu', 'GlobalAveragePool', 'Reshape', 'Gemm']);
      expect([...plan.values].sort()).toEqual(['a1', 'a2', 'a3', 'c3', 'c4', 'pool', 'vector', 'x']);
      const scores = headsOf(head([node('Sigmoid', ['r'], ['y'])], ['y']));
      expect([ops(scores.layers), [...scores.values]]).toEqual([['Conv'], ['x']]);
    });

    it('rounds a value that a layer reads, though it is an output, too', () => {
      expect(headsOf({ ...residualNet(), outputs: ['y', 'a1'] }).values.has('a1')).toBe(true);
    });

    it('does not round what float layers alone read', () => {
      const plan = headsOf(residualNet(), ['c2', 'c4']);
      expect(plan.values.has('a1')).toBe(false);
      expect(ops(plan.layers)[0]).toBe('Conv+PRelu');
      expect(planOf(residualNet(), ['c2', 'c4']).values.has('a1')).toBe(true);
    });

    it('leaves a depthwise convolution at the end in float, and the mean of a distribution', () => {
      const depthwise = headsOf({
        inputs: { x: [1, 2, 4, 4] }, constants: { w: randomTensor([4, 2, 1, 1], 1), d: randomTensor([4, 1, 3, 3], 2) },
        nodes: [node('Conv', ['x', 'w'], ['c']), node('Conv', ['c', 'd'], ['y'], { group: 4, pads: [1, 1, 1, 1] })], outputs: ['y'],
      });
      expect([depthwise.layers.map(({ output }) => output), [...depthwise.values]]).toEqual([['c'], ['x']]);
      const mean = headsOf({
        inputs: { x: [1, 2, 4, 4] }, constants: { w: randomTensor([8, 2, 1, 1], 1), bins: randomTensor([1, 8, 1, 1], 2) },
        nodes: [node('Conv', ['x', 'w'], ['c']), node('Softmax', ['c'], ['p'], { axis: 1 }), node('Conv', ['p', 'bins'], ['y'])], outputs: ['y'],
      });
      expect([mean.layers.map(({ output }) => output), [...mean.values]]).toEqual([['c'], ['x']]);
    });
  });

  it('leaves a convolution with computed weights, or an odd bias, alone', () => {
    const spec: ModelSpec = {
      inputs: { x: [1, 2, 4, 4], w: [4, 2, 1, 1] },
      nodes: [node('Conv', ['x', 'w'], ['y'])],
      outputs: ['y'],
    };
    expect(planOf(spec).layers).toEqual([]);
  });
});

describe('chooseParameters', () => {
  const concatNet = (gain: number): ModelSpec => ({
    inputs: { x: [1, 2, 4, 4] },
    constants: { w1: randomTensor([4, 2, 1, 1], 1), w2: randomTensor([4, 2, 1, 1], 2, -gain, gain), w3: randomTensor([3, 8, 1, 1], 3) },
    nodes: [node('Conv', ['x', 'w1'], ['a']), node('Conv', ['x', 'w2'], ['b']), node('Concat', ['a', 'b'], ['ab'], { axis: 1 }), node('Conv', ['ab', 'w3'], ['y'])],
    outputs: ['y'],
  });
  const parametersFor = (ranges: Record<string, number>) => {
    const plan = planOf(concatNet(1));
    const histograms = new Map(Object.entries(ranges).map(([value, reach]) => {
      const histogram = new Histogram();
      histogram.add(Float32Array.of(-reach, reach));
      return [value, histogram];
    }));
    return chooseParameters(plan, histograms, { method: 'minmax', percentile: 99.99 });
  };

  it('share one scale over a concatenation of like ranges', () => {
    const parameters = parametersFor({ x: 1, a: 1, b: 2, ab: 2, y: 1 });
    expect(parameters.get('a')).toEqual(parameters.get('ab'));
    expect(parameters.get('b')).toEqual(parameters.get('ab'));
    expect(parameters.get('ab')?.scale).toBeCloseTo(4 / 255, 6);
  });

  it('leave a much narrower operand its own scale', () => {
    const parameters = parametersFor({ x: 1, a: 0.1, b: 2, ab: 2, y: 1 });
    expect(parameters.get('a')?.scale).toBeCloseTo(0.2 / 255, 6);
    expect(parameters.get('b')).toEqual(parameters.get('ab'));
  });
});
