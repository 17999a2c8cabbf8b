/** What the daemon and the process that tests a candidate say to each other: one request down, one answer up. */
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
  /** What the runtime port of the child is made of. */
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

export const answerSchema = z.union([
  z.object({ report: reportSchema }),
  z.object({ error: z.object({ code: z.string(), message: z.string() }) }),
]);
export type CandidateAnswer = z.infer<typeof answerSchema>;

/** When memory runs out, the kernel shall take such a process, and not the daemon whose camera and model are at work. */
export function volunteerForOom(): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', '1000');
  } catch {
    // Not Linux, or not allowed: then the limit on resident memory has to do.
  }
}

/**
 * The child's side: tests what the first message names, answers, and ends. It ends as well when the daemon does: a test has no meaning without it.
 * SIGTERM and SIGINT are the daemon's to obey (service managers and terminals send them to all processes of a group).
 */
export function serveCandidate(test: (request: CandidateRequest) => Promise<GateReport>): void {
  process.on('SIGTERM', () => undefined);
  process.on('SIGINT', () => undefined);
  process.once('disconnect', () => process.kill(process.pid, 'SIGKILL'));
  process.once('message', (message) => void answer(message, test));
}

async function answer(message: unknown, test: (request: CandidateRequest) => Promise<GateReport>): Promise<void> {
  let said: CandidateAnswer;
  try {
    said = { report: await test(requestSchema.parse(message)) };
  } catch (error) {
    said = { error: toCodedError(error) };
  }
  // Without waiting for threads that may never end: the answer is there, and the parent needs no more.
  process.send?.(said, () => process.kill(process.pid, 'SIGKILL'));
}
