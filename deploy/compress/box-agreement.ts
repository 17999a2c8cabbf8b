import { RuntimeError } from '../../runtime/errors.js';
import type { ChosenSizes } from '../../runtime/graph/open-dimensions.js';
import { pictureSize } from '../../runtime/kinds/pixel-input.js';
import type { ModelInfo } from '../../runtime/kinds/kind.js';
import { endsOf } from '../../runtime/onnx/heads.js';
import { modelPorts } from '../../runtime/quantize/prepare/read-model.js';
import type { Agreement } from '../../runtime/quantize/report/fidelity.js';
import { overlap } from '../evaluate/average-precision.js';
import { decoderFor, type DecodeOptions, type Detection } from '../evaluate/decode.js';
import { guessKind } from '../run/recognize.js';

/** Boxes with a lower score do not count, neither found nor lost. */
const leastScore = 0.25;
/** A box is the same when it overlaps by this much. */
const leastOverlap = 0.5;

/**
 * How much of what one model finds another one finds too, 0..1, weighted by scores: each box counts with its overlap and the ratio of the scores, and
 * what the other one alone finds counts against it. Undefined when neither finds anything.
 */
export function boxAgreement(expected: readonly Detection[], actual: readonly Detection[]): number | undefined {
  const left = new Set(actual);
  let [kept, all] = [0, 0];
  for (const box of expected.filter(({ score }) => score >= leastScore)) {
    const [best] = [...left].filter(({ label }) => label === box.label).map((other) => ({ other, shared: overlap(box, other) })).sort((a, b) => b.shared - a.shared);
    all += box.score;
    if (best === undefined || best.shared < leastOverlap) continue;
    left.delete(best.other);
    kept += box.score * best.shared * (Math.min(box.score, best.other.score) / Math.max(box.score, best.other.score));
  }
  for (const { score } of left) if (score >= leastScore) all += score;
  return all === 0 ? undefined : kept / all;
}

/**
 * Compares the answers of a detector by its boxes, as they come out of suppression.
 * @returns undefined for a model that is no detector, or whose outputs cannot be read without further options
 */
export function agreementOf(model: ModelInfo, options: DecodeOptions = {}): Agreement | undefined {
  if (guessKind(model) !== 'detection') return undefined;
  try {
    const { decode } = decoderFor(model.outputs, pictureSize(model, 3, 'detector'), options, model.ends);
    return (expected, actual) => boxAgreement(decode(expected), decode(actual));
  } catch (error) {
    if (error instanceof RuntimeError && ['E_MODEL_SHAPE', 'E_INPUT'].includes(error.code)) return undefined;
    throw error;
  }
}

/** The same of a model's bytes, as quantization reads them: no engine has to open it. @throws RuntimeError E_MODEL_* */
export const agreementOfModel = (bytes: Uint8Array, sizes: ChosenSizes = {}, options: DecodeOptions = {}): Agreement | undefined =>
  agreementOf({ ...modelPorts(bytes, sizes), ends: endsOf(bytes) }, options);
