/**
 * From faces in frames to "Ann appeared", "Ann left". Pure: (state, frame) -> {state, events}. One wrong frame makes no
 * event: somebody appears after several sights with at most one miss between two of them, and leaves after a time
 * without any. A frame that stopped at the motion gate says that nothing changed, so it prolongs what was there.
 */
import { detectionsOf } from '../../runtime/stages/finding.js';
import type { Detection, Identity, PipelineResult } from '../../runtime/pipeline/types.js';

export interface PresenceOptions {
  appearFrames: number;
  unknownFrames: number;
  leaveMs: number;
}

interface Track {
  identity: Identity | null;
  sights: number;
  misses: number;
  present: boolean;
  firstMs: number;
  lastMs: number;
  detection: Detection;
}

/** By person id; strangers together, since nothing tells them apart. */
export type PresenceState = ReadonlyMap<number | 'unknown', Track>;

export interface PresenceEvent {
  action: 'appeared' | 'left';
  identity: Identity | null;
  /** The best sight so far. */
  detection: Detection;
  /** Set when somebody left. */
  visibleMs?: number;
}

/** Sights in a row may be interrupted so often. */
const TOLERATED_MISSES = 1;

export const emptyPresence: PresenceState = new Map();

/** `nowMs` is the frame's capture time, monotonic. */
export function stepPresence(state: PresenceState, result: PipelineResult, options: PresenceOptions): { state: PresenceState; events: PresenceEvent[] } {
  const nowMs = result.capturedMs;
  const events: PresenceEvent[] = [];
  const next = new Map<number | 'unknown', Track>();
  const seen = result.exit === 'none' ? bestByPerson(detectionsOf(result.findings)) : new Map<number | 'unknown', Detection>();
  for (const [key, track] of state) {
    const updated = continueTrack(track, seen.get(key), result.exit !== 'none', nowMs);
    if (updated.present && nowMs - updated.lastMs >= options.leaveMs) {
      events.push({ action: 'left', identity: updated.identity, detection: updated.detection, visibleMs: updated.lastMs - updated.firstMs });
    } else if (updated.present || updated.misses <= TOLERATED_MISSES) {
      next.set(key, updated);
    }
  }
  for (const [key, detection] of seen) {
    if (!state.has(key)) next.set(key, newTrack(detection, nowMs));
  }
  for (const [key, track] of next) {
    const needed = track.identity === null ? options.unknownFrames : options.appearFrames;
    if (track.present || track.sights < needed) continue;
    next.set(key, { ...track, present: true });
    events.push({ action: 'appeared', identity: track.identity, detection: track.detection });
  }
  return { state: next, events };
}

/** The camera is gone: whoever was there is out of sight. */
export function leaveAll(state: PresenceState): PresenceEvent[] {
  return [...state.values()].filter((t) => t.present)
    .map((t) => ({ action: 'left', identity: t.identity, detection: t.detection, visibleMs: t.lastMs - t.firstMs }));
}

/** Who is there now, for people to look at. */
export function presentPeople(state: PresenceState): { identity: Identity | null; sinceMs: number }[] {
  return [...state.values()].filter((t) => t.present).map((t) => ({ identity: t.identity, sinceMs: t.firstMs }));
}

function newTrack(detection: Detection, nowMs: number): Track {
  return { identity: detection.identity ?? null, sights: 1, misses: 0, present: false, firstMs: nowMs, lastMs: nowMs, detection };
}

function continueTrack(track: Track, detection: Detection | undefined, unchanged: boolean, nowMs: number): Track {
  if (detection !== undefined) {
    const best = quality(detection) > quality(track.detection) ? detection : track.detection;
    return { ...track, sights: track.sights + 1, misses: 0, lastMs: nowMs, detection: best, identity: best.identity ?? null };
  }
  if (unchanged) return track.present ? { ...track, lastMs: nowMs } : track;
  return { ...track, misses: track.misses + 1 };
}

/** Faces that were not embedded (too small) say nothing about who is there. */
function bestByPerson(detections: readonly Detection[]): Map<number | 'unknown', Detection> {
  const best = new Map<number | 'unknown', Detection>();
  for (const detection of detections) {
    if (detection.identity === undefined) continue;
    const key = detection.identity?.personId ?? 'unknown';
    const known = best.get(key);
    if (known === undefined || quality(detection) > quality(known)) best.set(key, detection);
  }
  return best;
}

function quality(detection: Detection): number {
  return detection.identity?.similarity ?? detection.score;
}
