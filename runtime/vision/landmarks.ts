import type { Points } from './align.js';

/**
 * Reduces 68 landmarks (iBUG 300-W order: 17 jaw, 10 brows, 9 nose, 12 eyes, 20 mouth) to the five of the alignment
 * template: the centres of both eyes (mean of six points each), the tip of the nose, the corners of the mouth. The first
 * eye is the one on the picture's left.
 */
export function fivePoints(landmarks: Points): Float32Array {
  const result = new Float32Array(10);
  result.set(mean(landmarks, 36, 42), 0);
  result.set(mean(landmarks, 42, 48), 2);
  result.set(mean(landmarks, 30, 31), 4);
  result.set(mean(landmarks, 48, 49), 6);
  result.set(mean(landmarks, 54, 55), 8);
  return result;
}

function mean(points: Points, first: number, end: number): [number, number] {
  let x = 0;
  let y = 0;
  for (let i = first; i < end; i++) {
    x += points[i * 2] ?? 0;
    y += points[i * 2 + 1] ?? 0;
  }
  return [x / (end - first), y / (end - first)];
}
