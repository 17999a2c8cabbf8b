import { timeOf } from '../../frame.js';
import type { Frame } from '../../frame.js';
import type { Box, Detection, Finding, TrackFinding } from '../../stages/finding.js';
import type { TrackingSettings } from './settings.js';
import { noTracks, stepTracker } from './tracker.js';
import type { Track, TrackerLimits, TrackerState, TrackerStep } from './tracker.js';

/** What is remembered from frame to frame. */
interface FollowerMemory {
  state: TrackerState;
  size: string;
}

/** The tracker of one pipeline with its memory: frames go in, and findings that say which track they are come out. */
export class Follower {
  readonly #settings: TrackingSettings;
  readonly #limits: TrackerLimits;
  readonly #memory: FollowerMemory;

  /** `threshold`: score from which on a box is a finding. */
  constructor(settings: TrackingSettings, threshold: number, memory: FollowerMemory = { state: noTracks, size: '' }) {
    const { enabled: _, ...limits } = settings;
    this.#settings = settings;
    this.#limits = { ...limits, score_threshold: threshold };
    this.#memory = memory;
  }

  /** Follows the same tracks for a detector with scores of its own. */
  withThreshold(threshold: number): Follower {
    return new Follower(this.#settings, threshold, this.#memory);
  }

  /** Whether objects are followed into this frame: not when tracking is off, nor into a photo. */
  follows({ still }: Frame): boolean {
    return this.#settings.enabled && still !== true;
  }

  /** Score from which on a box of this frame is of use: where objects are followed, weak boxes may continue a track. */
  thresholdFor(frame: Frame): number {
    const { score_threshold, low_score_share } = this.#limits;
    return this.follows(frame) ? score_threshold * low_score_share : score_threshold;
  }

  /**
   * Takes what a detector found in a frame, weak boxes too. Every object is one finding: a track once it is confirmed, and until then the
   * detection that began it. `unseen`: as in `TrackedFrame`.
   */
  see(found: readonly Detection[], frame: Frame, unseen?: (box: Box) => boolean): Finding[] {
    const { tracks, trackOf } = this.step(found, frame, unseen);
    return mergeTracks(found, { tracks, trackOf }, this.#limits.score_threshold);
  }

  /** As `see`, for a caller that has more to say about each track. */
  step(found: readonly Detection[], frame: Frame, unseen?: (box: Box) => boolean): TrackerStep {
    this.#begin(frame);
    const step = stepTracker(this.#memory.state, { nowMs: timeOf(frame), sights: found, unseen }, this.#limits);
    this.#memory.state = step.state;
    return step;
  }

  /** A frame that stopped at a gate: whatever was there is still there. */
  rest(frame: Frame): TrackFinding[] {
    if (!this.follows(frame)) return [];
    this.#begin(frame);
    const { state, tracks } = stepTracker(this.#memory.state, { nowMs: timeOf(frame), sights: null }, this.#limits);
    this.#memory.state = state;
    return tracks.flatMap((track) => asFinding(track) ?? []);
  }

  /** Boxes of a picture of another size, and times before the last one (a source that starts again), belong to another scene. Numbers go on. */
  #begin(frame: Frame): void {
    const size = `${frame.width} x ${frame.height}`;
    const { nextId, atMs } = this.#memory.state;
    if (size !== this.#memory.size || (atMs !== null && timeOf(frame) < atMs)) this.#memory.state = { ...noTracks, nextId };
    this.#memory.size = size;
  }
}

/** One finding for each object: what was found, best first, then what is held. */
export function mergeTracks(found: readonly Detection[], { tracks, trackOf }: Pick<TrackerStep, 'tracks' | 'trackOf'>, threshold: number): Finding[] {
  const byId = new Map(tracks.map((track) => [track.id, track]));
  const seen = found.flatMap((detection, i): Finding[] => {
    const id = trackOf[i] ?? null;
    const finding = id === null ? null : asFinding(byId.get(id), detection);
    if (finding !== null) return [finding];
    return detection.score < threshold ? [] : [id === null ? detection : { ...detection, track: id }];
  });
  return [...seen, ...tracks.flatMap((track) => (track.status === 'held' ? asFinding(track) ?? [] : []))];
}

/** Null for a track that is not confirmed, or lost. */
function asFinding(track: Track | undefined, detection?: Detection): TrackFinding | null {
  if (track === undefined || !track.confirmed || track.status === 'lost') return null;
  const { id, label, box, score, status, ageMs, velocity } = track;
  const { landmarks } = detection ?? {};
  return { type: 'track', track: id, label, box, score, status, ageMs, velocity, ...(landmarks === undefined ? {} : { landmarks }) };
}
