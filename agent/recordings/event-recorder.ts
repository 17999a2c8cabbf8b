/**
 * Records pictures and clips of the events of one pipeline. A few frames before an event are kept in memory without encoding them, so that a quiet
 * camera costs no processor time. They are encoded when something has happened, one after another and beside the processing of frames.
 */
import type { Frame, Image } from '../../runtime/frame.js';
import { keepPicture } from '../../runtime/picture-memory.js';
import type { WireFinding } from '../contracts/index.js';
import { toCodedError, type CodedError } from '../errors.js';
import { Chain } from '../ground/chain.js';
import type { RecordingStore } from './store.js';

export interface RecorderOptions {
  snapshots: { maxWidth: number };
  /** Null means no clips. Times are milliseconds. */
  clips: { beforeMs: number; afterMs: number; fps: number; maxWidth: number } | null;
}

export interface RecorderParts {
  pipeline: string;
  camera: string;
  store: () => RecordingStore | null;
  encode: (image: Image, options: { maxWidth: number; quality: number }) => Promise<Uint8Array>;
  /** Whether pictures may be kept at present. */
  enabled: () => boolean;
  options: RecorderOptions;
  /** Called for each picture or clip that was not kept. */
  onFailure: (error: CodedError) => void;
  onKept: () => void;
}

/** An event with its frame, in the form in which a recording describes it. */
export interface RecordedEvent {
  id: string;
  timeMs: number;
  finding: WireFinding;
}

interface OpenClip {
  event: RecordedEvent;
  eventMs: number;
  frames: Frame[];
}

const SNAPSHOT_QUALITY = 85;
const CLIP_QUALITY = 70;
/** Upper bound for the raw pictures that are kept in case of an event, bytes. */
const MAX_BEFORE_BYTES = 16 * 1024 * 1024;
/** Most clips that are recorded at a time. Another event at the same moment is in the clip of the first. */
const MAX_OPEN_CLIPS = 2;
/** Most encodings that may wait. Further events of the same moment are not recorded. */
const MAX_WAITING = 8;

export class EventRecorder {
  readonly #parts: RecorderParts;
  #before: Frame[] = [];
  #open: OpenClip[] = [];
  readonly #work: Chain;
  #waiting = 0;

  constructor(parts: RecorderParts) {
    this.#parts = parts;
    this.#work = new Chain((error) => parts.onFailure(toCodedError(error)));
  }

  /** Takes every processed frame, before the events of that frame. */
  frame(frame: Frame): void {
    const { clips } = this.#parts.options;
    if (clips === null || !this.#recording) {
      this.#before = [];
      return;
    }
    for (const clip of [...this.#open]) this.#continue(clip, frame, clips);
    const last = this.#before.at(-1);
    if (last !== undefined && frame.capturedMs - last.capturedMs < 1000 / clips.fps) return;
    keepPicture(frame);
    this.#before.push(frame);
    const oldestMs = frame.capturedMs - clips.beforeMs;
    let bytes = this.#before.reduce((sum, { data }) => sum + data.byteLength, 0);
    while (this.#before.length > 1 && (bytes > MAX_BEFORE_BYTES || (this.#before[0]?.capturedMs ?? Infinity) < oldestMs)) bytes -= this.#before.shift()?.data.byteLength ?? 0;
  }

  /** Records that something appeared in this frame. @param findings everything that was found in the frame */
  event(event: RecordedEvent, frame: Frame, findings: readonly WireFinding[]): void {
    if (!this.#recording) return;
    const { pipeline, camera, options: { snapshots, clips } } = this.#parts;
    const own = findings.find((finding) => sameThing(finding, event.finding)) ?? event.finding;
    const all = [own, ...findings.filter((finding) => finding !== own)].slice(0, 100).map(withoutName);
    keepPicture(frame);
    const taken = this.#queue(async (store) => {
      const jpeg = await this.#parts.encode(frame, { maxWidth: snapshots.maxWidth, quality: SNAPSHOT_QUALITY });
      await store.add({
        id: event.id, timeMs: event.timeMs, pipeline, camera, label: event.finding.label, personId: event.finding.identity?.person_id ?? null,
        width: frame.width, height: frame.height, findings: all,
      }, jpeg);
      this.#parts.onKept();
    });
    if (!taken || clips === null || this.#open.length >= MAX_OPEN_CLIPS) return;
    const before = this.#before.filter(({ sequence }) => sequence < frame.sequence);
    this.#open.push({ event, eventMs: frame.capturedMs, frames: [...before, frame] });
  }

  /** Ends the clips here, because the camera is gone. */
  ended(): void {
    for (const clip of [...this.#open]) this.#close(clip);
    this.#before = [];
  }

  /** Resolves when everything so far is kept. */
  idle(): Promise<void> {
    return this.#work.settled();
  }

  get #recording(): boolean {
    return this.#parts.enabled() && this.#parts.store() !== null;
  }

  #continue(clip: OpenClip, frame: Frame, { afterMs, fps }: NonNullable<RecorderOptions['clips']>): void {
    const last = clip.frames.at(-1)?.capturedMs ?? -Infinity;
    if (frame.capturedMs - last >= 1000 / fps) {
      keepPicture(frame);
      clip.frames.push(frame);
    }
    if (frame.capturedMs - clip.eventMs >= afterMs) this.#close(clip);
  }

  #close(clip: OpenClip): void {
    this.#open = this.#open.filter((open) => open !== clip);
    const { clips } = this.#parts.options;
    if (clips === null) return;
    this.#queue(async (store) => {
      const pictures = [];
      for (const frame of clip.frames) {
        pictures.push({ offsetMs: frame.capturedMs - clip.eventMs, jpeg: await this.#parts.encode(frame, { maxWidth: clips.maxWidth, quality: CLIP_QUALITY }) });
      }
      await store.addClip(clip.event.id, pictures);
    });
  }

  /** Queues an encoding; they run one after another. @returns false when too many wait already */
  #queue(work: (store: RecordingStore) => Promise<void>): boolean {
    const store = this.#parts.store();
    if (store === null) return false;
    if (this.#waiting >= MAX_WAITING) {
      this.#parts.onFailure({ code: 'E_BUSY', message: `More than ${MAX_WAITING} pictures wait to be encoded, so an event was not recorded` });
      return false;
    }
    this.#waiting += 1;
    this.#work.add(() => work(store).finally(() => { this.#waiting -= 1; }));
    return true;
  }
}

function sameThing(a: WireFinding, b: WireFinding): boolean {
  if (a.type !== b.type || a.label !== b.label) return false;
  if (a.track !== undefined || b.track !== undefined) return a.track === b.track;
  return a.identity?.person_id === b.identity?.person_id;
}

/** Removes names, because they are kept only in the gallery, which is encrypted. */
function withoutName(finding: WireFinding): WireFinding {
  return finding.identity == null ? finding : { ...finding, identity: { ...finding.identity, name: '' } };
}
