/** The part of the runtime that the daemon needs. `inference/runtime-port.ts` binds it to the runtime; tests provide their own. */
import type { AnySample, Frame, FrameSource, Image, SampleSource, SoundSource } from '../../runtime/frame.js';
import type { Enrolment } from '../../runtime/pipeline/index.js';
import type { Gallery, Pipeline } from '../../runtime/pipeline/types.js';
import type { SternaError } from '../errors.js';
import type { AdaptCandidate } from './adapt.js';
import type { GalleryPlan, GateReport } from './package.js';
import type { ShadowCandidate, Vocabulary } from './shadow.js';
import type { FindingRules } from '../../runtime/vision/zones/settings.js';

/** Changes to what the package says. For absent fields the package's values hold. */
export interface PipelineOverrides {
  match_threshold?: number;
  detect_threshold?: number;
  tracking?: boolean;
  /** False means that every frame runs in full. */
  gates?: boolean;
  /** Distance at which a cell of the feature gate is active. */
  feature_threshold?: number;
}

/** A package opened on this device. */
export interface Model {
  readonly pipeline: Pipeline;
  /** What it can find. When it is absent, this is unknown, so the package is not compared with others. */
  readonly vocabulary?: Vocabulary;
  /** The budget for a frame that the manifest promises; absent when it promises none. */
  readonly budget?: { p99_ms: number };
  readonly galleryPlan?: GalleryPlan | null;
  /** Runs the golden vectors, a warm-up and timed runs. It does not touch the gallery and emits nothing. */
  selfTest(): Promise<GateReport>;
}

/** The package that a pipeline runs, as telemetry and `/metrics` show it. */
export interface RunningModel {
  name: string;
  version: string;
  /** The variant of the package that frames go through; null: its own networks. */
  variant: string | null;
  /** Memory of its sessions, bytes. */
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
  /** Samples a second (hertz). */
  rate: number;
  /** Number of samples in a chunk. */
  step: number;
}

/** Where the key of the gallery is. */
export interface GalleryKeySource {
  file: string;
  /** Whether to make the key when the file does not exist. It is not made when there is a gallery already that needs the lost key. */
  create: boolean;
}

/** How much time and memory the process that tests a package may take. */
export interface CandidateLimits {
  timeoutMs: number;
  /** Limit on resident memory, bytes. It is checked 20 times a second. */
  memoryBytes: number;
}

/** How to open a candidate that runs beside the serving package. */
export interface ShadowRequest {
  overrides: PipelineOverrides;
  rules: FindingRules;
  /** The gallery with which faces are compared; null when none is. */
  gallery: { path: string; key: GalleryKeySource } | null;
}

/** An error of the process that tests a package. It keeps its code and message; its original class cannot be sent between processes. */
export class CandidateError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

export interface RuntimePort {
  /**
   * @param overlay thresholds that this device adapted
   * @throws RuntimeError E_PACKAGE*, E_MODEL_*, E_ADAPT for an overlay of another package, ...; everything that was opened before the error is closed again
   */
  openModel(path: string, gallery: Gallery, overrides: PipelineOverrides, rules?: FindingRules, overlay?: Uint8Array): Promise<Model>;
  /** The name and version that a package states. None of its models is opened or run. @throws RuntimeError E_PACKAGE, E_PACKAGE_VERSION */
  describePackage(path: string): Promise<{ name: string; version: string }>;
  /**
   * Opens and tests a package in a process of its own. When the promise settles, that process and its memory are gone.
   * @throws errors as `openModel`; AgentError E_OTA_GATE_TIMEOUT, E_OTA_GATE_MEMORY, E_OTA_GATE_CRASH, E_OTA_GATE_KILLED; the signal's reason
   */
  testCandidate(path: string, limits: CandidateLimits, signal: AbortSignal): Promise<GateReport>;
  /**
   * Opens a package in a process of its own with the lowest priority, to run it beside the serving package. It runs without gates and without
   * tracking, so that its findings depend on the frame alone.
   * @throws as `testCandidate`
   */
  openShadow(path: string, request: ShadowRequest, limits: CandidateLimits, signal: AbortSignal): Promise<ShadowCandidate>;
  /** Opens a package in a process of its own with the lowest priority, to adapt its thresholds. Absent: thresholds are not adapted. @throws as `testCandidate` */
  openAdapt?(path: string, limits: CandidateLimits, signal: AbortSignal): Promise<AdaptCandidate>;
  /**
   * @param key null is allowed for ':memory:' only
   * @param onWarning called for samples that are damaged
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
