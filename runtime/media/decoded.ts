import type { Image } from '../frame.js';

/** A picture on its way out of a decoder, with the rate at which its source should play. */
export interface Decoded extends Image {
  fps: number;
  decodeMs?: number;
  /** As in Frame. */
  still?: boolean;
  /** When it was complete, monotonic milliseconds, if that was before it was decoded. */
  arrivedMs?: number;
}

/** What a decoder left out, added up. */
export interface Tally {
  /** Pictures that were older than the newest one when there was time to decode them. */
  dropped: number;
  /** Pictures that were damaged. */
  broken: number;
}

export type Decoder = (signal: AbortSignal, tally: Tally) => AsyncGenerator<Decoded, void, undefined>;

/** Pictures of so many pixels at most: 3 bytes each, a larger one would not fit beside a model on a small device. */
export const maxStreamPixels = 64 * 2 ** 20;
/** Rate of a source that does not state one. */
export const videoFps = 25;
