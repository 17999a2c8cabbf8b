import { existsSync, readFileSync } from 'node:fs';
import { uptime } from 'node:os';
import { performance } from 'node:perf_hooks';

export interface Clock {
  /** Milliseconds since 1970 UTC. This clock may jump when somebody sets it. */
  nowMs(): number;
  /** Milliseconds since an arbitrary start. This clock never jumps. Times of frames are readings of it. */
  monotonicMs(): number;
  /** Whether `nowMs` is known to follow a time server. False also when that cannot be told. */
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

/** Converts a monotonic time of this process to milliseconds since 1970, by the clock as it is set now. */
export function epochOf(clock: Clock, monotonicMs: number): number {
  return Math.max(0, clock.nowMs() - (clock.monotonicMs() - monotonicMs));
}

/**
 * A clock that nobody can set, and that goes on over restarts of the process. It tells the milliseconds since the kernel started, and which start
 * that was. Two readings with the same `id` may be subtracted. With another `id` the machine was off in between, for a time that this clock cannot
 * tell.
 */
export interface BootClock {
  /** `/proc/sys/kernel/random/boot_id`; null where that file does not exist, and then no two readings may be compared. */
  readonly id: string | null;
  /** Milliseconds, including time in suspend. */
  ms(): number;
}

export function systemBootClock(root = '/'): BootClock {
  let id: string | null = null;
  try {
    id = readFileSync(`${root === '/' ? '' : root}/proc/sys/kernel/random/boot_id`, 'utf8').trim() || null;
  } catch {
    // This system is not Linux, or has no /proc. Every start then counts as one after a power cut.
  }
  return { id, ms: () => uptime() * 1000 };
}

/** A moment of the boot clock, in the form in which it is stored. */
export interface BootMoment {
  boot: string | null;
  ms: number;
}

export function bootMoment(clock: BootClock): BootMoment {
  return { boot: clock.id, ms: clock.ms() };
}

/** Milliseconds from a stored moment to now; null when the machine was started again in between. */
export function elapsedSince(moment: BootMoment, clock: BootClock): number | null {
  return clock.id === null || moment.boot !== clock.id ? null : Math.max(0, clock.ms() - moment.ms);
}
