import { z } from 'zod';
import type { Anchor, InputSize } from './family.js';

/**
 * Anchors as the manifest states them. `list`: [cy, cx, height, width] of each as shares of the input, little-endian float32 in base64 (a
 * quarter of the size of numbers in JSON). The others are generators of TensorFlow's object detection API.
 */
export const anchorSettings = z.discriminatedUnion('from', [
  z.object({ from: z.literal('list'), float32_base64: z.base64().max(900_000) }),
  /** RetinaNet's (T.-Y. Lin et al., "Focal Loss for Dense Object Detection", 2017, section 4): octaves of scales on each level. */
  z.object({
    from: z.literal('multiscale'), min_level: z.number().int().min(0).max(10), max_level: z.number().int().min(0).max(10),
    anchor_scale: z.number().positive(), aspect_ratios: z.array(z.number().positive()).min(1).max(16), scales_per_octave: z.number().int().min(1).max(8),
  }),
  /** SSD's (W. Liu et al., "SSD: Single Shot MultiBox Detector", 2016, section 2.2): scales from the first layer to the last. */
  z.object({
    from: z.literal('ssd'), layers: z.array(z.number().int().positive().max(1024)).min(2).max(10),
    min_scale: z.number().positive(), max_scale: z.number().positive(), aspect_ratios: z.array(z.number().positive()).min(1).max(16),
  }),
]);

export type AnchorSettings = z.output<typeof anchorSettings>;

/** The anchors as a list in settings. */
export function anchorsToSettings(anchors: readonly Anchor[]): AnchorSettings {
  const bytes = Buffer.alloc(anchors.length * 16);
  anchors.flat().forEach((value, i) => bytes.writeFloatLE(value, i * 4));
  return { from: 'list', float32_base64: bytes.toString('base64') };
}

/** cy, cx, height, width of each anchor as shares of the input. */
export function generateAnchors(settings: AnchorSettings, input: InputSize): Float32Array {
  switch (settings.from) {
    case 'list': {
      const bytes = Buffer.from(settings.float32_base64, 'base64');
      return Float32Array.from({ length: Math.floor(bytes.length / 4) }, (_, i) => bytes.readFloatLE(i * 4));
    }
    case 'multiscale': return Float32Array.from(multiscale(settings, input));
    case 'ssd': return Float32Array.from(ssdLayers(settings));
  }
}

type Multiscale = Extract<AnchorSettings, { from: 'multiscale' }>;
type SsdLayers = Extract<AnchorSettings, { from: 'ssd' }>;

/** On a level whose stride does not divide the input, cells start at its edge instead of half a stride inside it. */
function multiscale({ min_level, max_level, anchor_scale, aspect_ratios, scales_per_octave }: Multiscale, { width, height }: InputSize): number[] {
  const anchors: number[] = [];
  for (let level = min_level; level <= max_level; level++) {
    const stride = 2 ** level;
    const [offsetX, offsetY] = [width % stride === 0 ? stride / 2 : 0, height % stride === 0 ? stride / 2 : 0];
    for (let row = 0; row < Math.ceil(height / stride); row++) {
      for (let column = 0; column < Math.ceil(width / stride); column++) {
        for (const ratio of aspect_ratios) {
          for (let octave = 0; octave < scales_per_octave; octave++) {
            const side = stride * anchor_scale * 2 ** (octave / scales_per_octave);
            anchors.push((row * stride + offsetY) / height, (column * stride + offsetX) / width, side / Math.sqrt(ratio) / height, (side * Math.sqrt(ratio)) / width);
          }
        }
      }
    }
  }
  return anchors;
}

/** The first layer has three anchors: a small square, and two of the wider ratios; the others have all, and one between two scales. */
function ssdLayers({ layers, min_scale, max_scale, aspect_ratios }: SsdLayers): number[] {
  const scaleOf = (i: number): number => (i === layers.length ? 1 : min_scale + ((max_scale - min_scale) * i) / (layers.length - 1));
  const anchors: number[] = [];
  for (const [i, cells] of layers.entries()) {
    const shapes = i === 0
      ? [[0.1, 1], [scaleOf(0), 2], [scaleOf(0), 0.5]] as const
      : [...aspect_ratios.map((ratio) => [scaleOf(i), ratio] as const), [Math.sqrt(scaleOf(i) * scaleOf(i + 1)), 1] as const];
    for (let row = 0; row < cells; row++) {
      for (let column = 0; column < cells; column++) {
        for (const [scale, ratio] of shapes) anchors.push((row + 0.5) / cells, (column + 0.5) / cells, scale / Math.sqrt(ratio), scale * Math.sqrt(ratio));
      }
    }
  }
  return anchors;
}

const retinaRatios = [1, 2, 0.5];
const published: readonly AnchorSettings[] = [
  { from: 'multiscale', min_level: 3, max_level: 7, anchor_scale: 4, aspect_ratios: retinaRatios, scales_per_octave: 2 },
  { from: 'multiscale', min_level: 3, max_level: 7, anchor_scale: 4, aspect_ratios: retinaRatios, scales_per_octave: 3 },
];

/** Anchors of published models that have just as many; undefined when none does. */
export function publishedAnchors(count: number, input: InputSize): AnchorSettings | undefined {
  const layers = [16, 32, 64, 128, 256, 512].map((stride) => Math.ceil(input.width / stride));
  const ssd: AnchorSettings = { from: 'ssd', layers, min_scale: 0.2, max_scale: 0.95, aspect_ratios: [1, 2, 0.5, 3, 1 / 3] };
  const candidates = input.width === input.height ? [...published, ssd] : published;
  return candidates.find((settings) => generateAnchors(settings, input).length === count * 4);
}
