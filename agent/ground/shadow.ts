/** A candidate that runs beside the serving package. Its findings are compared, but nothing acts on them. */
import type { AnySample } from '../../runtime/frame.js';
import type { Finding } from '../../runtime/stages/types.js';

/** What two packages must share for their findings to be comparable. */
export interface Vocabulary {
  /** Kind of the manifest's pipeline, such as `detection`. */
  kind: string;
  /** Names of the classes that it can find; empty when the package states none. */
  labels: readonly string[];
  embeddingSpaceId: string | null;
}

/** What a candidate made of one sample. */
export interface ShadowSample {
  findings: readonly Finding[];
  /** Time from the sample to the findings. Milliseconds. */
  totalMs: number;
  /** Processor time of the whole process for this sample. Milliseconds. */
  cpuMs: number;
  /** Energy, modelled from the processor time. */
  joules: number;
}

export interface ShadowCandidate {
  readonly vocabulary: Vocabulary;
  /** The budget in its manifest. */
  readonly budget: { p99_ms: number; joules?: number | undefined };
  /** How it wants sound to be cut, samples a second and samples in a chunk; null when it sees. */
  readonly sound: { rate: number; step: number } | null;
  /**
   * Processes one sample at a time: a frame, or a stretch of sound of its rate, of which the findings are those at its end, and time and energy those of one chunk.
   * @throws CandidateError when the candidate failed on this sample; AgentError E_OTA_GATE_* when its process has ended, E_OTA_SHADOW_LATENCY when it
   * gives no answer in time
   */
  process(sample: AnySample): Promise<ShadowSample>;
  /** Ends its process. Idempotent. */
  close(): void;
}
