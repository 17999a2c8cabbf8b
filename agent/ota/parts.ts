/** The parts from which the manager of deployments is built. */
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

/** The functions with which the manager changes the running pipeline. */
export interface ModelHost {
  open(path: string): Promise<Model>;
  /** The name and version that the package states. Its models are not opened. */
  describe(path: string): Promise<{ name: string; version: string }>;
  /** Opens and tests a package in a process of its own; see `RuntimePort.testCandidate`. */
  test(path: string, signal: AbortSignal): Promise<GateReport>;
  /** Opens a package in a process of its own, to run beside the serving one; see `RuntimePort.openShadow`. */
  shadow(path: string, signal: AbortSignal): Promise<ShadowCandidate>;
  /** The package that serves, while frames come; null when there is none, when no frames come, and for a microphone. */
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
  /** File of the factory package; null when there is none. */
  factory: string | null;
  /** Milliseconds that the daemon may take to open a package which passed its test. */
  openTimeoutMs: number;
  /** Milliseconds between attempts to write the journal on a full disk. */
  journalRetryMs: number;
  /** Each `desired` that is taken costs a durable transaction, so at most one is taken in this time. Milliseconds; 250 by default. */
  desiredIntervalMs?: number;
  limits: OtaLimits;
}

export type Announcement = Extract<OtaEffect, { type: 'announce' }>;

export interface OtaParts {
  journal: PipelineJournal;
  store: PackageStore;
  pointer: Pick<PointerFile, 'read' | 'write' | 'removeAbandoned'>;
  host: ModelHost;
  link: BlockLink;
  /** The present rules. Settings can change them. */
  rules: () => UpdateRules;
  clock: Clock;
  log: Log;
  /** How the run before this one ended, and what it was opening. */
  lastRun: { ended: RunEnd; opening: string | null };
  /** Called when the state or the progress has changed. */
  onChange: () => void;
  onAnnounce: (announcement: Announcement) => void;
  /** Called for trouble other than a rejected package: a journal that cannot be written, a slot that cannot be opened. */
  onFault: (error: CodedError) => void;
  /** Called when everything that could not be written is on the disk. Faults with the codes of a disk are over then. */
  onWritten?: () => void;
  /** Called with the settings of a `desired` that is taken, before its package is handled. If it throws, the `desired` is tried again later. */
  onSettings?: (settings: Settings) => void;
  /**
   * Called when the daemon itself begins to open this package, and with null when it is done. If the daemon crashes in between, the next start knows
   * which package was being opened.
   */
  onOpening?: (digest: string | null) => void;
}

/** The part of `desired` that concerns a pipeline's package and settings. */
export interface Wanted {
  generation: number;
  package: DesiredPackage | null;
  settings?: Settings;
}
