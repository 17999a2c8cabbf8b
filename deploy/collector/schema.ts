/** The tables of the collector's SQLite file, from version to version. */
const SPANS = `
  CREATE TABLE stream (
    id INTEGER PRIMARY KEY, fleet TEXT NOT NULL, device TEXT NOT NULL, stream TEXT NOT NULL,
    received INTEGER NOT NULL DEFAULT 0, duplicates INTEGER NOT NULL DEFAULT 0, overlaps INTEGER NOT NULL DEFAULT 0,
    UNIQUE (fleet, device, stream)
  ) STRICT;
  CREATE TABLE span (
    stream_id INTEGER NOT NULL REFERENCES stream (id) ON DELETE CASCADE, first_seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    PRIMARY KEY (stream_id, first_seq)
  ) STRICT, WITHOUT ROWID;
  INSERT INTO stream (fleet, device, stream, received) SELECT fleet, device, boot_id, COUNT(*) FROM telemetry GROUP BY fleet, device, boot_id;
  INSERT OR IGNORE INTO span (stream_id, first_seq, last_seq) SELECT stream.id, json_extract(payload, '$.first_seq'), seq
    FROM telemetry JOIN stream ON stream.fleet = telemetry.fleet AND stream.device = telemetry.device AND stream.stream = telemetry.boot_id;
`;
const SCHEMA_1 = `
  CREATE TABLE device (
    fleet TEXT NOT NULL, device TEXT NOT NULL, seen_ms INTEGER NOT NULL, status TEXT, caps TEXT, reported TEXT,
    PRIMARY KEY (fleet, device)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE event (
    id INTEGER PRIMARY KEY, fleet TEXT NOT NULL, device TEXT NOT NULL, event_id TEXT NOT NULL, time_ms INTEGER NOT NULL, payload TEXT NOT NULL,
    UNIQUE (fleet, device, event_id)
  ) STRICT;
  CREATE TABLE telemetry (
    id INTEGER PRIMARY KEY, fleet TEXT NOT NULL, device TEXT NOT NULL, boot_id TEXT NOT NULL, seq INTEGER NOT NULL,
    end_ms INTEGER NOT NULL, backfill INTEGER NOT NULL, payload TEXT NOT NULL,
    UNIQUE (fleet, device, boot_id, seq)
  ) STRICT;
  CREATE INDEX event_time ON event (fleet, device, time_ms);
  CREATE INDEX telemetry_time ON telemetry (fleet, device, end_ms);
`;
/** Payloads of the first version of the contracts cannot be read any more. Devices say the retained ones again; the accounts of windows stay. */
const FORGET_V1 = `
  DELETE FROM event;
  DELETE FROM telemetry;
  UPDATE device SET status = NULL, caps = NULL, reported = NULL;
`;
/** Merged latencies of a fleet (latency-slots.ts). */
const LATENCIES = `
  CREATE TABLE latency (
    slot_ms INTEGER NOT NULL, fleet TEXT NOT NULL, pipeline TEXT NOT NULL, model TEXT NOT NULL, clock TEXT NOT NULL, kind TEXT NOT NULL, histogram TEXT NOT NULL,
    PRIMARY KEY (slot_ms, fleet, pipeline, model, clock, kind)
  ) STRICT, WITHOUT ROWID;
`;
/** Roll-ups of devices (history-store.ts), and the counters of lost frames that they begin from. */
const HISTORY = `
  CREATE TABLE history (
    fleet TEXT NOT NULL, device TEXT NOT NULL, step_ms INTEGER NOT NULL, slot_ms INTEGER NOT NULL, pipeline TEXT NOT NULL, model TEXT NOT NULL, sums TEXT NOT NULL,
    PRIMARY KEY (fleet, device, step_ms, slot_ms, pipeline, model)
  ) STRICT, WITHOUT ROWID;
  CREATE TABLE dropped (
    fleet TEXT NOT NULL, device TEXT NOT NULL, pipeline TEXT NOT NULL, boot_id TEXT NOT NULL, seq INTEGER NOT NULL, frames INTEGER NOT NULL,
    PRIMARY KEY (fleet, device, pipeline)
  ) STRICT, WITHOUT ROWID;
`;
/**
 * Windows of a stream say when the device was heard, in the row that they change anyway, because that of the device has texts of kilobytes. Raw windows are known
 * by the numbers of their stream, so their table needs no key but their order. The roll-up that still grows is beside the counters of its pipeline.
 */
const PULSE = `
  ALTER TABLE stream ADD COLUMN seen_ms INTEGER NOT NULL DEFAULT 0;
  CREATE TABLE recent (
    id INTEGER PRIMARY KEY, fleet TEXT NOT NULL, device TEXT NOT NULL, boot_id TEXT NOT NULL, seq INTEGER NOT NULL,
    end_ms INTEGER NOT NULL, backfill INTEGER NOT NULL, payload TEXT NOT NULL
  ) STRICT;
  INSERT INTO recent SELECT id, fleet, device, boot_id, seq, end_ms, backfill, payload FROM telemetry ORDER BY id;
  DROP TABLE telemetry;
  ALTER TABLE recent RENAME TO telemetry;
  CREATE INDEX telemetry_time ON telemetry (fleet, device, end_ms);
  ALTER TABLE dropped ADD COLUMN slot_ms INTEGER;
  ALTER TABLE dropped ADD COLUMN model TEXT;
  ALTER TABLE dropped ADD COLUMN sums TEXT;
`;
/** From each version to the next. */
export const MIGRATIONS = [SCHEMA_1, SPANS, FORGET_V1, LATENCIES, HISTORY, PULSE];
