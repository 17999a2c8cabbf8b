/**
 * Boxes of successive frames become tracks: numbers that stay with an object while it moves, is hidden for a moment, or stands still under a
 * closed gate. Two rounds of association by score as in ByteTrack (Y. Zhang et al., arXiv 2110.06864): first the boxes of full score, then the
 * weak ones, which continue tracks and start none. Pure and deterministic: (state, frame) -> {state, tracks}.
 */
import type { Box } from '../../stages/finding.js';
import { overlapOf } from '../nms.js';
import { assign } from './assignment.js';
import { boxOf, correctBox, predictBox, restBox, startBox } from './box-filter.js';
import type { BoxState } from './box-filter.js';
import type { TrackingSettings } from './settings.js';

/** A box that a detector found. */
export interface Sight {
  box: Box;
  /** 0..1 */
  score: number;
  /** Boxes of different labels are never the same object. */
  label: string;
}

/** What is told to the tracker of a frame. */
export interface TrackedFrame {
  /** Time of capture, milliseconds; never before that of the last frame. */
  nowMs: number;
  /** Those of a low score too. Null: the frame stopped at a gate, so nothing has changed. */
  sights: readonly Sight[] | null;
  /** Whether the detector did not look at the place of this box, because nothing moved there. Default: it looked everywhere. */
  unseen?: ((box: Box) => boolean) | undefined;
}

/** `seen`: the detector found it in this frame. `held`: nobody looked, since nothing moved there. `lost`: somebody looked and did not find it. */
export type TrackStatus = 'seen' | 'held' | 'lost';

export interface Track {
  /** From 1; never used again. */
  id: number;
  label: string;
  status: TrackStatus;
  /** Filtered; of a lost track, where it is expected. */
  box: Box;
  /** Of the last box that continued it. */
  score: number;
  /** Pixels a second, of the centre. */
  velocity: readonly [number, number];
  /** Since the first sight. */
  ageMs: number;
  /** Frames in which it was seen. */
  sights: number;
  /** Seen often enough to be reported. */
  confirmed: boolean;
}

interface Kept {
  id: number;
  label: string;
  state: BoxState;
  score: number;
  firstMs: number;
  sights: number;
  confirmed: boolean;
  status: TrackStatus;
  /** Time without a sight in which somebody looked. */
  lostMs: number;
}

export interface TrackerState {
  readonly tracks: readonly Kept[];
  readonly nextId: number;
  /** Of the last frame, or null. */
  readonly atMs: number | null;
}

export interface TrackerStep {
  state: TrackerState;
  /** All that go on, by number. */
  tracks: Track[];
  /** Number of the track of each sight; null for one of low score that continues none. */
  trackOf: (number | null)[];
}

export const noTracks: TrackerState = { tracks: [], nextId: 1, atMs: null };

/** A box of low score jitters more. */
const lowTrust = 0.5;

/**
 * What a pair with a lost track is worth, of what one with a track in sight is: while somebody is hidden behind somebody else, the one box
 * belongs to the one who is seen, though both are expected there. Where there are two boxes, this hardly matters.
 */
const lostWorth = 0.5;

export type TrackerLimits = Omit<TrackingSettings, 'enabled'> & {
  /** Score from which on a box starts a track: the threshold of the detector. */
  score_threshold: number;
};

export function stepTracker(before: TrackerState, { nowMs, sights, unseen }: TrackedFrame, limits: TrackerLimits): TrackerStep {
  const elapsedMs = before.atMs === null ? 0 : Math.max(0, nowMs - before.atMs);
  if (sights === null) {
    const tracks = before.tracks.map(hold);
    return finish({ tracks, nextId: before.nextId, atMs: nowMs }, [], nowMs);
  }
  const tracks = before.tracks.map((track) => ({ ...track, state: expect(track.state, elapsedMs, limits) }));
  const match = associate(tracks, sights, limits);
  const next: Kept[] = [];
  tracks.forEach((track, i) => {
    const sight = sights[match.sightOf[i] ?? -1];
    if (sight !== undefined) next.push(see(track, sight, limits));
    // The place before the prediction: what nobody computed has not moved.
    else if (unseen !== undefined && unseen(boxOf((before.tracks[i] ?? track).state))) next.push(hold(before.tracks[i] ?? track));
    else if (track.confirmed && track.lostMs + elapsedMs <= limits.lost_ms) next.push({ ...track, status: 'lost', lostMs: track.lostMs + elapsedMs });
  });
  let { nextId } = before;
  const trackOf = sights.map((sight, i) => {
    const known = tracks[match.trackOf[i] ?? -1];
    if (known !== undefined) return known.id;
    if (sight.score < limits.score_threshold) return null;
    next.push(begin(nextId, sight, nowMs, limits));
    return nextId++;
  });
  return finish({ tracks: next, nextId, atMs: nowMs }, trackOf, nowMs);
}

