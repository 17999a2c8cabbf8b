/** Which rows of history there are in PostgreSQL, and which of them cover a range. Each length has all windows, apart from those of the roll-up that grows. */
import type { Fineness } from '../fleet-past.js';

const [MINUTE, HOUR, DAY] = [60_000, 3_600_000, 86_400_000];

/** Lengths of rows, and how long they are kept: as long as those of a single device in SQLite. */
export const LEVELS: readonly { stepMs: number; keepMs: number }[] = [{ stepMs: 5 * MINUTE, keepMs: 2 * DAY }, { stepMs: HOUR, keepMs: 35 * DAY }, { stepMs: DAY, keepMs: 732 * DAY }];
const LAST = LEVELS.length - 1;
/** A sum over a range that is at least so long begins and ends with hours, and has days between. */
const SUM_OF_DAYS_MS = 2 * DAY;

/** Rows of one length that are at least partly in a part of the range. */
export interface Segment {
  stepMs: number;
  fromMs: number;
  toMs: number;
}

const stepOf = (level: number): number => LEVELS[level]?.stepMs ?? DAY;
const floorTo = (timeMs: number, stepMs: number): number => Math.floor(timeMs / stepMs) * stepMs;
const ceilTo = (timeMs: number, stepMs: number): number => Math.ceil(timeMs / stepMs) * stepMs;

/** Parts that do not overlap, so that each window is in one row. */
export function segmentsOf(fromMs: number, toMs: number, { fineness, nowMs }: { fineness: Fineness; nowMs: number }): Segment[] {
  if (fineness !== 'sum') return covered(Math.max(0, LEVELS.findLastIndex(({ stepMs }) => stepMs <= fineness.stepMs)), { fromMs, toMs }, nowMs);
  const [first, last] = [ceilTo(fromMs, DAY), floorTo(toMs, DAY)];
  if (toMs - fromMs < SUM_OF_DAYS_MS || first >= last) return covered(1, { fromMs, toMs }, nowMs);
  return [...covered(1, { fromMs, toMs: first }, nowMs), ...covered(LAST, { fromMs: first, toMs: last }, nowMs), ...covered(1, { fromMs: last, toMs }, nowMs)];
}

/** Rows of a level, and before those that are kept, of the next one: from one of its own ends on. */
function covered(level: number, { fromMs, toMs }: { fromMs: number; toMs: number }, nowMs: number): Segment[] {
  if (fromMs >= toMs) return [];
  const stepMs = stepOf(level);
  if (level >= LAST) return [{ stepMs, fromMs, toMs }];
  const keptMs = ceilTo(nowMs - (LEVELS[level]?.keepMs ?? 0), stepOf(level + 1));
  if (fromMs >= keptMs) return [{ stepMs, fromMs, toMs }];
  const older = covered(level + 1, { fromMs, toMs: Math.min(toMs, keptMs) }, nowMs);
  return toMs <= keptMs ? older : [...older, { stepMs, fromMs: keptMs, toMs }];
}
