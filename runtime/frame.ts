/** What a source delivers, whatever it is made of: a picture, or a piece of sound. Sources and stage clocks know no more of it. */
export interface Sample {
  /** Position in the stream, from 0, counting dropped samples too. */
  sequence: number;
  /** When the source was scheduled to deliver it: monotonic milliseconds (`performance.now()`). */
  capturedMs: number;
  /**
   * Position in the source's own time, for files and folders: what happens in a recording must not depend on how fast it is
   * read. Absent for live sources, whose time is `capturedMs`.
   */
  mediaMs?: number;
  /** Time to decode it, when that happened in this process (pictures; ffmpeg decodes video in its own). */
  decodeMs?: number;
}

/** A source of samples: files, video, camera, microphone, replay. Iterating starts it; breaking out or aborting stops it. */
export interface SampleSource<S extends Sample> extends AsyncIterable<S> {
  /** Samples that the consumer was too slow for (live sources drop the oldest; files never drop). */
  readonly dropped: number;
}

/** One picture: 8-bit RGB, row-major HWC, no padding between rows. */
export interface Image {
  width: number;
  height: number;
  /** width * height * 3 bytes. */
  data: Uint8Array;
}

/** A picture on its way through a pipeline. */
export interface Frame extends Image, Sample {}

/** A source of pictures. */
export type FrameSource = SampleSource<Frame>;
