import { RuntimeError } from '../errors.js';
import { elementCount } from '../graph/tensor-value.js';
import type { PixelInput } from '../session-types.js';
import type { DataType, Tensor, TensorData, TensorInfo } from '../tensor.js';

/** The array that holds the elements of a type. */
export const arrayTypes: Readonly<Record<DataType, { new (length: number): TensorData; new (buffer: ArrayBuffer): TensorData }>> = {
  float32: Float32Array,
  uint8: Uint8Array,
  int8: Int8Array,
  int32: Int32Array,
  int64: BigInt64Array,
  bool: Uint8Array,
  float16: Uint16Array,
  float64: Float64Array,
  bfloat16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
};

const show = (tensor: { type: string; dims: readonly number[] }): string => `${tensor.type}[${tensor.dims.join(', ')}]`;

/** @throws RuntimeError E_INPUT when a tensor is not of exactly the type, shape and length of this input or output */
export function checkTensor(side: 'input' | 'output', info: TensorInfo, tensor: Tensor): void {
  const sameDims = tensor.dims.length === info.dims.length && tensor.dims.every((dim, axis) => dim === info.dims[axis]);
  if (tensor.type !== info.type || !sameDims) {
    throw new RuntimeError('E_INPUT', `Expected ${show(info)} for ${side} "${info.name}" but received ${show(tensor)}`, {
      details: { [side]: info.name, expected: { type: info.type, dims: info.dims }, received: { type: tensor.type, dims: tensor.dims } },
    });
  }
  const count = elementCount(info.dims);
  if (!(tensor.data instanceof arrayTypes[info.type]) || tensor.data.length !== count) {
    throw new RuntimeError(
      'E_INPUT',
      `Expected ${arrayTypes[info.type].name} of ${count} elements for ${side} "${info.name}" but received ${tensor.data.constructor.name} of ${tensor.data.length}`,
      { details: { [side]: info.name } },
    );
  }
}

function checkFeed(info: TensorInfo, feed: Tensor | undefined): Tensor {
  if (feed === undefined) {
    throw new RuntimeError('E_INPUT', `Expected a feed for input "${info.name}" but received none`, { details: { input: info.name } });
  }
  checkTensor('input', info, feed);
  return feed;
}

/**
 * The feeds in the order of `inputs`, each of exactly the type and shape that the model wants.
 * @throws RuntimeError E_INPUT for a feed that is missing, unknown, or of another type, shape or length
 */
export function orderFeeds(inputs: readonly TensorInfo[], feeds: Readonly<Record<string, Tensor>>): Tensor[] {
  const known = new Set(inputs.map((info) => info.name));
  for (const name of Object.keys(feeds)) {
    if (!known.has(name)) {
      throw new RuntimeError('E_INPUT', `Expected feeds for ${[...known].map((n) => `"${n}"`).join(', ')} but received "${name}"`, {
        details: { input: name },
      });
    }
  }
  return inputs.map((info) => checkFeed(info, feeds[info.name]));
}

/** How a float image input of a model is fed from 8-bit pixels. */
export interface PixelLayout {
  height: number;
  width: number;
  channels: number;
  /** True when the model wants planes (NCHW), false for NHWC. */
  planar: boolean;
  /** Value of each pixel level, [channels][256]. */
  levels: Float32Array;
}

/**
 * Checks that a float32 input of dims [1, C, H, W] or [1, H, W, C] can be fed with pixels, C being the length of `mean`.
 * @throws RuntimeError E_INPUT
 */
export function pixelLayout(info: TensorInfo, pixels: PixelInput): PixelLayout {
  const channels = pixels.mean.length;
  const refuse = (expected: string, received: string): never => {
    throw new RuntimeError('E_INPUT', `Expected ${expected} for the pixels of input "${info.name}" but received ${received}`, {
      details: { input: info.name },
    });
  };
  const [batch, second, third, fourth] = info.dims;
  if (info.type !== 'float32' || info.dims.length !== 4 || batch !== 1 || second === undefined || third === undefined || fourth === undefined) {
    return refuse('a float32 input of dims [1, C, H, W] or [1, H, W, C]', show(info));
  }
  if (pixels.std.length !== channels || pixels.std.some((value) => !(Number.isFinite(value) && value !== 0)) || !pixels.mean.every(Number.isFinite)) {
    return refuse(`${channels} finite means and as many non-zero deviations`, `mean [${pixels.mean.join(', ')}], std [${pixels.std.join(', ')}]`);
  }
  const planar = second === channels;
  if (!planar && fourth !== channels) return refuse(`${channels} channels as "mean" has`, show(info));
  const levels = new Float32Array(channels * 256);
  pixels.mean.forEach((mean, channel) => {
    const std = pixels.std[channel] ?? 1;
    for (let level = 0; level < 256; level++) levels[channel * 256 + level] = (level - mean) / std;
  });
  return planar ? { height: third, width: fourth, channels, planar, levels } : { height: second, width: third, channels, planar, levels };
}

/** Pixels [H, W, C] to the floats that the model wants, in its layout. */
export function pixelsToFloats(layout: PixelLayout, pixels: Uint8Array): Float32Array {
  const { channels, planar, levels } = layout;
  const area = layout.height * layout.width;
  const floats = new Float32Array(area * channels);
  const pixelStep = planar ? 1 : channels;
  for (let channel = 0; channel < channels; channel++) {
    const table = levels.subarray(channel * 256, channel * 256 + 256);
    let target = planar ? channel * area : channel;
    for (let source = channel; source < pixels.length; source += channels, target += pixelStep) {
      floats[target] = table[pixels[source] ?? 0] ?? 0;
    }
  }
  return floats;
}
