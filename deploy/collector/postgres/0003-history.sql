-- The past of devices as roll-ups of five minutes, hours and days. The one that the next window may add to grows beside the counter of lost frames of its
-- pipeline; when it is over, it becomes a row of five minutes, and is added to its hour and its day.
CREATE TABLE pipeline (
  fleet text NOT NULL, device text NOT NULL, pipeline text NOT NULL, boot_id text NOT NULL, seq bigint NOT NULL, frames bigint NOT NULL,
  slot_ms bigint, model text, sums text,
  PRIMARY KEY (fleet, device, pipeline)
) WITH (fillfactor = 60);
CREATE TABLE history (
  fleet text NOT NULL, device text NOT NULL, step_ms bigint NOT NULL, slot_ms bigint NOT NULL, pipeline text NOT NULL, model text NOT NULL, sums text NOT NULL,
  PRIMARY KEY (fleet, device, step_ms, slot_ms, pipeline, model)
);
CREATE INDEX history_age ON history (step_ms, slot_ms);
CREATE INDEX event_of_device ON event (fleet, device, time_ms);
