/** What the daemon needs of the runtime, and no more: `inference/runtime-port.ts` binds it, tests bring their own. */
import type { AnySample, Frame, FrameSource, Image, SampleSource, SoundSource } from '../../runtime/frame.js';
import type { Enrolment } from '../../runtime/pipeline/index.js';
import type { Gallery, Pipeline } from '../../runtime/pipeline/types.js';
import type { SternaError } from '../errors.js';
import type { GalleryPlan, GateReport } from './package.js';
import type { ShadowCandidate, Vocabulary } from './shadow.js';
import type { FindingRules } from '../../runtime/vision/zones/settings.js';

/** Changes to what the package says; absent fields keep its values. */
export interface PipelineOverrides {
  match_threshold?: number;
  detect_threshold?: number;
  tracking?: boolean;
  /** False: every frame runs in full. */
  gates?: boolean;
  /** Distance at which a cell of the feature gate is active. */
  feature_threshold?: number;
}

/** A package opened on this device. */
export interface Model {
  readonly pipeline: Pipeline;
  /** What it can find; absent: not known, so it is not compared with others. */
  readonly vocabulary?: Vocabulary;
  /** What its manifest promises of a frame; absent: nothing. */
  readonly budget?: { p99_ms: number };
  readonly galleryPlan?: GalleryPlan | null;
  /** Golden vectors, warm-up and timed runs. It does not touch the gallery and emits nothing. */
  selfTest(): Promise<GateReport>;
}

/** The package that a pipeline runs, as telemetry and `/metrics` show it. */
export interface RunningModel {
  name: string;
  version: string;
  /** Of its sessions. */
  memoryBytes: number;
  gates?: Pipeline['gates'];
}

export interface SourceRequest {
  input: string;
  fps: number | undefined;
  loop: boolean;
  realtime: boolean;
  maxSide: number | undefined;
  stallMs: number;
  signal: AbortSignal;
}

export interface SoundRequest extends Pick<SourceRequest, 'input' | 'loop' | 'realtime' | 'stallMs' | 'signal'> {
  /** Samples a second. */
  rate: number;
  /** Samples of a chunk. */
  step: number;
}

/** Where the key of the gallery is. */
export interface GalleryKeySource {
  file: string;
  /** Make it when it is not there, unless there is a gallery that needs one already. */
  create: boolean;
}

/** What the process that tests a package may take. */
export interface CandidateLimits {
  timeoutMs: number;
  /** Resident, bytes; looked at 20 times a second. */
  memoryBytes: number;
}

/** How a candidate is opened that runs beside the serving package. */
export interface ShadowRequest {
  overrides: PipelineOverrides;
  rules: FindingRules;
  /** Whom it compares faces with; null: nobody. */
  gallery: { path: string; key: GalleryKeySource } | null;
}

/** Errors of the process that tests a package. They keep their code and message; which class they had is lost on the way. */
export class CandidateError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export interface RuntimePort {
  /** @throws RuntimeError E_PACKAGE*, E_MODEL_*, ...: then nothing stays open */
  openModel(path: string, gallery: Gallery, overrides: PipelineOverrides, rules?: FindingRules): Promise<Model>;
  /** What a package calls itself. Nothing of it is opened or run. @throws RuntimeError E_PACKAGE, E_PACKAGE_VERSION */
  describePackage(path: string): Promise<{ name: string; version: string }>;
  /**
   * Opens and tests a package in a process of its own, of which nothing is left afterwards.
   * @throws errors as `openModel`; AgentError E_OTA_GATE_TIMEOUT, E_OTA_GATE_MEMORY, E_OTA_GATE_CRASH, E_OTA_GATE_KILLED; the signal's reason
   */
  testCandidate(path: string, limits: CandidateLimits, signal: AbortSignal): Promise<GateReport>;
  /**
   * Opens a package in a process of its own with the lowest priority, to run it beside the one that serves: without gates and without tracking, so
   * that its findings depend on the frame alone.
   * @throws as `testCandidate`
   */
  openShadow(path: string, request: ShadowRequest, limits: CandidateLimits, signal: AbortSignal): Promise<ShadowCandidate>;
  /**
   * @param key null for ':memory:' only
   * @param onWarning told of samples that are damaged
   * @throws RuntimeError E_GALLERY; E_GALLERY_KEY when the key is lost, malformed or another one, or cannot be made
   */
  openGallery(path: string, key: GalleryKeySource | null, onWarning?: (warning: SternaError) => void): Gallery;
  /** @throws RuntimeError E_GALLERY when no picture is usable, with the reasons */
  enrol(pipeline: Pipeline, gallery: Gallery, name: string, pictures: AsyncIterable<Image> | Iterable<Image>): Promise<Enrolment>;
  openSource(request: SourceRequest): FrameSource;
  /** @throws RuntimeError E_MEDIA, E_FFMPEG_MISSING */
  openSound(request: SoundRequest): SoundSource;
  /** @throws RuntimeError E_MEDIA, also for a picture of more than `maxPixels` */
  decodeImage(bytes: Uint8Array, options: { maxPixels: number }): Promise<Image>;
  encodeJpeg(image: Image, options?: { maxWidth: number; quality: number }): Promise<Uint8Array>;
}

export type { AnySample, Frame, FrameSource, Gallery, Image, Pipeline, SampleSource, SoundSource };
