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

/** In the order in which they are asked: the more particular first. */
const families = [yunet, detr, ssd, nanodet, yolox, yolov5, yolov8, fastestdet, boxes, listed] as const;

type SettingsOf<Families extends readonly { settings: unknown }[]> = { [K in keyof Families]: Families[K]['settings'] };

/** How a detector's outputs are read: the family and what it has to know. */
export const boxDecoder = z.discriminatedUnion('type', families.map(({ settings }) => settings) as unknown as SettingsOf<typeof families>);

export type BoxDecoder = z.output<typeof boxDecoder>;
export type DecoderName = BoxDecoder['type'];

/** A family as the others see it: what its settings hold is its own affair, and those of `decoder` belong to it by their `type`. */
interface AnyFamily {
  readonly title: string;
  decode(outputs: Outputs, decoder: BoxDecoder, frame: DecodeFrame): Candidates;
  keypoints?(decoder: BoxDecoder): number;
}
const familyOf = Object.fromEntries(families.map((family) => [family.type, family])) as unknown as Readonly<Record<DecoderName, AnyFamily>>;

export const decoderNames: readonly DecoderName[] = families.map(({ type }) => type);

/** For people. */
export const decoderTitle = (name: DecoderName): string => familyOf[name].title;

/** @throws RuntimeError E_MODEL_SHAPE when the outputs are not those of the decoder */
export const decodeBoxes = (outputs: Outputs, decoder: BoxDecoder, frame: DecodeFrame): Candidates => familyOf[decoder.type].decode(outputs, decoder, frame);

/** Keypoints that a decoder gives each box; 0 when none. */
export const keypointsOf = (decoder: BoxDecoder): number => familyOf[decoder.type].keypoints?.(decoder) ?? 0;

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
