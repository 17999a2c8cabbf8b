import { floatAttribute, int, intAttribute, ints, intsAttribute, misshapen, requiredInts, stringAttribute, unsupported, type Attribute } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { operand, outputOf } from '../graph/operands.js';
import { elementCount, fromNumbers, mapNumbers, reshaped, sameShape, type Shape, type TensorValue, toNumbers } from '../graph/tensor-value.js';
import { pixelsOf, sameFlow, throughWindow, type FlowRule } from './cell-flow.js';
import { transposeValue } from './movement.js';
import { expectType, inputType, inputValue, outputType, type EvaluateContext, type OperatorRecord, type OpTable } from './op.js';
import { needsOfFirst, wholeSpan, windowRegion, type Needs, type RegionContext, type Span } from './regions.js';
import { tapsInside, windowOf, type Window } from './spatial.js';
import { applyUnary, identity, isUnaryKind, type Unary } from './unary-functions.js';

/** A window and its groups: ConvGeometry of program.h, and the output size that follows. */
export interface ConvGeometry extends Window {
  readonly group: number;
}

/** Geometry of an ONNX Conv. x: [N, C, spatial...], w: [O, C / group, kernel...]. */
export function convGeometry(node: Node, x: Shape, w: Shape): ConvGeometry {
  const group = intAttribute(node, 'group', 1);
  if (x.length < 3 || w.length !== x.length) throw misshapen(node, `input of rank ${x.length} and weights of rank ${w.length}`);
  if (group < 1 || (x[1] ?? 0) !== (w[1] ?? 0) * group || (w[0] ?? 0) % group !== 0) {
    throw misshapen(node, `${x[1]} channels, ${group} groups and weights [${w.join(', ')}] do not fit`);
  }
  const stated = intsAttribute(node, 'kernel_shape');
  if (stated !== undefined && !sameShape(stated, w.slice(2))) throw misshapen(node, `kernel_shape [${stated.join(', ')}] is not that of the weights [${w.join(', ')}]`);
  return { ...windowOf(node, x.slice(2), w.slice(2)), group };
}

/** Whether each output channel reads one input channel of its own, which the engine has kernels for (ConvShape::depthwise of engine/ops/conv.h). */
export const isDepthwise = (group: number, inputs: number | undefined, outputs: number | undefined): boolean => group > 1 && group === inputs && group === outputs;

/** Attributes of NhwcConv and ConvQ8 for a geometry. */
export function geometryAttributes(geometry: ConvGeometry): Record<string, Attribute> {
  return {
    strides: ints(geometry.strides),
    pads: ints(geometry.pads),
    dilations: ints(geometry.dilations),
    group: int(geometry.group),
  };
}

/** Whatever is not [N, H, W, C] is a list of pixels: a fully connected layer is a 1x1 convolution of [1, 1, M, K]. */
export function asPixels(shape: Shape): readonly [number, number, number, number] {
  const [n = 1, h = 1, w = 1, c = 1] = shape;
  return shape.length === 4 ? [n, h, w, c] : [1, 1, elementCount(shape.slice(0, -1)), shape.at(-1) ?? 1];
}

/** Shape of the result of NhwcConv and ConvQ8. */
export function nhwcConvShape(node: Node, x: Shape, w: Shape): number[] {
  const outputs = w[0] ?? 1;
  const geometry = nhwcGeometry(node, x, w);
  if (x.length === 4) return [x[0] ?? 1, ...geometry.output, outputs];
  if (w[1] !== 1 || w[2] !== 1 || geometry.group !== 1 || w[3] !== x.at(-1)) throw misshapen(node, `weights [${w.join(', ')}] for [${x.join(', ')}]`);
  return [...x.slice(0, -1), outputs];
}

/** Geometry of NhwcConv and ConvQ8. x: [N, H, W, C] or, for a fully connected layer, [.., K]; w: [O, KH, KW, C / group]. */
export function nhwcGeometry(node: Node, x: Shape, w: Shape): ConvGeometry {
  const [, height, width] = asPixels(x);
  const [, kernelHeight = 1, kernelWidth = 1] = w;
  const [top = 0, left = 0, bottom = 0, right = 0] = requiredInts(node, 'pads');
  const strides = requiredInts(node, 'strides');
  const dilations = requiredInts(node, 'dilations');
  const size = (input: number, kernel: number, axis: number, pads: number) =>
    Math.floor((input + pads - (kernel - 1) * (dilations[axis] ?? 1) - 1) / (strides[axis] ?? 1)) + 1;
  return {
    kernel: [kernelHeight, kernelWidth],
    strides: [strides[0] ?? 1, strides[1] ?? 1],
    dilations: [dilations[0] ?? 1, dilations[1] ?? 1],
    pads: [top, left, bottom, right],
    output: [size(height, kernelHeight, 0, top + bottom), size(width, kernelWidth, 1, left + right)],
    group: intAttribute(node, 'group', 1),
  };
}