/** After a gap that would have ended the track, its old speed tells nothing. */
function expect(state: BoxState, elapsedMs: number, { lost_ms }: TrackerLimits): BoxState {
  return elapsedMs > lost_ms ? restBox(state) : predictBox(state, elapsedMs / 1000);
}

/** Nothing moved where it is: it stands still, however long. */
function hold(track: Kept): Kept {
  return { ...track, state: restBox(track.state), status: track.status === 'lost' ? 'lost' : 'held' };
}

function see(track: Kept, { box, score }: Sight, { score_threshold, confirm_sights }: TrackerLimits): Kept {
  const sights = track.sights + 1;
  const trust = score < score_threshold ? lowTrust : 1;
  return { ...track, state: correctBox(track.state, box, trust), score, sights, confirmed: track.confirmed || sights >= confirm_sights, status: 'seen', lostMs: 0 };
}

function begin(id: number, { box, score, label }: Sight, nowMs: number, { confirm_sights }: TrackerLimits): Kept {
  return { id, label, state: startBox(box), score, firstMs: nowMs, sights: 1, confirmed: confirm_sights <= 1, status: 'seen', lostMs: 0 };
}

interface Match {
  /** Index of the sight of each track, and of the track of each sight; -1 for none. */
  sightOf: Int32Array;
  trackOf: Int32Array;
}

/** Confirmed tracks with boxes of full score, then those that were not lost with weak boxes, then what was seen only once with what is left. */
function associate(tracks: readonly Kept[], sights: readonly Sight[], { score_threshold, min_iou, low_min_iou }: TrackerLimits): Match {
  const match: Match = { sightOf: new Int32Array(tracks.length).fill(-1), trackOf: new Int32Array(sights.length).fill(-1) };
  const boxes = tracks.map(({ state }) => boxOf(state));
  const round = (which: (track: Kept) => boolean, strong: boolean, least: number): void => {
    const rows = indices(tracks, (track, i) => match.sightOf[i] === -1 && which(track));
    const columns = indices(sights, ({ score }, i) => match.trackOf[i] === -1 && score >= score_threshold === strong);
    const cost = rows.flatMap((row) => columns.map((column) => {
      const box = boxes[row], track = tracks[row], sight = sights[column];
      if (box === undefined || sight === undefined || sight.label !== track?.label) return Infinity;
      return (least - overlapOf(box, sight.box)) * (track.status === 'lost' ? lostWorth : 1);
    }));
    assign(cost, rows.length, columns.length, 0).forEach((column, row) => {
      const track = rows[row], sight = columns[column];
      if (track === undefined || sight === undefined) return;
      match.sightOf[track] = sight;
      match.trackOf[sight] = track;
    });
  };
  round((track) => track.confirmed, true, min_iou);
  round((track) => track.confirmed && track.status !== 'lost', false, low_min_iou);
  round((track) => !track.confirmed, true, min_iou);
  return match;
}

function indices<T>(items: readonly T[], which: (item: T, index: number) => boolean): number[] {
  return items.flatMap((item, i) => (which(item, i) ? [i] : []));
}

function finish(state: TrackerState, trackOf: (number | null)[], nowMs: number): TrackerStep {
  const tracks = state.tracks.map(({ id, label, status, state: box, score, firstMs, sights, confirmed }): Track => ({
    id, label, status, box: boxOf(box), score, velocity: [box.x.speed, box.y.speed], ageMs: nowMs - firstMs, sights, confirmed,
  }));
  return { state, tracks, trackOf };
}
