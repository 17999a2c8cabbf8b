/**
 * Turns findings in frames into "Ann appeared", "Ann left", "a cat appeared". Pure: (state, frame) -> {state, events}. One wrong frame makes no
 * event: somebody appears after several sights with at most one miss between two of them, and leaves after a time without any sight. A frame that
 * stopped at a gate says that nothing has changed, so whoever was there is taken to be still there.
 */
import { looked } from '../../runtime/stages/types.js';
import type { Finding, Identity, PipelineResult } from '../../runtime/pipeline/types.js';

export interface PresenceOptions {
  appearFrames: number;
  unknownFrames: number;
  leaveMs: number;
}

/**
 * A frame's result. `identifies` (default true) says that the pipeline tells who somebody is; a finding that it did not look at closely (a small
 * face) then says nothing about presence.
 */
type Sight = PipelineResult & { identifies?: boolean };

interface Track {
  /** Null is a stranger; undefined is something without an identity. */
  identity: Identity | null | undefined;
  sights: number;
  misses: number;
  present: boolean;
  firstMs: number;
  lastMs: number;
  finding: Finding;
}

/** The tracks, by the key that `keyOf` makes. */
export type PresenceState = ReadonlyMap<string, Track>;

export interface PresenceEvent {
  action: 'appeared' | 'left';
  identity: Identity | null | undefined;
  /** The finding of the best sight so far. */
  finding: Finding;
  /** How long it was visible, milliseconds. Set when it has left. */
  visibleMs?: number;
}

/** Number of frames without a sight that are allowed between two sights in a row. */
const TOLERATED_MISSES = 1;

export const emptyPresence: PresenceState = new Map();

/** Adds a frame. `nowMs` is the frame's capture time, monotonic milliseconds. */
export function stepPresence(state: PresenceState, result: Sight, options: PresenceOptions): { state: PresenceState; events: PresenceEvent[] } {
  const nowMs = result.capturedMs;
  const events: PresenceEvent[] = [];
  const next = new Map<string, Track>();
  const seen = looked(result.exit) ? bestByKey(result.findings, result.identifies ?? true) : new Map<string, Finding>();
  const named = strangersWithNames(seen);
  for (const [key, track] of state) {
    if (named.has(key)) {
      if (track.present) events.push(left(track));
      continue;
    }
    const updated = continueTrack(track, seen.get(key), !looked(result.exit), nowMs);
    if (updated.present && nowMs - updated.lastMs >= options.leaveMs) {
      events.push(left(updated));
    } else if (updated.present || updated.misses <= TOLERATED_MISSES) {
      next.set(key, updated);
    }
  }
  for (const [key, finding] of seen) {
    if (!state.has(key)) next.set(key, newTrack(finding, nowMs));
  }
  for (const [key, track] of next) {
    const needed = track.identity === null ? options.unknownFrames : options.appearFrames;
    if (track.present || track.sights < needed) continue;
    next.set(key, { ...track, present: true });
    events.push({ action: 'appeared', identity: track.identity, finding: track.finding });
  }
  return { state: next, events };
}

/** Makes everybody who was there leave, because the camera is gone. */
export function leaveAll(state: PresenceState): PresenceEvent[] {
  return [...state.values()].filter((track) => track.present).map(left);
}

const left = ({ identity, finding, firstMs, lastMs }: Track): PresenceEvent => ({ action: 'left', identity, finding, visibleMs: lastMs - firstMs });

/** Keys of the tracks of strangers who are recognized by now. These tracks end, because each person has another key, which is made of their number. */
function strangersWithNames(seen: ReadonlyMap<string, Finding>): Set<string> {
  return new Set([...seen.values()].flatMap((finding) => (identityOf(finding) == null ? [] : trackKey(finding) ?? [])));
}

/** Who and what is there now, for people who look at the page or the API. */
export function presentNow(state: PresenceState): { finding: Finding; sinceMs: number }[] {
  return [...state.values()].filter((t) => t.present).map((t) => ({ finding: t.finding, sinceMs: t.firstMs }));
}

function newTrack(finding: Finding, nowMs: number): Track {
  return { identity: identityOf(finding), sights: 1, misses: 0, present: false, firstMs: nowMs, lastMs: nowMs, finding };
}

function continueTrack(track: Track, finding: Finding | undefined, unchanged: boolean, nowMs: number): Track {
  if (finding !== undefined) {
    const best = quality(finding) > quality(track.finding) ? finding : track.finding;
    return { ...track, sights: track.sights + 1, misses: 0, lastMs: nowMs, finding: best, identity: identityOf(best) };
  }
  if (unchanged) return track.present ? { ...track, lastMs: nowMs } : track;
  return { ...track, misses: track.misses + 1 };
}

function identityOf(finding: Finding): Identity | null | undefined {
  return 'identity' in finding ? finding.identity : undefined;
}

/**
 * The key under which two findings in two frames are the same: a person of the gallery; a picture of somebody; else a track; else all strangers together, where nothing
 * tells them apart; else a label.
 */
function keyOf(finding: Finding, identifies: boolean): string | null {
  const identity = identityOf(finding);
  // A picture of somebody is told apart from the stranger who holds it, and appears by itself.
  if (isPicture(finding)) return `picture/${trackKey(finding) ?? finding.label}`;
  if (identity !== undefined) return identity === null ? trackKey(finding) ?? 'unknown' : `person/${identity.personId}`;
  if (identifies) return null;
  return trackKey(finding) ?? `${finding.type}/${finding.label}`;
}

const isPicture = (finding: Finding): boolean => 'liveness' in finding && finding.liveness?.live === false;

function trackKey(finding: Finding): string | null {
  return 'track' in finding && finding.track !== undefined ? `track/${finding.track}` : null;
}

function bestByKey(findings: readonly Finding[], identifies: boolean): Map<string, Finding> {
  const best = new Map<string, Finding>();
  for (const finding of findings) {
    const key = keyOf(finding, identifies);
    if (key === null) continue;
    const known = best.get(key);
    if (known === undefined || quality(finding) > quality(known)) best.set(key, finding);
  }
  return best;
}

function quality(finding: Finding): number {
  return identityOf(finding)?.similarity ?? finding.score;
}
