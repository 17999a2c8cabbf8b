/** A candidate that runs beside the package that serves, without anybody acting on what it finds. */
import type { AnySample } from '../../runtime/frame.js';
import type { Finding } from '../../runtime/stages/types.js';

/** What two packages must share for their findings to be comparable. */
export interface Vocabulary {
  /** Of the manifest's pipeline, such as `detection`. */
  kind: string;
  /** Names of its classes; empty when the package states none. */
  labels: readonly string[];
  embeddingSpaceId: string | null;
}

/** What a candidate made of one sample. */
export interface ShadowSample {
  findings: readonly Finding[];
  /** From the sample to the findings. */
  totalMs: number;
  /** Processor time of the whole process for it. */
  cpuMs: number;
  /** Modelled from that time. */
  joules: number;
}

export interface ShadowCandidate {
  readonly vocabulary: Vocabulary;
  /** Of its manifest. */
  readonly budget: { p99_ms: number; joules?: number | undefined };
  /** One at a time. @throws CandidateError: the candidate failed on this sample; AgentError E_OTA_GATE_*: its process has ended */
  process(sample: AnySample): Promise<ShadowSample>;
  /** Ends its process. Idempotent. */
  close(): void;
}
