import type { Classification } from '../../stages/types.js';
import { softmax } from '../softmax.js';
import type { ClassificationSettings } from './settings.js';

/** The best classes at or above the threshold, best first; equal scores keep the order of the output. NaN never counts. */
export function rankClasses(values: Float32Array, { activation, labels, top, score_threshold: threshold }: ClassificationSettings): Classification[] {
  const scores = activation === 'softmax' ? softmax(values) : values;
  return Array.from(scores.keys())
    .filter((index) => (scores[index] ?? 0) >= threshold)
    .sort((a, b) => (scores[b] ?? 0) - (scores[a] ?? 0) || a - b)
    .slice(0, top)
    .map((index) => ({ type: 'class', label: labels[index] ?? `class ${index}`, score: Math.min(1, scores[index] ?? 0) }));
}
