import { cropResize, letterbox, MotionGrid, stretch, warpAffine } from '../../kernels/binding/image.js';
import type { CellMask } from '../../kernels/binding/cell-mask.js';
import type { Canvas, Region } from '../../kernels/binding/image.js';
import type { Image } from '../frame.js';
import type { Affine } from './align.js';
import type { FitTransform } from './decoders/candidates.js';

export type { Canvas, CellMask, Region };

/** How a picture of another aspect ratio is brought to a model's input: distorted, padded, or cut to its middle. */
export const fits = ['stretch', 'letterbox', 'crop'] as const;
export type Fit = (typeof fits)[number];

/** The pixel work of a pipeline. What lies outside a picture reads as black; a grey canvas gets luma (ITU-R BT.601). */
export interface PixelOps {
  /**
   * Draws the picture on the canvas, the whole of it (with `letterbox`, grey of level `pad` around it, default black) or its middle (`crop`); the
   * result maps canvas pixels back to the picture.
   */
  fit(image: Image, canvas: Canvas, fit: Fit, pad?: number): FitTransform;
  /** Resamples the region to fill the canvas. */
  crop(image: Image, region: Region, canvas: Canvas): void;
  /** canvas(x, y) = image(map(x, y)), bilinear, between pixel centres. */
  warp(image: Image, canvasToImage: Affine, canvas: Canvas): void;
  /** Counts the cells of a coarse grey picture that left a slowly learned background. */
  motionGrid(): MotionCells;
}

export interface MotionCells {
  /** Number of cells that left the background. */
  update(image: Image, threshold: number): number;
  /** Which they were; overwritten by the next `update`. */
  readonly mask: CellMask;
  /** Grey levels of all cells of the last picture, row-major; overwritten by the next `update`. */
  readonly cells: Uint8Array;
}

/** The largest part of a picture that has the canvas's aspect ratio, in its middle. */
export function middleOf(picture: { width: number; height: number }, canvas: { width: number; height: number }): Region {
  const scale = Math.max(canvas.width / picture.width, canvas.height / picture.height);
  const [width, height] = [canvas.width / scale, canvas.height / scale];
  return { x: (picture.width - width) / 2, y: (picture.height - height) / 2, width, height };
}

/** The native kernels. */
export const nativePixels: PixelOps = {
  fit(image, canvas, fit, pad = 0) {
    if (fit === 'stretch') {
      stretch(image, canvas);
      return { scaleX: image.width / canvas.width, scaleY: image.height / canvas.height, offsetX: 0, offsetY: 0 };
    }
    if (fit === 'crop') {
      const region = middleOf(image, canvas);
      cropResize(image, region, canvas);
      return { scaleX: region.width / canvas.width, scaleY: region.height / canvas.height, offsetX: -region.x / (region.width / canvas.width), offsetY: -region.y / (region.height / canvas.height) };
    }
    const { scale, dx, dy } = letterbox(image, canvas, { padColour: [pad, pad, pad] });
    return { scaleX: 1 / scale, scaleY: 1 / scale, offsetX: dx, offsetY: dy };
  },
  crop: (image, region, canvas) => cropResize(image, region, canvas),
  warp: warpAffine,
  motionGrid: () => new MotionGrid(),
};
