import { existsSync, readFileSync } from 'node:fs';
import { uptime } from 'node:os';
import { performance } from 'node:perf_hooks';

export interface Clock {
  /** Milliseconds since 1970 UTC; may jump. */
  nowMs(): number;
  /** Milliseconds since some start; never jumps. Frames carry this one. */
  monotonicMs(): number;
  /** Whether `nowMs` is known to follow a time server. False also means "cannot tell". */
  synchronized(): boolean;
}

/** systemd-timesyncd's marker (systemd-timesyncd.service(8)); chrony's and ntpd's wait units touch the same one. */
const SYNCHRONIZED_MARKER = '/run/systemd/timesync/synchronized';

export function systemClock(root = '/'): Clock {
  return {
    nowMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    synchronized: () => existsSync(`${root === '/' ? '' : root}${SYNCHRONIZED_MARKER}`),
  };
}

/** A monotonic time of this process as epoch milliseconds, by the clock as it is set now. */
export function epochOf(clock: Clock, monotonicMs: number): number {
  return Math.max(0, clock.nowMs() - (clock.monotonicMs() - monotonicMs));
}

/**
 * Time that no setting of the clock can move, and that a new process goes on counting: milliseconds since the kernel
 * started, and which start that was. Two readings with the same `id` may be subtracted; with another `id` the machine was
 * off in between, for a time that this clock cannot tell.
 */
export interface BootClock {
  /** `/proc/sys/kernel/random/boot_id`; null where there is none, and then no two readings may be compared. */
  readonly id: string | null;
  /** Including time in suspend. */
  ms(): number;
}

export function systemBootClock(root = '/'): BootClock {
  let id: string | null = null;
  try {
    id = readFileSync(`${root === '/' ? '' : root}/proc/sys/kernel/random/boot_id`, 'utf8').trim() || null;
  } catch {
    // Not Linux, or no /proc: every start counts as one after a power cut.
  }
  return { id, ms: () => uptime() * 1000 };
}

/** A stored moment of the boot clock. */
export interface BootMoment {
  boot: string | null;
  ms: number;
}

export function bootMoment(clock: BootClock): BootMoment {
  return { boot: clock.id, ms: clock.ms() };
}

/** Milliseconds from a stored moment to now, or null when the machine was started anew since. */
export function elapsedSince(moment: BootMoment, clock: BootClock): number | null {
  return clock.id === null || moment.boot !== clock.id ? null : Math.max(0, clock.ms() - moment.ms);
}
