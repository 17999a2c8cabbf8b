import { describe, expect, it } from 'vitest';
import { columnLayout, ColumnSample, fromRows, layerMacs, toRows } from '../../../../runtime/quantize/observe/columns.js';
import { planQuantization } from '../../../../runtime/quantize/prepare/plan.js';
import { prepareGraph } from '../../../../runtime/quantize/prepare/read-model.js';
import { parseModel } from '../../../../runtime/onnx/parse.js';
import { createSession } from '../../../../runtime/session.js';
import { modelBytes, node, randomTensor, type ModelSpec } from '../../support/models.js';

const convolution = (attributes: Parameters<typeof node>[3], weights: number[], input: number[]): ModelSpec => ({
  opset: 13, inputs: { x: input }, constants: { w: randomTensor(weights, 1) }, nodes: [node('Conv', ['x', 'w'], ['y'], attributes)], outputs: ['y'],
});
const product = (op: string, weights: number[], input: number[], attributes: Parameters<typeof node>[3] = {}): ModelSpec => ({
  opset: 13, inputs: { x: input }, constants: { w: randomTensor(weights, 1) }, nodes: [node(op, ['x', 'w'], ['y'], attributes)], outputs: ['y'],
});

describe('columns of a layer, multiplied by its weights', () => {
  it.each<[string, ModelSpec, number]>([
    ['a padded convolution', convolution({ pads: [1, 1, 1, 1] }, [4, 3, 3, 3], [1, 3, 5, 6]), 4 * 27 * 30],
    ['strides, dilations and uneven pads', convolution({ pads: [2, 0, 1, 3], strides: [2, 1], dilations: [1, 2] }, [4, 3, 3, 3], [2, 3, 7, 6]), 4 * 27 * 2 * 4 * 5],
    ['groups', convolution({ group: 2 }, [4, 3, 1, 1], [1, 6, 4, 4]), 4 * 3 * 16],
    ['a depthwise convolution', convolution({ group: 5, pads: [1, 1, 1, 1] }, [5, 1, 3, 3], [1, 5, 4, 4]), 5 * 9 * 16],
    ['Gemm', product('Gemm', [6, 4], [3, 6]), 72],
    ['Gemm with transposed weights', product('Gemm', [4, 6], [3, 6], { transB: 1 }), 72],
    ['MatMul', product('MatMul', [6, 4], [2, 3, 6]), 144],
  ])('give its output: %s', async (_, spec, macs) => {
    const bytes = modelBytes(spec);
    const graph = prepareGraph(parseModel(bytes), {});
    const [layer] = planQuantization(graph).layers;
    const layout = layer === undefined ? undefined : columnLayout(graph, layer);
    if (layer === undefined || layout === undefined) throw new Error('expected a weighted layer');
    expect(layerMacs(layout)).toBe(macs);
    const x = Float32Array.from(randomTensor(spec.inputs['x'] as number[], 5).data, Number);
    const session = await createSession(bytes);
    const y = (await session.run({ x: { type: 'float32', dims: spec.inputs['x'] as number[], data: x } }))['y'];
    await session.close();
    const w = graph.constants.get(layer.node.inputs[1] ?? '');
    const axis = layer.node.op === 'Conv' || layout.outputs === w?.dims[0] ? 0 : 1;
    const rows = toRows(w?.data as Float32Array, layout.outputs, axis);
    const sample = new ColumnSample(layout, layout.positions);
    sample.add(x, 0, layout.positions);
    expect(sample.count).toBe(layout.positions);
    const width = layout.groups * layout.depth;
    const channelsFirst = layer.node.op === 'Conv';
    const plane = channelsFirst ? layout.positions / (y?.dims[0] ?? 1) : 1;
    for (let position = 0; position < layout.positions; position++) {
      for (let o = 0; o < layout.outputs; o++) {
        const group = Math.floor((o * layout.groups) / layout.outputs);
        let sum = 0;
        for (let k = 0; k < layout.depth; k++) sum += (rows[o * layout.depth + k] ?? 0) * (sample.values[position * width + group * layout.depth + k] ?? 0);
        const at = channelsFirst ? (Math.floor(position / plane) * layout.outputs + o) * plane + (position % plane) : position * layout.outputs + o;
        expect(Number(y?.data[at])).toBeCloseTo(sum, 4);
      }
    }
  });

  it('are spread over feature maps, the same ones every time, and no more than asked', () => {
    const graph = prepareGraph(parseModel(modelBytes(convolution({}, [2, 1, 1, 1], [1, 1, 10, 10]))), {});
    const [layer] = planQuantization(graph).layers;
    const layout = layer === undefined ? undefined : columnLayout(graph, layer);
    if (layout === undefined) throw new Error('expected a weighted layer');
    const places = Float32Array.from({ length: 100 }, (_, i) => i);
    const taken = (index: number): number[] => {
      const sample = new ColumnSample(layout, 50);
      sample.add(places, index, 5);
      return [...sample.values.subarray(0, sample.count)];
    };
    expect(taken(1)).toEqual(taken(1));
    expect(taken(1)).not.toEqual(taken(2));
    expect(taken(3).map((place, i) => Math.floor(place / 20) - i)).toEqual([0, 0, 0, 0, 0]);
    const full = new ColumnSample(layout, 7);
    for (let i = 0; i < 3; i++) full.add(places, i, 5);
    expect(full.count).toBe(7);
  });

  it('rows come back where they were', () => {
    const codes = Int8Array.from({ length: 12 }, (_, i) => i);
    expect(fromRows(Int8Array.from(toRows(codes, 4, 1)), 4, 1)).toEqual(codes);
    expect([...toRows(codes, 4, 1).slice(0, 3)]).toEqual([0, 4, 8]);
  });
});
