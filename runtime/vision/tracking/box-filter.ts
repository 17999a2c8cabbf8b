import type { Box } from '../../stages/finding.js';

/** One coordinate that moves at a nearly constant speed: its value (pixels), its speed (pixels a second), and their covariance. */
interface Motion {
  value: number;
  speed: number;
  varValue: number;
  covariance: number;
  varSpeed: number;
}

/** Centre and size of a box, each with its speed. */
export interface BoxState {
  readonly x: Motion;
  readonly y: Motion;
  readonly width: Motion;
  readonly height: Motion;
}

/**
 * Noise, as multiples of the box's size (mean of width and height), so that people near and far are treated alike. A detector's box jitters by
 * some 5 %; a person who walks covers one height a second and a face four of its own sizes, and both turn around within a second.
 */
const noise = {
  measured: 0.05,
  /** Of a speed that nobody has measured yet, sizes a second. */
  firstSpeed: 2,
  /** White noise of the acceleration, sizes * s^-1.5. */
  acceleration: 2,
  /** The same for width and height, which change slowly. */
  growth: 0.5,
} as const;

/** Neither side of a box shrinks below this, pixels. */
const leastSide = 1;

/**
 * A Kalman filter of constant velocity over a box. Covariances of different coordinates are zero at the start, and nothing couples them: the
 * filter of eight values that trackers use (A. Bewley et al., "Simple online and realtime tracking", 2016) is exactly these four of two values.
 * Times are those of capture, so frames may come at any interval. Pure: every function returns a new state.
 */
export function startBox([left, top, width, height]: Box): BoxState {
  const size = (width + height) / 2;
  const start = (value: number): Motion => ({ value, speed: 0, varValue: (noise.measured * size) ** 2, covariance: 0, varSpeed: (noise.firstSpeed * size) ** 2 });
  return { x: start(left + width / 2), y: start(top + height / 2), width: start(width), height: start(height) };
}

/** The state `seconds` later, if nobody looks. */
export function predictBox(state: BoxState, seconds: number): BoxState {
  const size = sizeOf(state);
  const along = (motion: Motion, acceleration: number): Motion => predict(motion, seconds, (acceleration * size) ** 2);
  const side = (motion: Motion): Motion => {
    const next = along(motion, noise.growth);
    return next.value >= leastSide ? next : { ...next, value: leastSide, speed: 0 };
  };
  return { x: along(state.x, noise.acceleration), y: along(state.y, noise.acceleration), width: side(state.width), height: side(state.height) };
}

/** The state after the box was seen. `trust`: 1, or less for a box that the detector was not sure of. */
export function correctBox(state: BoxState, [left, top, width, height]: Box, trust = 1): BoxState {
  const variance = (noise.measured * sizeOf(state) / trust) ** 2;
  const correct = (motion: Motion, value: number): Motion => update(motion, value, variance);
  return { x: correct(state.x, left + width / 2), y: correct(state.y, top + height / 2), width: correct(state.width, width), height: correct(state.height, height) };
}

/** The state of something that is known to stand still: its place stays, and its speed is as unknown as at the start. */
export function restBox(state: BoxState): BoxState {
  return startBox(boxOf(state));
}

export function boxOf({ x, y, width, height }: BoxState): Box {
  const w = Math.max(leastSide, width.value), h = Math.max(leastSide, height.value);
  return [x.value - w / 2, y.value - h / 2, w, h];
}

const sizeOf = ({ width, height }: BoxState): number => (Math.max(leastSide, width.value) + Math.max(leastSide, height.value)) / 2;

/** White noise of the acceleration over a time t adds [t^3 / 3, t^2 / 2; t^2 / 2, t] times its intensity (Bar-Shalom et al., 2001, section 6.2.2). */
function predict({ value, speed, varValue, covariance, varSpeed }: Motion, t: number, intensity: number): Motion {
  return {
    value: value + speed * t,
    speed,
    varValue: varValue + t * (2 * covariance + t * varSpeed) + (intensity * t ** 3) / 3,
    covariance: covariance + t * varSpeed + (intensity * t ** 2) / 2,
    varSpeed: varSpeed + intensity * t,
  };
}

function update({ value, speed, varValue, covariance, varSpeed }: Motion, measured: number, variance: number): Motion {
  const total = varValue + variance;
  const gain = varValue / total, speedGain = covariance / total;
  const surprise = measured - value;
  return {
    value: value + gain * surprise,
    speed: speed + speedGain * surprise,
    varValue: varValue * (variance / total),
    covariance: covariance * (variance / total),
    varSpeed: varSpeed - speedGain * covariance,
  };
}
