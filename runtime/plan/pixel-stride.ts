import { isByte, type DType } from '../graph/tensor-value.js';

/** Pixels of 8-bit feature maps start at multiples of this many bytes, except images of a few channels (program.h). */
const bytePixelAlignment = 16;
const denseImageChannels = 4;

/** Elements between the pixels of a map that has its memory for itself. */
export function pixelStride(dtype: DType, channels: number): number {
  return isByte(dtype) && channels > denseImageChannels ? Math.ceil(channels / bytePixelAlignment) * bytePixelAlignment : channels;
}
