import { blockCount, SCHEMA_VERSION, type PipelineReport, type Reported, type Settings } from '../contracts/index.js';
import type { CodedError } from '../errors.js';
import type { AdaptReport } from '../ground/adapt.js';
import type { ActiveFault } from '../ground/faults.js';
import type { ShadowReport } from '../ground/package.js';
import type { DownloadProgress } from '../ota/download.js';
import type { OtaState } from '../ota/state.js';

export interface ReportedPipeline {
  name: string;
  input: string;
  ota: OtaState;
  /** Progress of the last download in this run; null before the first. */
  progress: DownloadProgress | null;
  shadow: ShadowReport | null;
  /** What became of people whom another embedder enrolled. */
  gallery: NonNullable<PipelineReport['gallery']> | null;
  /** Absent where thresholds are not adapted. */
  adapt?: AdaptReport;
  settings: Settings;
  /** The last `desired` that was refused; null when the newest was taken. */
  refused: (CodedError & { generation: number }) | null;
}

export interface ReportedParts {
  bootId: string;
  timeMs: number;
  clockSynchronized: boolean;
  trust: NonNullable<Reported['trust']>;
  labels: Readonly<Record<string, string>>;
  pipelines: readonly ReportedPipeline[];
  /** The faults that last at present. */
  faults: readonly ActiveFault[];
  lastError: (CodedError & { time_ms: number }) | null;
}

/** Makes the report that shows the fleet the state of the journal. */
export function buildReported(parts: ReportedParts): Reported {
  return {
    schema_version: SCHEMA_VERSION,
    boot_id: parts.bootId,
    time_ms: parts.timeMs,
    clock_synchronized: parts.clockSynchronized,
    trust: parts.trust,
    labels: { ...parts.labels },
    pipelines: parts.pipelines.map(reportOf),
    faults: parts.faults.slice(0, 32).map(({ pipeline, component, error }) => ({ pipeline, component, code: error.code.slice(0, 256), message: error.message.slice(0, 512) })),
    last_error: parts.lastError === null ? null : { ...parts.lastError, message: parts.lastError.message.slice(0, 4096) },
  };
}

function transferOf({ bytes, pace, waitMs, etaMs, source, webError }: DownloadProgress): NonNullable<PipelineReport['ota']['transfer']> {
  return {
    bytes_done: bytes.done, bytes_total: bytes.total, received_bytes: pace.receivedBytes, bytes_per_s: pace.bytesPerS,
    eta_s: etaMs === null ? null : Math.ceil(etaMs / 1000), waiting: pace.waiting, wait_s: waitMs === null ? null : Math.ceil(waitMs / 1000),
    source, web_error: webError === null ? null : { code: webError.code.slice(0, 256), message: webError.message.slice(0, 1024) },
  };
}

function reportOf({ name, input, ota, progress, shadow, gallery, adapt, settings, refused }: ReportedPipeline): PipelineReport {
  const candidate = ota.candidate;
  const total = candidate === null ? 0 : progress?.pieces.total ?? (candidate.chunks === undefined ? blockCount(candidate.size_bytes, candidate.block_bytes) : 0);
  const partial = ota.phase === 'checking' || ota.phase === 'downloading' || ota.phase === 'rejected';
  return {
    name,
    input,
    generation_seen: ota.generation_seen,
    generation_applied: ota.generation_applied,
    ota: {
      state: ota.phase,
      package: candidate === null ? null : { name: candidate.name, version: candidate.version, digest: candidate.digest, size_bytes: candidate.size_bytes },
      blocks_done: partial ? Math.min(progress?.pieces.done ?? 0, total) : total,
      blocks_total: total,
      ...(ota.phase === 'downloading' && progress !== null ? { transfer: transferOf(progress) } : {}),
      error: ota.error === null ? null : { code: ota.error.code.slice(0, 256), message: ota.error.message.slice(0, 4096) },
      ...(shadow === null ? {} : { shadow }),
    },
    slots: { active: ota.active, previous: ota.previous },
    probation: ota.probation !== null,
    ...(gallery === null ? {} : { gallery }),
    ...(adapt === undefined || adapt.state === 'off' ? {} : { adapt: { ...adapt, state: adapt.state } }),
    settings,
    refused: refused === null ? null : { generation: refused.generation, code: refused.code.slice(0, 256), message: refused.message.slice(0, 1024) },
  };
}
