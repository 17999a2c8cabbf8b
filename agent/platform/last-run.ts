/**
 * Finds out how the run of the daemon before this one ended. Power cuts, kills and want of memory come from outside and say nothing about the package
 * that ran; a crash may be its fault. There are three sources: the journal (whether the run ended in order, and under which start of the kernel), a
 * note that a daemon leaves when it dies of an exception, and what systemd says (`ExecStopPost` of systemd/sternad.service).
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { DEFAULT_PIPELINE } from '../contracts/pipeline.js';

/**
 * How the run of the daemon before this one ended, as far as this device can tell. Only `crash` and `hang` count against the package that ran. `hang`
 * is a kill by the watchdog while the active package hung on one frame.
 */
export type RunEnd = 'clean' | 'power' | 'oom' | 'watchdog' | 'killed' | 'crash' | 'hang';

/** The note that a run writes at its start. It is deleted when the run ends in order. */
export interface RunRecord {
  pid: number;
  /** Which start of the kernel it was; null where that cannot be told. */
  kernel_boot: string | null;
  /** For each pipeline, the digest of the package that is being opened in the daemon's own process. */
  opening: Readonly<Record<string, string>>;
  /** Pipelines whose active package has worked on one frame for so long that the watchdog is no longer fed. */
  hung: readonly string[];
}

/** How the whole daemon ended, and what its note says about each pipeline. */
export interface LastRun {
  ended: RunEnd;
  opening: RunRecord['opening'];
  hung: RunRecord['hung'];
}

/** In versions with only one pipeline, `opening` was the digest or null, and `hung` said whether it hung. */
const runSchema = z.object({
  pid: z.number(),
  kernel_boot: z.string().nullable(),
  opening: z.union([z.record(z.string(), z.string()), z.string().nullable().transform((digest): Record<string, string> => (digest === null ? {} : { [DEFAULT_PIPELINE]: digest }))]),
  hung: z.union([z.array(z.string()), z.boolean().transform((hung) => (hung ? [DEFAULT_PIPELINE] : []))]).default([]),
});

/** Reads a note. Even a note that cannot be read says that a run did not end in order. */
export function readRunRecord(value: unknown): RunRecord {
  const parsed = runSchema.safeParse(value);
  return parsed.success ? parsed.data : { pid: 0, kernel_boot: null, opening: {}, hung: [] };
}

/**
 * What the end of the daemon means for one pipeline. A hang counts against the pipelines that hung. A crash while packages were opened counts against
 * the pipelines that opened them. For the other pipelines the end came from outside. Pure.
 */
export function endForPipeline({ ended, opening, hung }: LastRun, pipeline: string): { ended: RunEnd; opening: string | null } {
  const own = opening[pipeline] ?? null;
  if (ended === 'hang' && !hung.includes(pipeline)) return { ended: 'watchdog', opening: own };
  if (ended === 'crash' && own === null && Object.keys(opening).length > 0) return { ended: 'killed', opening: null };
  return { ended, opening: own };
}

export interface RunEvidence {
  kernelBoot: string | null;
  /** Id of the process that died of an exception of its own; null when none did. */
  crashedPid: number | null;
  /** `$SERVICE_RESULT`, `$EXIT_CODE` and `$EXIT_STATUS` of systemd.exec(5). */
  service: { result: string; code: string; status: string } | null;
}

const CRASH_NOTE = 'crash.json';
const SERVICE_NOTE = 'service-result';
const FAULTS: ReadonlySet<string> = new Set(['SEGV', 'BUS', 'ILL', 'FPE', 'ABRT', 'TRAP', 'SYS']);
const crashSchema = z.object({ pid: z.number().int() });

/** Decides from the evidence how a run ended. Pure. @param previous null when that run ended in order, or when there was none */
export function endOfRun(previous: RunRecord | null, { kernelBoot, crashedPid, service }: RunEvidence): RunEnd {
  if (previous === null) return 'clean';
  if (crashedPid !== null && crashedPid === previous.pid) return 'crash';
  if (previous.kernel_boot !== null && kernelBoot !== null && previous.kernel_boot !== kernelBoot) return 'power';
  switch (service?.result) {
    case 'watchdog': return previous.hung.length > 0 ? 'hang' : 'watchdog';
    case 'oom-kill': return 'oom';
    case 'core-dump': return 'crash';
    case 'signal': return FAULTS.has(service.status.replace(/^SIG/, '')) ? 'crash' : 'killed';
    default: return 'killed';
  }
}

/** Reads what the last run and systemd left in the state folder, and deletes it, because it is about that run only. */
export function takeRunEvidence(folder: string, kernelBoot: string | null): RunEvidence {
  const [result, code, status] = (take(join(folder, SERVICE_NOTE)) ?? '').trim().split(/\s+/);
  return {
    kernelBoot,
    crashedPid: crashedPid(take(join(folder, CRASH_NOTE))),
    service: result === undefined || result === '' ? null : { result, code: code ?? '', status: status ?? '' },
  };
}

/** Leaves a note that this process dies of an exception. It writes synchronously, because nothing asynchronous works any more. */
export function noteCrash(folder: string, error: unknown): void {
  try {
    const message = error instanceof Error ? error.message : String(error);
    writeFileSync(join(folder, CRASH_NOTE), JSON.stringify({ pid: process.pid, message: message.slice(0, 1000) }), { mode: 0o600 });
  } catch {
    // If the note cannot be written, the end counts as a kill, which never costs a good package.
  }
}

function crashedPid(text: string | null): number | null {
  try {
    return text === null ? null : crashSchema.parse(JSON.parse(text)).pid;
  } catch {
    return null;
  }
}

function take(path: string): string | null {
  try {
    const text = readFileSync(path, 'utf8');
    rmSync(path, { force: true });
    return text;
  } catch {
    return null; // The file is absent. (If it stays on a read-only disk, it is read again, but then it belongs to no journalled run.)
  }
}
