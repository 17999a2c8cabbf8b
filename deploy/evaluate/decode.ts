import { headsOf } from '../../runtime/kinds/detection/describe.js';
import type { TensorInfo } from '../../runtime/tensor.js';
import type { Outputs } from '../../runtime/vision/decoders/table.js';
import type { Anchor, Head, InputSize, PictureDefaults } from '../../runtime/vision/decoders/family.js';
import { decodeBoxes, decoderTitle, recognizeDetector } from '../../runtime/vision/decoders/index.js';
import type { BoxDecoder, DecoderName } from '../../runtime/vision/decoders/index.js';
import { choose } from '../../runtime/vision/detector.js';
import type { ScoredBox } from './average-precision.js';

/** How the outputs of a detector are read, where the user knows better than recognition. */
export interface DecodeOptions {
  /** The family of the outputs. */
  decoder?: DecoderName | undefined;
  /** For raw SSD heads. */
  anchors?: readonly Anchor[] | undefined;
  /** Class number of the model that label 0 stands for. Default: that of the family, which knows backgrounds and COCO's own numbers. */
  firstClass?: number | undefined;
  /** Order of a box's coordinates; default yxyx where outputs have TensorFlow's names, else xyxy. */
  boxOrder?: 'xyxy' | 'yxyx' | undefined;
  /** Unit of boxes: shares of the model's input, or its pixels. */
  boxUnits?: 'shares' | 'pixels' | undefined;
}

export type Detection = Omit<ScoredBox, 'image'>;

export interface Decoder {
  /** For people: what was recognized. */
  name: string;
  /** How published models of the family want their pictures. */
  picture: PictureDefaults;
  /** Boxes as shares of the model's input, after suppression. */
  decode(outputs: Outputs): Detection[];
}

/** A score below this changes nothing of the precision at useful recall. */
const leastScore = 0.02;
const mostCandidates = 1000;
const mostDetections = 100;
/** Of boxes of one class; a lower limit would lose neighbours that both are there. */
const suppressionOverlap = 0.6;

/** The recognized settings with what the user states instead. */
function withOptions(decoder: BoxDecoder, classes: number, { firstClass, boxOrder, boxUnits }: DecodeOptions): BoxDecoder {
  if (decoder.type === 'listed') {
    return { ...decoder, first_class: firstClass ?? decoder.first_class, coding: boxOrder ?? decoder.coding, units: boxUnits ?? decoder.units };
  }
  const columns = firstClass === undefined ? {} : { class: Array.from({ length: Math.max(1, classes - firstClass) }, (_, label) => firstClass + label) };
  if (decoder.type === 'boxes') return { ...decoder, ...columns, coding: boxOrder ?? decoder.coding, units: boxUnits ?? decoder.units };
  return decoder.type === 'yunet' ? decoder : { ...decoder, ...columns };
}

/** Columns of class scores in a head of `boxes` or `ssd`, the background included; else the classes that were recognized. */
function columnCount(decoder: BoxDecoder, heads: readonly Head[], classes: number): number {
  const name = decoder.type === 'boxes' || decoder.type === 'ssd' ? decoder.scores : undefined;
  return heads.find((head) => head.name === name)?.dims.at(-1) ?? classes;
}

/**
 * Finds out how a detector's outputs are to be read, as `sterna run` does.
 * @param ends operators that compute each output (runtime/onnx/heads.ts), where somebody looked
 * @throws RuntimeError E_MODEL_SHAPE for outputs that are not known, E_INPUT for anchors that do not fit
 */
export function decoderFor(outputs: readonly TensorInfo[], input: InputSize, options: DecodeOptions = {}, ends: Readonly<Record<string, readonly string[]>> = {}): Decoder {
  const heads = headsOf({ outputs, ends });
  const found = recognizeDetector({ heads, input, anchors: options.anchors }, options.decoder);
  const decoder = withOptions(found.decoder, columnCount(found.decoder, heads, found.classes), options);
  const fit = { scaleX: 1 / input.width, scaleY: 1 / input.height, offsetX: 0, offsetY: 0 };
  const plan = {
    score_threshold: leastScore, max_detections: mostDetections,
    suppression: found.suppress ? { method: 'hard' as const, iou_threshold: suppressionOverlap, across_classes: false } : { method: 'none' as const },
  };
  return {
    name: decoderTitle(decoder.type),
    picture: found.picture,
    decode(results) {
      const all = decodeBoxes(results, decoder, { input, fit, threshold: leastScore, everyClass: true });
      const best = Array.from(all.scores.keys()).sort((a, b) => (all.scores[b] ?? 0) - (all.scores[a] ?? 0) || a - b).slice(0, mostCandidates);
      const strongest = {
        count: best.length, scores: Float32Array.from(best, (i) => all.scores[i] ?? 0), classes: Int32Array.from(best, (i) => all.classes[i] ?? 0),
        boxes: Float32Array.from(best.flatMap((i) => [...all.boxes.subarray(i * 4, i * 4 + 4)])),
      };
      return choose(strongest, plan).map(({ index, score }) => {
        const [x1 = 0, y1 = 0, x2 = 0, y2 = 0] = strongest.boxes.subarray(index * 4, index * 4 + 4);
        return { label: strongest.classes[index] ?? 0, score, corners: [x1, y1, x2, y2] as const };
      });
    },
  };
}
