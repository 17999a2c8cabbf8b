import { graphToOnnx } from '../../graph/export.js';
import { constantOf, typeOf, type Graph } from '../../graph/graph.js';
import { serializeModel } from '../../onnx/serialize.js';
import { createSession } from '../../session.js';
import type { Calibrated } from '../write/carry-out.js';
import { columnLayout, fromRows, toRows } from '../observe/columns.js';
import { largestCode, type Format, type Grid } from './grids.js';
import { insertQuantization, type RoundedLayer } from '../write/insert.js';
import { planQuantization, weightOperands, type Layer } from '../prepare/plan.js';
import { affineParameters, type AffineParameters } from '../ranges/range.js';
import { operand, outputOf } from '../../graph/operands.js';

/** The fastest of so many runs is what the kernel takes; the others were disturbed. */
const runs = 15;

/**
 * Time of each layer in int8 and in each grid, by output of the layer and format, ms with one thread of the native engine on this machine.
 * Each layer runs alone, as the only convolution of a model, so that none can be taken for another.
 */
export async function timeLayers({ graph }: Calibrated, layers: readonly Layer[], grids: readonly Grid[]): Promise<Map<string, Map<Format, number>>> {
  const times = new Map<string, Map<Format, number>>();
  const known = new Map<string, number>();
  for (const layer of layers) {
    const own = new Map<Format, number>();
    for (const grid of [undefined, ...grids]) {
      const key = `${shapeKey(graph, layer)} ${grid?.format ?? 'int8'}`;
      const ms = known.get(key) ?? (await timeLayer(graph, layer, grid));
      known.set(key, ms);
      own.set(grid?.format ?? 'int8', ms);
    }
    times.set(layer.output, own);
  }
  return times;
}

/** Layers of one key take the same time. */
function shapeKey(graph: Graph, { node }: Layer): string {
  const attributes = JSON.stringify([...node.attributes], (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
  return [node.op, attributes, ...node.inputs.slice(0, 2).map((name) => typeOf(graph, name).shape.join('x'))].join(' ');
}

async function timeLayer(graph: Graph, layer: Layer, grid: Grid | undefined): Promise<number> {
  const session = await createSession(oneLayerModel(graph, layer, grid), { engine: 'native' });
  try {
    const [input] = session.inputs;
    if (input === undefined || session.profile === undefined) return 0;
    const data = new Float32Array(input.dims.reduce((count, dim) => count * dim, 1)).map((_, i) => ((i * 37) % 101) / 101);
    let least = Infinity;
    for (let run = 0; run < runs; run++) {
      const ops = await session.profile({ [input.name]: { type: 'float32', dims: input.dims, data } });
      least = Math.min(least, ops.filter(({ macs }) => macs > 0).reduce((sum, { ms }) => sum + ms, 0));
    }
    return least;
  } finally {
    await session.close();
  }
}

/** The layer's node alone, quantized: its input in 256 codes from the model's, and in fewer from these. */
function oneLayerModel(graph: Graph, { node }: Layer, grid: Grid | undefined): Uint8Array {
  const [input, output, operands] = [operand(node, 0), outputOf(node), node.inputs.slice(1)];
  const constants = new Map(operands.flatMap((name) => {
    const value = graph.constants.get(name);
    return value === undefined ? [] : [[name, value] as const];
  }));
  const types = new Map([input, output].map((name) => [name, typeOf(graph, name)]));
  const single: Graph = { ...graph, inputs: [input], outputs: [output], nodes: [node], constants, types, metadata: new Map() };
  const plan = planQuantization(single);
  const [layer] = plan.layers;
  const whole = affineParameters({ min: -1, max: 1 });
  const parameters = new Map<string, AffineParameters>([...plan.values].map((value) => [value, whole]));
  const narrow = grid === undefined ? [] : [{
    value: input, levels: grid.activations, readers: new Set([output]), replaces: false, parameters: affineParameters({ min: -1, max: 1 }, grid.activations),
  }];
  const rounded = new Map<string, RoundedLayer>();
  const nearest = layer === undefined || grid === undefined ? undefined : toNearest(single, layer, grid);
  if (nearest !== undefined) rounded.set(output, nearest);
  return serializeModel(graphToOnnx(insertQuantization(single, plan, { parameters, channelMeans: new Map(), narrow, rounded }).graph));
}

function toNearest(graph: Graph, layer: Layer, grid: Grid): RoundedLayer | undefined {
  const operands = weightOperands(graph, layer.node);
  const weights = constantOf(graph, operands?.weights);
  const layout = columnLayout(graph, layer);
  if (operands === undefined || weights === undefined || layout === undefined) return undefined;
  const rows = toRows(weights.data as ArrayLike<number>, layout.outputs, operands.axis);
  const largest = largestCode(grid);
  const step = Math.max(1e-6, rows.reduce((most, weight) => Math.max(most, Math.abs(weight)), 0) / largest);
  const codes = Int8Array.from(rows, (weight) => Math.round(weight / step));
  return {
    weights: { dtype: 'int8', dims: [...weights.dims], data: fromRows(codes, layout.outputs, operands.axis) },
    scales: new Float32Array(layout.outputs).fill(step), axis: operands.axis, levels: grid.weights, bias: undefined,
  };
}
