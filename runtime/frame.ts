/** One sample of a source, such as a picture or a piece of sound. These fields are all that sources and stage clocks use. */
export interface Sample {
  /** Position in the stream, from 0, counting dropped samples too. */
  sequence: number;
  /** When the source was scheduled to deliver it: monotonic milliseconds (`performance.now()`). */
  capturedMs: number;
  /**
   * Position in the source's own time, for files and folders, because results must not depend on how fast a recording is
   * read. Absent for live sources, whose time is `capturedMs`.
   */
  mediaMs?: number;
  /** A picture by itself: it has nothing to do with the one before it, so nothing can be followed from one to the other. */
  still?: boolean;
  /** Time to decode the frame, if this process decoded it (pictures; ffmpeg decodes video in its own process). */
  decodeMs?: number;
}

/** The clock of a live source beside that of the system. */
export interface ClockEstimate {
  /** How much faster the samples come than their rate says, in millionths. */
  readonly driftPpm: number;
  /** How unevenly they come. */
  readonly jitterMs: number;
}

/** A source of samples: files, video, camera, microphone, replay. Iterating starts it; breaking out or aborting stops it. */
export interface SampleSource<S extends Sample> extends AsyncIterable<S> {
  /** Samples that the consumer was too slow for (live sources drop the oldest; files never drop). */
  readonly dropped: number;
  /** Samples that were damaged on their way and left out or repaired, as far as the source can tell; absent where it cannot. */
  readonly broken?: number;
  /** Of a live source of sound, once it can be told. */
  readonly clock?: ClockEstimate | null;
}

/** The time that results go by, milliseconds: the source's own where it has one. */
export const timeOf = ({ mediaMs, capturedMs }: Sample): number => mediaMs ?? capturedMs;

/** One picture: 8-bit RGB, row-major HWC, no padding between rows. */
export interface Image {
  width: number;
  height: number;
  /** width * height * 3 bytes. */
  data: Uint8Array;
}

/** A picture on its way through a pipeline. */
export interface Frame extends Image, Sample {}

/** A piece of sound on its way through a pipeline; `capturedMs` is when its first sample was captured. */
export interface AudioChunk extends Sample {
  /** Samples a second. */
  rate: number;
  /** One channel, full scale -1..1. */
  samples: Float32Array;
}

/** A source of sound, and what its clock is like. */
export interface SoundSource extends SampleSource<AudioChunk> {
  readonly clock: ClockEstimate | null;
}

/** Whatever a pipeline processes. */
export type AnySample = Frame | AudioChunk;

export const isSound = (sample: AnySample): sample is AudioChunk => 'samples' in sample;

/** A source of pictures. */
export type FrameSource = SampleSource<Frame>;
