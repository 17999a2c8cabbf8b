/** What the manager of deployments is built from. */
import type { DesiredPackage, Settings } from '../contracts/index.js';
import type { CodedError } from '../errors.js';
import type { Running } from '../ground/frames.js';
import type { Model } from '../ground/runtime.js';
import type { ShadowCandidate } from '../ground/shadow.js';
import type { Clock } from '../platform/clock.js';
import type { RunEnd } from '../platform/last-run.js';
import type { Log } from '../platform/log.js';
import type { BlockLink } from './block-fetch.js';
import type { DownloadOptions } from './download.js';
import type { GateReport, Slot } from '../ground/package.js';
import type { OtaEffect, OtaLimits } from './machine.js';
import type { UpdateRules } from '../ground/update-rules.js';
import type { PipelineJournal } from './pipeline-journal.js';
import type { PointerFile } from './pointer-file.js';
import type { PackageStore } from './store.js';

/** The running pipeline, as the manager moves it. */
export interface ModelHost {
  open(path: string): Promise<Model>;
  /** What the package calls itself, without opening its models. */
  describe(path: string): Promise<{ name: string; version: string }>;
  /** Opens and tests a package in a process of its own; see `RuntimePort.testCandidate`. */
  test(path: string, signal: AbortSignal): Promise<GateReport>;
  /** Opens a package in a process of its own, to run beside the serving one; see `RuntimePort.openShadow`. */
  shadow(path: string, signal: AbortSignal): Promise<ShadowCandidate>;
  /** The package that serves, while frames come. */
  serving(): Running | null;
  /** How many enrolled people an embedder of this space would not recognize any more. */
  peopleLost(embeddingSpaceId: string): number;
  /** Whether heat slows the processor down now. */
  throttled(): Promise<boolean>;
  /** Puts a model (or none) in place between two frames, then closes the old one. */
  switchTo(model: Model | null, slot: Slot | null): Promise<void>;
}

export interface OtaOptions extends DownloadOptions {
  maxPackageBytes: number;
  /** File of the factory package; null: there is none. */
  factory: string | null;
  /** For the daemon itself to open a package that passed its test. */
  openTimeoutMs: number;
  /** Between attempts to write the journal on a full disk. */
  journalRetryMs: number;
  limits: OtaLimits;
}

export type Announcement = Extract<OtaEffect, { type: 'announce' }>;

export interface OtaParts {
  journal: PipelineJournal;
  store: PackageStore;
  pointer: Pick<PointerFile, 'read' | 'write' | 'removeAbandoned'>;
  host: ModelHost;
  link: BlockLink;
  /** The rules of now: settings change them. */
  rules: () => UpdateRules;
  clock: Clock;
  log: Log;
  /** How the run before this one ended, and what it was opening. */
  lastRun: { ended: RunEnd; opening: string | null };
  /** The state or the progress changed. */
  onChange: () => void;
  onAnnounce: (announcement: Announcement) => void;
  /** Trouble that is not a rejected package: a journal that cannot be written, a slot that cannot be opened. */
  onFault: (error: CodedError) => void;
  /** The settings of a `desired` that is taken, before its package. */
  onSettings?: (settings: Settings) => void;
  /** The daemon itself opens this package now, or (null) is done: if it crashes meanwhile, the next start knows on what. */
  onOpening?: (digest: string | null) => void;
}

/** What of `desired` concerns this device's package and settings. */
export interface Wanted {
  generation: number;
  package: DesiredPackage | null;
  settings?: Settings;
}
