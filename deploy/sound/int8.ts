/** The student in int8, and how much of the float student's answers it keeps. */
import { quantizeModel, type QuantizeResult } from '../../runtime/quantize/quantize.js';
import type { Tensor } from '../../runtime/tensor.js';
import { cosineSimilarity } from '../../runtime/vision/embedding.js';
import { edgeNodes, type Net } from './student.js';

/**
 * Converts a student to int8.
 * - The first convolution, which reads the features, and the head stay float: the features in 8 bits alone make two fifths of the error of the logits, and
 *   the head adds two products that nearly cancel. Together they have 3 % of the multiply-adds.
 * - Ranges are those with the least error of each tensor. Choosing them by the outputs fails here: the student knows its recordings by heart, so that all
 *   its probabilities are 0 or 1, whatever the ranges are.
 * - Channels are not equalized between layers, because each channel of the weights has a scale of its own.
 * @param calibration patches that it learned from
 * @throws RuntimeError E_MODEL_*, E_QUANTIZE
 */
export function toInt8(float: Uint8Array, calibration: readonly Readonly<Record<string, Tensor>>[], net: Pick<Net, 'pools'>): Promise<QuantizeResult> {
  return quantizeModel(float, calibration, { method: 'mse', equalize: false, exclude: edgeNodes(net) });
}

/** How much two students agree on the same patches. */
export interface Agreement {
  /** Share of the patches to which both give the same class. */
  classes: number;
  /** Mean cosine of their logits, centred over the classes: it tells more than recordings, of which one is worth 0.3 points. */
  cosine: number;
}

/** @param probabilities of the classes with a sum of 1, patch by patch */
export function agreementOf(probabilities: readonly Float32Array[], others: readonly Float32Array[]): Agreement {
  let [same, cosines] = [0, 0];
  probabilities.forEach((own, i) => {
    const other = others[i] ?? own;
    if (top(own) === top(other)) same++;
    cosines += cosineSimilarity(logitsOf(own), logitsOf(other));
  });
  return { classes: same / probabilities.length, cosine: cosines / probabilities.length };
}

const top = (scores: Float32Array): number => scores.indexOf(Math.max(...scores));

/** Probabilities below this are as good as none, and their logarithms would weigh the more, the less they say. */
const least = 1e-8;

function logitsOf(probabilities: Float32Array): Float64Array {
  const logits = Float64Array.from(probabilities, (p) => Math.log(Math.max(p, least)));
  const mean = logits.reduce((sum, value) => sum + value, 0) / logits.length;
  return logits.map((value) => value - mean);
}
