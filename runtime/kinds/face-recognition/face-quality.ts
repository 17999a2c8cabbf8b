import type { Canvas } from '../../vision/pixels.js';

/** Distance of the eyes in the alignment template: with less, the aligned crop is enlarged. Pixels. */
const templateEyes = 35.2;
/** Where the nose is between eyes and mouth in the template, from the front. */
const templateNose = 0.49;
/** A face that looks away still has some worth. */
const leastFrontal = 0.05;

/**
 * How much a face can tell, by its size and by how far it looks at the camera: 0..1, above 0. Points as pairs: eyes, nose, corners of the mouth.
 */
export function poseQuality(points: Float32Array): number {
  const at = (i: number): [number, number] => [points[i * 2] ?? 0, points[i * 2 + 1] ?? 0];
  const [[lx, ly], [rx, ry], [nx, ny], [ax, ay], [bx, by]] = [at(0), at(1), at(2), at(3), at(4)];
  const eyes = Math.hypot(rx - lx, ry - ly);
  if (!(eyes > 0)) return leastFrontal * leastFrontal;
  // Coordinates along and across the line of the eyes, from their middle.
  const [ux, uy] = [(rx - lx) / eyes, (ry - ly) / eyes];
  const [mx, my] = [(lx + rx) / 2, (ly + ry) / 2];
  const across = (x: number, y: number): number => (y - my) * ux - (x - mx) * uy;
  const yaw = Math.abs((nx - mx) * ux + (ny - my) * uy) / (eyes / 2);
  const mouth = across((ax + bx) / 2, (ay + by) / 2);
  const pitch = mouth > 0 ? Math.abs(across(nx, ny) / mouth - templateNose) / templateNose : 1;
  const frontal = Math.max(leastFrontal, 1 - yaw) * Math.max(leastFrontal, 1 - pitch);
  return Math.min(1, eyes / templateEyes) * frontal;
}

/** How sharp an aligned face is: mean strength of the edges (Laplacian of the green channel) against its contrast, 0..1, above 0. */
export function sharpness({ width, height, channels, data }: Canvas): number {
  const value = (x: number, y: number): number => data[(y * width + x) * channels + (channels >> 1)] ?? 0;
  let edges = 0, sum = 0, squares = 0, count = 0;
  // The middle: corners of the crop hold the background. Every second pixel tells enough.
  for (let y = height >> 2; y < height - (height >> 2); y += 2) {
    for (let x = width >> 2; x < width - (width >> 2); x += 2) {
      const here = value(x, y);
      edges += Math.abs(4 * here - value(x - 1, y) - value(x + 1, y) - value(x, y - 1) - value(x, y + 1));
      sum += here;
      squares += here * here;
      count++;
    }
  }
  const deviation = Math.sqrt(Math.max(0, squares / count - (sum / count) ** 2));
  return Math.min(1, Math.max(0.01, edges / count / (4 * deviation + 1)));
}
