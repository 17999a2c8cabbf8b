/** Somebody of the gallery. */
export interface Identity {
  personId: number;
  name: string;
  /** Cosine similarity, -1..1. */
  similarity: number;
}

/** x, y, width, height in pixels of the frame; may reach beyond its borders. */
export type Box = readonly [number, number, number, number];

interface Labelled {
  label: string;
  /** 0..1 */
  score: number;
}

/** An object or a face, somewhere in a frame. */
export interface Detection extends Labelled {
  type: 'detection';
  box: Box;
  /** Pixel coordinates, when the pipeline finds them. */
  landmarks?: readonly (readonly [number, number])[];
  /** The gallery's best match at or above the threshold; null when nobody matched; absent when not embedded. */
  identity?: Identity | null;
  /** Number of the track that it belongs to, when the pipeline follows objects from frame to frame. */
  track?: number;
}

/** What a whole sample shows. */
export interface Classification extends Labelled {
  type: 'class';
}

/** What a pipeline found in a sample: consumers render the types that they know, and the label and score of any other. */
export type Finding = Detection | Classification;

/** The findings that have a place in the frame. */
export function detectionsOf(findings: readonly Finding[]): Detection[] {
  return findings.filter((finding) => finding.type === 'detection');
}
