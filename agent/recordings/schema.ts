import { z } from 'zod';
import { findingSchema, type WireFinding } from '../contracts/index.js';

/** A frame of a clip: when it was captured, milliseconds relative to the event, and the position of its JPEG picture in the file. */
export interface ClipFrame {
  offsetMs: number;
  at: number;
  bytes: number;
}

/** What is recorded of an event that has a picture. */
export interface Recording {
  /** `event_id` of the event to which it belongs. */
  id: string;
  timeMs: number;
  pipeline: string;
  /** Name of the input. */
  camera: string;
  label: string;
  /** Number of a person in the gallery; null for somebody unknown, and for something without an identity. */
  personId: number | null;
  /** Size of the frame in which the boxes of findings are stated, pixels. */
  width: number;
  height: number;
  /**
   * Everything that was found in the frame of the picture. The finding of the event comes first. Names are left out, because only the gallery may
   * have them.
   */
  findings: WireFinding[];
  snapshotBytes: number;
  /** The clip; null when there is none, or not yet. */
  clip: { bytes: number; frames: ClipFrame[] } | null;
}

/** Which recordings are meant. Absent fields do not limit the choice. */
export interface RecordingFilter {
  /** Recordings at this time or later, and before the other one; milliseconds since 1970. */
  sinceMs?: number | undefined;
  untilMs?: number | undefined;
  pipeline?: string | undefined;
  camera?: string | undefined;
  label?: string | undefined;
  personId?: number | undefined;
}

export interface Row {
  id: string;
  time_ms: number;
  pipeline: string;
  camera: string;
  label: string;
  person_id: number | null;
  width: number;
  height: number;
  findings: string;
  snapshot_bytes: number;
  clip_bytes: number | null;
  clip_frames: string | null;
}

export const SCHEMA_VERSION = 1;
export const SCHEMA = `
  CREATE TABLE recording (
    id TEXT PRIMARY KEY, time_ms INTEGER NOT NULL, pipeline TEXT NOT NULL, camera TEXT NOT NULL, label TEXT NOT NULL, person_id INTEGER,
    width INTEGER NOT NULL, height INTEGER NOT NULL, findings TEXT NOT NULL, snapshot_bytes INTEGER NOT NULL, clip_bytes INTEGER, clip_frames TEXT
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX recording_by_time ON recording (time_ms, id);
`;

const findingsSchema = z.array(findingSchema);
const framesSchema = z.array(z.tuple([z.number(), z.number(), z.number()]));

export function fromRow(row: Row): Recording {
  return {
    id: row.id, timeMs: row.time_ms, pipeline: row.pipeline, camera: row.camera, label: row.label, personId: row.person_id, width: row.width, height: row.height,
    findings: findingsSchema.parse(JSON.parse(row.findings)), snapshotBytes: row.snapshot_bytes,
    clip: row.clip_bytes === null || row.clip_frames === null ? null : {
      bytes: row.clip_bytes, frames: framesSchema.parse(JSON.parse(row.clip_frames)).map(([offsetMs, at, bytes]) => ({ offsetMs, at, bytes })),
    },
  };
}

export const framesText = (frames: readonly ClipFrame[]): string => JSON.stringify(frames.map(({ offsetMs, at, bytes }) => [Math.round(offsetMs), at, bytes]));

/** The SQL condition of a filter, and its values. */
export function whereOf({ sinceMs, untilMs, pipeline, camera, label, personId }: RecordingFilter): { sql: string; values: (string | number)[] } {
  const parts: [string, string | number | undefined][] = [
    ['time_ms >= ?', sinceMs], ['time_ms < ?', untilMs], ['pipeline = ?', pipeline], ['camera = ?', camera], ['label = ?', label], ['person_id = ?', personId],
  ];
  const stated = parts.filter((part): part is [string, string | number] => part[1] !== undefined);
  return { sql: stated.length === 0 ? '1' : stated.map(([sql]) => sql).join(' AND '), values: stated.map(([, value]) => value) };
}
