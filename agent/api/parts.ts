import type { TelemetryWindow } from '../contracts/index.js';
import type { Gallery, Image, RuntimePort } from '../ground/runtime.js';
import type { RecordingStore } from '../recordings/store.js';
import type { StreamParts } from './event-stream.js';
import type { GuardOptions } from './guard.js';

/** What the API shows and does. */
export interface ApiParts extends StreamParts {
  guard: () => GuardOptions;
  /** Bearer token that everything but `/health` (and on loopback `/metrics`) needs. */
  token: string;
  /** Overall state of the daemon, for people and for `sterna agent --status`. */
  status: () => Record<string, unknown>;
  health: () => { ok: boolean; reasons: string[] };
  latestTelemetry: () => TelemetryWindow | null;
  metrics: () => Promise<string>;
  /** @throws a coded error when the gallery cannot be used */
  gallery: () => Gallery;
  /** @throws AgentError E_RECORDINGS */
  recordings: () => RecordingStore;
  /** Whether at least one pipeline records at present. */
  recordingEnabled: () => boolean;
  /** Name of the person with this number; '' when nobody has it. */
  personName: (personId: number) => string;
  runtime: Pick<RuntimePort, 'decodeImage' | 'encodeJpeg'>;
  /** @param pipeline whose embedder is used; undefined means the first pipeline that has one @throws AgentError E_PIPELINE_UNKNOWN, E_NO_MODEL */
  enrol: (name: string, pictures: AsyncIterable<Image> | Iterable<Image>, pipeline?: string) => Promise<Record<string, unknown>>;
  /** The newest frame of the pipeline that `enrol` uses. @throws AgentError E_PIPELINE_UNKNOWN */
  enrolmentFrame: (pipeline?: string) => Image | null;
  /** @param pipeline undefined means the first pipeline @throws AgentError E_PIPELINE_UNKNOWN */
  latestFrame: (pipeline?: string) => (Image & { sequence: number }) | null;
}
