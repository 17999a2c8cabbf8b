import { existsSync } from 'node:fs';
import { performance } from 'node:perf_hooks';

export interface Clock {
  /** Milliseconds since 1970 UTC; may jump. */
  nowMs(): number;
  /** Milliseconds since some start; never jumps. Frames carry this one. */
  monotonicMs(): number;
  /** Whether `nowMs` is known to follow a time server. False also means "cannot tell". */
  synchronised(): boolean;
}

/** systemd-timesyncd's marker (systemd-timesyncd.service(8)); chrony's and ntpd's wait units touch the same one. */
const SYNCHRONISED_MARKER = '/run/systemd/timesync/synchronized';

export function systemClock(root = '/'): Clock {
  return {
    nowMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    synchronised: () => existsSync(`${root === '/' ? '' : root}${SYNCHRONISED_MARKER}`),
  };
}

/** A monotonic time of this process as epoch milliseconds, by the clock as it is set now. */
export function epochOf(clock: Clock, monotonicMs: number): number {
  return Math.max(0, clock.nowMs() - (clock.monotonicMs() - monotonicMs));
}
