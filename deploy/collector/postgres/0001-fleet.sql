-- What collectors write: who the devices are, what happened, which windows have arrived, and the merged latencies of fleets.
CREATE TABLE device (
  fleet text NOT NULL, device text NOT NULL, seen_ms bigint NOT NULL, status jsonb, caps jsonb, reported jsonb,
  PRIMARY KEY (fleet, device)
);
CREATE TABLE event (
  fleet text NOT NULL, device text NOT NULL, event_id text NOT NULL, time_ms bigint NOT NULL, type text NOT NULL, payload jsonb NOT NULL,
  PRIMARY KEY (fleet, device, event_id)
);
CREATE INDEX event_time ON event (fleet, time_ms);
-- The numbers of the windows of a device that have arrived. Numbers that follow each other are one range, so this is short.
CREATE TABLE stream (
  fleet text NOT NULL, device text NOT NULL, stream text NOT NULL, seen text NOT NULL DEFAULT '', received bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (fleet, device, stream)
);
-- Each collector has rows of its own, so that none waits for another; readers add them up.
CREATE TABLE latency (
  slot_ms bigint NOT NULL, fleet text NOT NULL, pipeline text NOT NULL, model text NOT NULL, clock text NOT NULL, kind text NOT NULL, collector text NOT NULL, histogram text NOT NULL,
  PRIMARY KEY (slot_ms, fleet, pipeline, model, clock, kind, collector)
);
