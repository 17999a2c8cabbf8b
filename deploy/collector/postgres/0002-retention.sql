-- When a row was last written, by the clock of the collector: what is deleted follows from it, because devices may say any time.
ALTER TABLE event ADD COLUMN received_ms bigint NOT NULL DEFAULT (extract(epoch FROM now()) * 1000)::bigint;
ALTER TABLE stream ADD COLUMN seen_ms bigint NOT NULL DEFAULT (extract(epoch FROM now()) * 1000)::bigint;
CREATE INDEX event_received ON event (received_ms);
CREATE INDEX stream_of_device ON stream (fleet, device, seen_ms);
