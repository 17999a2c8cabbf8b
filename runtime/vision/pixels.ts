import { cropResize, letterbox, MotionGrid, stretch, warpAffine } from '../../kernels/binding/image.js';
import type { CellMask } from '../../kernels/binding/cell-mask.js';
import type { Canvas, Region } from '../../kernels/binding/image.js';
import type { Image } from '../frame.js';
import type { Affine } from './align.js';
import type { FitTransform } from './decoders/candidates.js';

export type { Canvas, CellMask, Region };

/** How a picture of another aspect ratio is brought to a model's input: distorted, or padded. */
export type Fit = 'stretch' | 'letterbox';

/** The pixel work of a pipeline. What lies outside a picture reads as black; a grey canvas gets luma (ITU-R BT.601). */
export interface PixelOps {
  /** Draws the whole picture on the canvas, and grey of level `pad` (default black) around it; the result maps canvas pixels back to the picture. */
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
}

/** The native kernels. */
export const nativePixels: PixelOps = {
  fit(image, canvas, fit, pad = 0) {
    if (fit === 'stretch') {
      stretch(image, canvas);
      return { scaleX: image.width / canvas.width, scaleY: image.height / canvas.height, offsetX: 0, offsetY: 0 };
    }
    const { scale, dx, dy } = letterbox(image, canvas, { padColour: [pad, pad, pad] });
    return { scaleX: 1 / scale, scaleY: 1 / scale, offsetX: dx, offsetY: dy };
  },
  crop: (image, region, canvas) => cropResize(image, region, canvas),
  warp: warpAffine,
  motionGrid: () => new MotionGrid(),
};
