/** Somebody of the gallery. */
export interface Identity {
  personId: number;
  name: string;
  /** Cosine similarity, -1..1. */
  similarity: number;
}

/** Whether a face is that of somebody who is there, or of a picture. */
export interface Liveness {
  /** Probability that it is live, 0..1: mean of the sights of its track, the newest counting most. */
  score: number;
  live: boolean;
}

/** x, y, width, height in pixels of the frame; may reach beyond its borders. */
export type Box = readonly [number, number, number, number];

interface Labelled {
  label: string;
  /** 0..1 */
  score: number;
}

/** Something at a place in the frame. */
interface Located extends Labelled {
  box: Box;
  /** Pixel coordinates, when the pipeline finds them. */
  landmarks?: readonly (readonly [number, number])[];
  /** Who of the gallery it is; null when nobody matched, or when the face is not live; absent when nobody looked. */
  identity?: Identity | null;
  /** Of a face, where the pipeline has such a stage and somebody looked. */
  liveness?: Liveness;
  /** Names of the include zones that it is in, where there are any (runtime/vision/zones). */
  zones?: readonly string[];
}

/** An object or a face that a detector found in this frame, and that is not (yet) followed from frame to frame. */
export interface Detection extends Located {
  type: 'detection';
  /** Number of the track that it began. */
  track?: number;
}

/** An object or a face that is followed from frame to frame. */
export interface TrackFinding extends Located {
  type: 'track';
  /** From 1, in the order in which they were first seen; never used again by this pipeline. */
  track: number;
  /** `seen`: the detector found it in this frame. `held`: nothing moved at its place, so that nobody looked. */
  status: 'seen' | 'held';
  /** Since it was first seen. */
  ageMs: number;
  /** Of the centre of its box, pixels a second. */
  velocity: readonly [number, number];
}

/** What a whole sample shows. */
export interface Classification extends Labelled {
  type: 'class';
}

/** Something that is heard: decided over windows, with hysteresis. Its label and score are those of the class. */
export interface SoundEvent extends Labelled {
  type: 'sound';
  /** When the first window with it began, in the time of the samples (`mediaMs`, else `capturedMs`). */
  onsetMs: number;
  /** From the onset to the end of the newest window with it. */
  durationMs: number;
}

/** What a pipeline found in a sample: consumers render the types that they know, and the label and score of any other. */
export type Finding = Detection | TrackFinding | Classification | SoundEvent;

/** The findings that have a place in the frame. */
export function detectionsOf(findings: readonly Finding[]): (Detection | TrackFinding)[] {
  return findings.filter((finding) => finding.type === 'detection' || finding.type === 'track');
}
