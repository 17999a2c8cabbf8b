import { misshapen, oneOf, requiredInt } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { reshaped, type Shape } from '../graph/tensor-value.js';
import { transposeValue } from './movement.js';
import { inputType, inputValue, type OperatorRecord, type OpTable } from './op.js';

/** A rearrangement of blocks of pixels: the elements seen under `apart`, its axes permuted, seen under `result`. */
export interface Rearrangement {
  readonly apart: Shape;
  readonly perm: readonly number[];
  readonly result: Shape;
}

/** DepthToSpace or SpaceToDepth of [N, C, H, W]. @throws RuntimeError E_MODEL_SHAPE: channels or pixels that make no whole blocks */
export function rearrangementOf(node: Node, shape: Shape): Rearrangement {
  const block = requiredInt(node, 'blocksize');
  const [n = 0, c = 0, h = 0, w = 0] = shape;
  const toSpace = node.op === 'DepthToSpace';
  const whole = toSpace ? c % (block * block) === 0 : h % block === 0 && w % block === 0;
  if (shape.length !== 4 || block < 1 || !whole) throw misshapen(node, `[${shape.join(', ')}] does not consist of blocks of ${block}`);
  if (!toSpace) return { apart: [n, c, h / block, block, w / block, block], perm: [0, 3, 5, 1, 2, 4], result: [n, c * block * block, h / block, w / block] };
  const depth = c / (block * block);
  const result = [n, depth, h * block, w * block];
  // The block's position comes before the channel of the result (DCR), or after it (CRD).
  if (oneOf(node, 'mode', ['DCR', 'CRD'], 'DCR') === 'DCR') return { apart: [n, block, block, depth, h, w], perm: [0, 3, 4, 1, 5, 2], result };
  return { apart: [n, depth, block, block, h, w], perm: [0, 1, 4, 2, 5, 3], result };
}

const rearrange: OperatorRecord = {
  infer(context) {
    const { dtype, shape } = inputType(context, 0);
    return [{ dtype, shape: rearrangementOf(context.node, shape).result }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const { apart, perm, result } = rearrangementOf(context.node, x.dims);
    return [reshaped(transposeValue(reshaped(x, apart), perm), result)];
  },
};

export const spaceOps: OpTable = { DepthToSpace: rearrange, SpaceToDepth: rearrange };