/**
 * Sums of products, [N, OH, OW, O]: sum (x - zeroPoint) * w, where pixels outside the image add nothing.
 * x: [N, H, W, C], w: [O, KH, KW, C / group].
 */
export function convolve(x: TensorValue, w: TensorValue, geometry: ConvGeometry, zeroPoint = 0): Float64Array {
  const [batch, height, width, channels] = asPixels(x.dims);
  const [outputs = 1, kernelHeight = 1, kernelWidth = 1, depth = 1] = w.dims;
  const [outHeight, outWidth] = geometry.output;
  const input = mapNumbers(toNumbers(x), (value) => value - zeroPoint);
  const weights = toNumbers(w);
  const perGroup = outputs / geometry.group;
  const sums = new Float64Array(batch * outHeight * outWidth * outputs);
  let at = 0;
  for (let n = 0; n < batch; n++) {
    for (let oy = 0; oy < outHeight; oy++) {
      const top = oy * geometry.strides[0] - geometry.pads[0];
      const [firstRow, lastRow] = tapsInside(top, height, kernelHeight, geometry.dilations[0]);
      for (let ox = 0; ox < outWidth; ox++, at += outputs) {
        const left = ox * geometry.strides[1] - geometry.pads[1];
        const [firstColumn, lastColumn] = tapsInside(left, width, kernelWidth, geometry.dilations[1]);
        for (let ky = firstRow; ky < lastRow; ky++) {
          const y = top + ky * geometry.dilations[0];
          for (let kx = firstColumn; kx < lastColumn; kx++) {
            const column = left + kx * geometry.dilations[1];
            const pixel = ((n * height + y) * width + column) * channels;
            for (let o = 0; o < outputs; o++) {
              const from = pixel + Math.floor(o / perGroup) * depth;
              const tap = ((o * kernelHeight + ky) * kernelWidth + kx) * depth;
              let sum = 0;
              for (let c = 0; c < depth; c++) sum += (input[from + c] ?? 0) * (weights[tap + c] ?? 0);
              sums[at + o] = (sums[at + o] ?? 0) + sum;
            }
          }
        }
      }
    }
  }
  return sums;
}

/** [N, C, W] as [N, C, 1, W]. */
const withHeight = (value: TensorValue): TensorValue =>
  value.dims.length === 3 ? reshaped(value, [value.dims[0] ?? 1, value.dims[1] ?? 1, 1, value.dims[2] ?? 1]) : value;

const conv: OperatorRecord = {
  infer(context) {
    const x = expectType(context, 0, ['float32']);
    const w = inputType(context, 1);
    const geometry = convGeometry(context.node, x.shape, w.shape);
    const spatial = x.shape.length === 3 ? [geometry.output[1]] : geometry.output;
    return [{ dtype: x.dtype, shape: [x.shape[0] ?? 1, w.shape[0] ?? 1, ...spatial] }];
  },
  evaluate(context) {
    const [x, w] = [inputValue(context, 0), inputValue(context, 1)];
    const geometry = convGeometry(context.node, x.dims, w.dims);
    const sums = convolve(transposeValue(withHeight(x), [0, 2, 3, 1]), transposeValue(withHeight(w), [0, 2, 3, 1]), geometry);
    const outputs = w.dims[0] ?? 1;
    const bias = context.inputs[2] === undefined ? undefined : toNumbers(context.inputs[2]);
    const biased = bias === undefined ? sums : sums.map((sum, i) => sum + (bias[i % outputs] ?? 0));
    const nhwc = fromNumbers('float32', [x.dims[0] ?? 1, ...geometry.output, outputs], biased);
    return [reshaped(transposeValue(nhwc, [0, 3, 1, 2]), outputType(context).shape)];
  },
};

