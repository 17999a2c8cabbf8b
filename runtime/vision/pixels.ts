import type { Image } from '../frame.js';
import type { Affine } from './align.js';

/** A picture for a model: 8 bits, HWC, one grey or three colour channels. Reused from frame to frame. */
export interface Canvas {
  width: number;
  height: number;
  channels: 1 | 3;
  data: Uint8Array;
}

/** A rectangle in pixels of a picture; may be fractional and reach beyond the borders. */
export interface Region {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** The pixel work of a pipeline. What lies outside a picture reads as black. A grey canvas gets luma (ITU-R BT.601). */
export interface PixelOps {
  /** Resamples the region to fill the canvas; each output pixel averages what it covers. */
  resize(image: Image, region: Region, canvas: Canvas): void;
  /** canvas(x, y) = image(map(x, y)), bilinear, between pixel centres. */
  warp(image: Image, canvasToImage: Affine, canvas: Canvas): void;
}
