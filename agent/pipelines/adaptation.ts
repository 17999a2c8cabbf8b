/** What adaptation of thresholds needs of a pipeline, put together. */
import { basename } from 'node:path';
import { ThresholdAdapter, type AdapterParts } from '../adapt/adapter.js';
import { OverlayFiles } from '../adapt/overlay-files.js';
import type { Config } from '../config/schema.js';
import { pipelineSpecs } from '../config/pipelines.js';
import type { RuntimePort } from '../ground/runtime.js';
import type { PackageStore } from '../ota/store.js';
import { isBusy, type OtaState } from '../ota/state.js';

interface AdaptationParts extends Pick<AdapterParts, 'reload' | 'clock' | 'onChange' | 'onOutcome' | 'rests'> {
  enabled: boolean;
  config: Config;
  runtime: RuntimePort;
  store: PackageStore;
  /** Folder of the store. */
  folder: string;
  sees: boolean;
}

/** The digest of a package of the store; null for the factory package, which is never adapted. */
export const storedDigest = (path: string): string | null => /^([0-9a-f]{64})\.sterna$/.exec(basename(path))?.[1] ?? null;

/** Why adaptation must rest; null: it need not. */
export function restsFor(state: OtaState, { gate, pace, variant }: { gate: number; pace: number; variant: string | null }): string | null {
  if (isBusy(state)) return 'an update is under way';
  if (state.probation !== null) return 'the package is in its probation';
  return gate > 1 || pace < 1 || variant !== null ? 'the governor saves heat or energy' : null;
}

export function createAdapter({ enabled, config, runtime, store, folder, sees, ...rest }: AdaptationParts): ThresholdAdapter {
  const { adapt, ota } = config;
  const open = sees ? runtime.openAdapt?.bind(runtime) : undefined;
  const limits = { timeoutMs: ota.warm_timeout_ms, memoryBytes: adapt.memory_bytes };
  return new ThresholdAdapter(enabled, {
    ...rest,
    files: new OverlayFiles(folder),
    open: open === undefined ? null : (digest, signal) => open(store.path(digest), limits, signal),
    limits: { cpuShare: adapt.cpu_share / pipelineSpecs(config).length, frames: adapt.frames, judged: adapt.judged_frames, everyMs: adapt.every_ms },
  });
}
