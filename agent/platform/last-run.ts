/**
 * How the run of the daemon before this one ended. Power cuts, kills and want of memory come from outside and say nothing about the package that ran;
 * a crash may. Sources: the journal (was the run ended in order, and under which start of the kernel), a note that a dying daemon leaves of an
 * exception, and what systemd says (`ExecStopPost` of systemd/sternad.service).
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { DEFAULT_PIPELINE } from '../contracts/pipeline.js';

/**
 * How the run of the daemon before this one ended, as far as this device can tell. Only `crash` and `hang` speak against what ran; `hang` is a kill by
 * the watchdog while the active package worked on one frame without an end.
 */
export type RunEnd = 'clean' | 'power' | 'oom' | 'watchdog' | 'killed' | 'crash' | 'hang';

/** What a run writes at its start; it is taken back when the run ends in order. */
export interface RunRecord {
  pid: number;
  /** Which start of the kernel; null where that cannot be told. */
  kernel_boot: string | null;
  /** By pipeline, the digest of the package that is being opened in the daemon's own process. */
  opening: Readonly<Record<string, string>>;
  /** Pipelines whose active package works on one frame for so long that the watchdog is not fed any more. */
  hung: readonly string[];
}

/** How the whole daemon ended, with what its note says about each pipeline. */
export interface LastRun {
  ended: RunEnd;
  opening: RunRecord['opening'];
  hung: RunRecord['hung'];
}

/** In versions with one pipeline: the digest or null, and whether it hung. */
const runSchema = z.object({
  pid: z.number(),
  kernel_boot: z.string().nullable(),
  opening: z.union([z.record(z.string(), z.string()), z.string().nullable().transform((digest): Record<string, string> => (digest === null ? {} : { [DEFAULT_PIPELINE]: digest }))]),
  hung: z.union([z.array(z.string()), z.boolean().transform((hung) => (hung ? [DEFAULT_PIPELINE] : []))]).default([]),
});

/** A note as it was read back. One that cannot be read still says that a run did not end in order. */
export function readRunRecord(value: unknown): RunRecord {
  const parsed = runSchema.safeParse(value);
  return parsed.success ? parsed.data : { pid: 0, kernel_boot: null, opening: {}, hung: [] };
}

/**
 * What the end of the daemon means for one pipeline: a hang is that of the pipelines that hung, and a crash while packages were opened is that of
 * their pipelines. For the others it came from outside. Pure.
 */
export function endForPipeline({ ended, opening, hung }: LastRun, pipeline: string): { ended: RunEnd; opening: string | null } {
  const own = opening[pipeline] ?? null;
  if (ended === 'hang' && !hung.includes(pipeline)) return { ended: 'watchdog', opening: own };
  if (ended === 'crash' && own === null && Object.keys(opening).length > 0) return { ended: 'killed', opening: null };
  return { ended, opening: own };
}

export interface RunEvidence {
  kernelBoot: string | null;
  /** The process that died of an exception of its own. */
  crashedPid: number | null;
  /** `$SERVICE_RESULT`, `$EXIT_CODE` and `$EXIT_STATUS` of systemd.exec(5). */
  service: { result: string; code: string; status: string } | null;
}

const CRASH_NOTE = 'crash.json';
const SERVICE_NOTE = 'service-result';
const FAULTS: ReadonlySet<string> = new Set(['SEGV', 'BUS', 'ILL', 'FPE', 'ABRT', 'TRAP', 'SYS']);
const crashSchema = z.object({ pid: z.number().int() });

/** Pure. @param previous null: that run ended in order, or there was none */
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

/** Reads what the last run and systemd left in the state folder, and takes it away: it is about that run only. */
export function takeRunEvidence(folder: string, kernelBoot: string | null): RunEvidence {
  const [result, code, status] = (take(join(folder, SERVICE_NOTE)) ?? '').trim().split(/\s+/);
  return {
    kernelBoot,
    crashedPid: crashedPid(take(join(folder, CRASH_NOTE))),
    service: result === undefined || result === '' ? null : { result, code: code ?? '', status: status ?? '' },
  };
}

/** For a process that dies of an exception: nothing asynchronous works any more. */
export function noteCrash(folder: string, error: unknown): void {
  try {
    const message = error instanceof Error ? error.message : String(error);
    writeFileSync(join(folder, CRASH_NOTE), JSON.stringify({ pid: process.pid, message: message.slice(0, 1000) }), { mode: 0o600 });
  } catch {
    // Then the end counts as a kill, which never costs a good package.
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
    return null; // absent; or on a read-only disk, where it would be read again: it then belongs to no journalled run
  }
}
