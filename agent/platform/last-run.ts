/**
 * How the run of the daemon before this one ended. Power cuts, kills and want of memory come from outside and say nothing about the package that ran;
 * a crash may. Sources: the journal (was the run ended in order, and under which start of the kernel), a note that a dying daemon leaves of an
 * exception, and what systemd says (`ExecStopPost` of systemd/sternad.service).
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { RunEnd } from '../ota/machine.js';

/** What a run writes at its start; it is taken back when the run ends in order. */
export interface RunRecord {
  pid: number;
  /** Which start of the kernel; null where that cannot be told. */
  kernel_boot: string | null;
  /** The digest of the package that is being opened in the daemon's own process. */
  opening: string | null;
  /** The pipeline of the active package works on one frame for so long that the watchdog is not fed any more. */
  hung: boolean;
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
    case 'watchdog': return previous.hung ? 'hang' : 'watchdog';
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
