import { int } from '../../../runtime/graph/attributes.js';
import type { Graph, Node } from '../../../runtime/graph/graph.js';
import { withOperand } from '../../../runtime/graph/operands.js';
import { elementCount, fromNumbers, int64s, toNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import type { Dependencies } from './dependencies.js';

/** A tensor with the indices along an axis that are to be kept. */
function kept(value: TensorValue, axis: number, indices: readonly number[]): TensorValue {
  const inner = elementCount(value.dims.slice(axis + 1));
  const size = value.dims[axis] ?? 1;
  const outer = elementCount(value.dims.slice(0, axis));
  const source = toNumbers(value);
  const data = new Float64Array(outer * indices.length * inner);
  let at = 0;
  for (let o = 0; o < outer; o++) for (const index of indices) {
    const start = (o * size + index) * inner;
    data.set(source.subarray(start, start + inner), at);
    at += inner;
  }
  return fromNumbers(value.dtype, value.dims.map((dim, i) => (i === axis ? indices.length : dim)), data);
}

/**
 * The graph without some channels: their weights, and all numbers for them, are gone.
 * @param removed channels of the dependencies
 */
export function removeChannels({ graph, cuts, restated }: Dependencies, removed: ReadonlySet<number>): Graph {
  const left = (ids: readonly number[]): number[] => [...ids.keys()].filter((i) => !removed.has(ids[i] ?? 0));
  const constants = new Map(graph.constants);
  const done = new Set<string>();
  for (const { constant, axis, ids } of cuts) {
    const value = constants.get(constant);
    if (value === undefined || done.has(`${axis}:${constant}`)) continue;
    done.add(`${axis}:${constant}`);
    const indices = left(ids);
    if (indices.length < ids.length) constants.set(constant, kept(value, axis, indices));
  }
  const changed = new Map<Node, Node>();
  for (const item of restated) {
    const node = changed.get(item.node) ?? item.node;
    if (item.kind === 'group') {
      changed.set(item.node, { ...node, attributes: new Map([...node.attributes, ['group', int(left(item.ids).length)]]) });
      continue;
    }
    const { dims, lanes, operand } = item;
    const count = left(lanes.ids).length;
    if (count === lanes.ids.length) continue;
    const name = `${node.outputs[0] ?? node.name}.pruned-shape`;
    constants.set(name, int64s(dims.map((dim, i) => (i === lanes.axis ? count : dim))));
    changed.set(item.node, { ...node, inputs: withOperand(node.inputs, operand, name) });
  }
  const types = new Map(graph.inputs.flatMap((input) => {
    const type = graph.types.get(input);
    return type === undefined ? [] : [[input, type] as const];
  }));
  return inferShapes({ ...graph, nodes: graph.nodes.map((node) => changed.get(node) ?? node), constants, types });
}
