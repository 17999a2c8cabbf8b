/** The families of detectors that Sterna decodes: one file and one line each. */
import { z } from 'zod';
import { RuntimeError } from '../../errors.js';
import { boxes } from './boxes.js';
import type { Candidates } from './candidates.js';
import { detr } from './detr.js';
import type { DecodeFrame, HeadsToRecognize, Recognized } from './family.js';
import { fastestdet } from './fastestdet.js';
import { listed } from './listed.js';
import { nanodet } from './nanodet.js';
import { ssd } from './ssd.js';
import type { Outputs } from './table.js';
import { yolov5 } from './yolov5.js';
import { yolov8 } from './yolov8.js';
import { yolox } from './yolox.js';
import { yunet } from './yunet.js';

/** How a detector's outputs are read: the family and what it has to know. */
export const boxDecoder = z.discriminatedUnion('type', [
  yunet.settings, detr.settings, ssd.settings, boxes.settings, yolox.settings, yolov5.settings, yolov8.settings, nanodet.settings, fastestdet.settings, listed.settings,
]);

export type BoxDecoder = z.output<typeof boxDecoder>;
export type DecoderName = BoxDecoder['type'];

/** In the order in which they are asked: the more particular first. */
const families = [yunet, detr, ssd, nanodet, yolox, yolov5, yolov8, fastestdet, boxes, listed] as const;

export const decoderNames: readonly DecoderName[] = families.map(({ type }) => type);

/** For people. */
export const decoderTitle = (name: DecoderName): string => families.find(({ type }) => type === name)?.title ?? name;

/** @throws RuntimeError E_MODEL_SHAPE when the outputs are not those of the decoder */
export function decodeBoxes(outputs: Outputs, decoder: BoxDecoder, frame: DecodeFrame): Candidates {
  switch (decoder.type) {
    case 'yunet': return yunet.decode(outputs, decoder, frame);
    case 'detr': return detr.decode(outputs, decoder, frame);
    case 'ssd': return ssd.decode(outputs, decoder, frame);
    case 'boxes': return boxes.decode(outputs, decoder, frame);
    case 'yolox': return yolox.decode(outputs, decoder, frame);
    case 'yolov5': return yolov5.decode(outputs, decoder, frame);
    case 'yolov8': return yolov8.decode(outputs, decoder, frame);
    case 'nanodet': return nanodet.decode(outputs, decoder, frame);
    case 'fastestdet': return fastestdet.decode(outputs, decoder, frame);
    case 'listed': return listed.decode(outputs, decoder, frame);
  }
}

/** Keypoints that a decoder gives each box; 0 when none. */
export function keypointsOf(decoder: BoxDecoder): number {
  if (decoder.type === 'yunet') return 5;
  return decoder.type === 'yolov8' && decoder.heads.form === 'merged' ? decoder.heads.keypoints?.count ?? 0 : 0;
}

/**
 * Finds the family that outputs belong to, by their number, shapes, names and the operators that compute them.
 * @param only the family that the user named; its outputs must fit
 * @throws RuntimeError E_MODEL_SHAPE that says what was seen and what would fit, E_INPUT for anchors that do not fit
 */
export function recognizeDetector(model: HeadsToRecognize, only?: DecoderName): Recognized<BoxDecoder> {
  const asked = families.filter(({ type }) => only === undefined || type === only);
  for (const family of asked) {
    const found = family.recognize(model);
    if (found !== null) return found;
  }
  const seen = model.heads.map(({ name, type, dims }) => `${name} ${type}[${dims.join(', ')}]`).join('; ');
  throw new RuntimeError('E_MODEL_SHAPE', `Expected the outputs of a detector but received ${seen || 'none'} with a picture of ${model.input.width} x ${model.input.height}. `
    + `${only === undefined ? 'These would fit' : `The decoder ${only} needs`}: ${asked.map(({ fits }) => fits).join('; ')}`, { details: { seen, fits: asked.map(({ fits }) => fits) } });
}
