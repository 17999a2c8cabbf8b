/** The messages between the daemon and the process that tests a candidate: one request to it, and one answer from it. */
import { writeFileSync } from 'node:fs';
import { z } from 'zod';
import { toCodedError } from '../errors.js';
import type { GateReport } from '../ground/package.js';

const requestSchema = z.object({
  path: z.string(),
  engine: z.unknown(),
});

export interface CandidateRequest {
  /** The package's file. */
  path: string;
  /** Configuration from which the child makes its runtime port. */
  engine: unknown;
}

const reportSchema: z.ZodType<GateReport> = z.object({
  name: z.string(),
  version: z.string(),
  memory_bytes: z.number(),
  golden: z.array(z.object({ name: z.string(), passed: z.boolean(), detail: z.string() })),
  p50_ms: z.number().nullable(),
  p99_ms: z.number().nullable(),
  energy: z.object({ joules: z.number(), source: z.string() }).nullable(),
  embedding_space_id: z.string().nullable(),
  gallery_plan: z.enum(['re-embed', 'enroll']).nullable(),
  budget: z.object({ ram_bytes: z.number(), p99_ms: z.number(), joules: z.number().optional() }),
});

/** What each process beside the daemon answers when it fails. */
export const failedSchema = z.object({ error: z.object({ code: z.string(), message: z.string() }) });
export type Failed = z.infer<typeof failedSchema>;

export const answerSchema = z.union([z.object({ report: reportSchema }), failedSchema]);
export type CandidateAnswer = z.infer<typeof answerSchema>;

/** Asks the kernel to choose this process first when memory runs out, so that it does not kill the daemon, whose camera and model are at work. */
export function volunteerForOom(): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', '1000');
  } catch {
    // The system is not Linux, or does not allow it; only the limit on resident memory then protects the daemon.
  }
}

/**
 * Ends this process when the daemon ends, because nobody then needs its answers. It ignores SIGTERM and SIGINT, because service managers and
 * terminals send them to every process of a group, and the daemon alone decides when this process ends.
 */
export function obeyDaemonAlone(): void {
  process.on('SIGTERM', () => undefined);
  process.on('SIGINT', () => undefined);
  process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'));
}

/** The child's side: it tests the package that the first message names, answers, and ends. */
export function serveCandidate(test: (request: CandidateRequest) => Promise<GateReport>): void {
  obeyDaemonAlone();
  process.once('message', (message) => void answer(message, test));
}

async function answer(message: unknown, test: (request: CandidateRequest) => Promise<GateReport>): Promise<void> {
  let said: CandidateAnswer;
  try {
    said = { report: await test(requestSchema.parse(message)) };
  } catch (error) {
    said = { error: toCodedError(error) };
  }
  // The process kills itself so as not to wait for threads that may never end. The parent has the answer, and needs no more.
  process.send?.(said, () => process.kill(process.pid, 'SIGKILL'));
}
