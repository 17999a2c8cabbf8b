/** Values [.., H, W] that hold a picture or a map plane by plane, as models that work channels-first leave some of them. */
import { intAttribute, requiredInts } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import type { Shape } from '../graph/tensor-value.js';
import { spansAxis, type FlowContext, type Grid } from '../ops/cell-flow.js';
import { coreSlice } from '../ops/core.js';
import { single } from '../ops/views.js';

const sameGrid = (a: Grid | undefined, b: Grid | undefined): boolean => a?.rows === b?.rows && a?.columns === b?.columns;

/** Of planes [1, C, H, W] that become [1, H, W, C]; with one channel, that moves nothing. */
export function toPixels(node: Node, from: Shape, to: Shape): boolean {
  if (node.op === 'View') return from.length === 4 && from[1] === 1 && to.join() === [from[0], from[2], from[3], 1].join();
  return node.op === 'Transpose' && requiredInts(node, 'perm').join() === '0,2,3,1';
}
const toPlanes = (node: Node): boolean => node.op === 'Transpose' && requiredInts(node, 'perm').join() === '0,3,1,2';

/** The grid of all operands that are no constants; undefined when one has another. */
function shared(node: Node, planes: ReadonlyMap<string, Grid>, { constant }: FlowContext): Grid | undefined {
  const operands = node.inputs.filter((input) => input !== '' && !constant(input));
  const [first] = operands;
  const grid = first === undefined ? undefined : planes.get(first);
  return operands.every((input) => sameGrid(planes.get(input), grid)) ? grid : undefined;
}

/** The grid of the planes that a node writes; undefined: it writes something else. `elementwise`: as the operator's rule of flow says. */
export function planesOf(node: Node, planes: ReadonlyMap<string, Grid>, context: FlowContext, elementwise: boolean): Grid | undefined {
  const { x, output: y } = single(node);
  const [from, to, grid] = [context.shape(x), context.shape(y), planes.get(x)];
  const [rows = 1, columns = 1] = to.slice(-2);
  if (elementwise) return shared(node, planes, context);
  switch (node.op) {
    case 'Transpose': {
      if (toPlanes(node) && context.isMap(x)) return { rows, columns };
      const perm = requiredInts(node, 'perm');
      return perm.slice(-2).every((axis, i) => axis === perm.length - 2 + i) ? grid : undefined;
    }
    case 'View': return sameGrid(grid, { rows, columns }) ? grid : undefined;
    case 'Concat': return intAttribute(node, 'axis', 0) < to.length - 2 ? shared(node, planes, context) : undefined;
    case 'StridedSlice': return grid !== undefined && [from.length - 2, from.length - 1].every((axis) => spansAxis(coreSlice(node), from[axis] ?? 1, axis)) ? { rows, columns } : undefined;
    default: return undefined;
  }
}