/** The function fused into a node: attributes `unary`, `alpha`, `beta`. */
export function fusedUnary(node: Node): Unary {
  const kind = stringAttribute(node, 'unary', 'identity');
  if (!isUnaryKind(kind)) throw unsupported(node, `unknown function ${kind}`, 'unary');
  return kind === 'identity' ? identity : { kind, alpha: floatAttribute(node, 'alpha', 0), beta: floatAttribute(node, 'beta', 0) };
}

export function unaryAttributes({ kind, alpha, beta }: Unary): Record<string, Attribute> {
  return { unary: { type: 'string', value: kind }, alpha: { type: 'float', value: alpha }, beta: { type: 'float', value: beta } };
}

/**
 * Of NhwcConv, ConvQ8 and ConvQ8F32: the pixels under the window, all weights, and what is added to the region's own elements
 * (the operand at `residual`).
 */
export const needsWindow = (residual?: number): Needs => (context, region) =>
  needsOfFirst(convolvedRegion)(context, region).map((whole, i) => (i === residual && whole !== undefined ? region : whole));

function convolvedRegion({ node, inputs: [, weights = []] }: RegionContext, region: readonly Span[], x: Shape): readonly Span[] {
  const channels = wholeSpan(x.at(-1) ?? 1);
  if (x.length !== 4) return [...region.slice(0, -1), channels];
  const geometry = nhwcGeometry(node, x, weights);
  return windowRegion(geometry, x, region, isDepthwise(geometry.group, x[3], weights[0]) ? (region[3] ?? channels) : channels);
}

/** Of NhwcConv, ConvQ8 and ConvQ8F32. 1x1 of stride 1 works on pixels of any kind; a sum that is added has to be of the same cells. */
export const throughConvolution: FlowRule = (node, context) => {
  const [x, weights, output] = [operand(node, 0), operand(node, 1), outputOf(node)];
  const shape = context.shape(x);
  const { kernel, strides, pads, group } = nhwcGeometry(node, shape, context.shape(weights));
  const pointwise = group === 1 && [...kernel, ...strides].every((side) => side === 1) && pads.every((pad) => pad === 0);
  const flow = pointwise ? context.flow(x) : throughWindow(node, context);
  const added = node.inputs.slice(2).filter((input) => input !== '' && !context.constant(input));
  return added.every((input) => pixelsOf(context.shape(input)) !== pixelsOf(context.shape(output)) || sameFlow(context.flow(input), flow)) ? flow : undefined;
};

/** Operands of NhwcConv by position. */
export const convOperands = { x: 0, weights: 1, bias: 2, slope: 3, residual: 4 } as const;

function epilogue(context: EvaluateContext, sums: Float64Array, outputs: number): Float64Array {
  const values = (index: number) => (context.inputs[index] === undefined ? undefined : toNumbers(context.inputs[index]));
  const [bias, slope, residual] = [values(2), values(3), values(4)];
  const unary = fusedUnary(context.node);
  const first = intAttribute(context.node, 'residual_first', 0) === 1;
  return sums.map((sum, i) => {
    const o = i % outputs;
    const added = residual?.[i] ?? 0;
    const v = sum + (bias?.[o] ?? 0) + (first ? added : 0);
    const activated = slope === undefined ? applyUnary(unary, v) : v < 0 ? v * (slope[o] ?? 0) : v;
    return first ? activated : activated + added;
  });
}

/**
 * kConvF32 of program.h. x [N, H, W, C] or [.., K], w [O, KH, KW, C / group], bias? [O], slope? [O], residual? [N, OH, OW, O].
 * A fused PRelu has a slope for each channel; otherwise `unary`.
 */
const nhwcConv: OperatorRecord = {
  needs: needsWindow(convOperands.residual), cells: throughConvolution, pixels: 'any', format: 'float32',
  infer(context) {
    const x = expectType(context, 0, ['float32']);
    const w = inputType(context, 1);
    return [{ dtype: 'float32', shape: nhwcConvShape(context.node, x.shape, w.shape) }];
  },
  evaluate(context) {
    const [x, w] = [inputValue(context, 0), inputValue(context, 1)];
    const sums = convolve(x, w, nhwcGeometry(context.node, x.dims, w.dims));
    return [fromNumbers('float32', outputType(context).shape, epilogue(context, sums, w.dims[0] ?? 1))];
  },
};

export const convolutionOps: OpTable = { Conv: conv, NhwcConv: nhwcConv };
