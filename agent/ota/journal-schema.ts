/** The tables of the journal, and how tables of an earlier version are converted to the present ones. */
import { DEFAULT_PIPELINE } from '../contracts/index.js';
import type { Sqlite } from '../platform/database.js';

/** Version 0 had one table of values, and one pipeline without a name. Version 1 had no record of trust. */
export const JOURNAL_VERSION = 2;

const TABLES = `
  CREATE TABLE deployment (pipeline TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT;
  CREATE TABLE transition (id INTEGER PRIMARY KEY, pipeline TEXT NOT NULL, time_ms INTEGER NOT NULL, phase TEXT NOT NULL, event TEXT NOT NULL) STRICT;
  CREATE TABLE download (
    pipeline TEXT NOT NULL, digest TEXT NOT NULL, size_bytes INTEGER NOT NULL, block_bytes INTEGER NOT NULL, bitmap BLOB NOT NULL,
    PRIMARY KEY (pipeline, digest)
  ) STRICT;
  CREATE TABLE settings (pipeline TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT;
  CREATE TABLE run (id INTEGER PRIMARY KEY CHECK (id = 1), json TEXT NOT NULL) STRICT;
  CREATE TABLE birth (id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS command (id TEXT PRIMARY KEY, time_ms INTEGER NOT NULL, response TEXT NOT NULL) STRICT;
  CREATE TABLE unread (key TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT;
`;
const FROM_0 = `
  ALTER TABLE transition RENAME TO transition_0;
  ALTER TABLE download RENAME TO download_0;
  ${TABLES}
  INSERT INTO deployment (pipeline, json) SELECT '${DEFAULT_PIPELINE}', json FROM value WHERE key = 'ota';
  INSERT INTO settings (pipeline, json) SELECT '${DEFAULT_PIPELINE}', json FROM value WHERE key = 'settings';
  INSERT INTO run (id, json) SELECT 1, json FROM value WHERE key = 'running' AND json <> 'false';
  INSERT INTO birth (id, seq) SELECT 1, CAST(json AS INTEGER) FROM value WHERE key = 'birth_seq';
  INSERT INTO unread (key, json) SELECT key, json FROM value WHERE key LIKE '%.unread';
  INSERT INTO transition (id, pipeline, time_ms, phase, event) SELECT id, '${DEFAULT_PIPELINE}', time_ms, phase, event FROM transition_0;
  INSERT INTO download (pipeline, digest, size_bytes, block_bytes, bitmap) SELECT '${DEFAULT_PIPELINE}', digest, size_bytes, block_bytes, bitmap FROM download_0;
  DROP TABLE transition_0;
  DROP TABLE download_0;
  DROP TABLE value;
`;

/** The record of what was verified is one row, so that it changes as a whole. Ids of signed commands are kept until the commands expire. */
const FROM_1 = `
  CREATE TABLE trust (id INTEGER PRIMARY KEY CHECK (id = 1), json TEXT NOT NULL) STRICT;
  CREATE TABLE nonce (id TEXT PRIMARY KEY, digest TEXT NOT NULL, expires_ms INTEGER NOT NULL) STRICT;
`;

export function journalVersion(db: Sqlite): number {
  return Number(db.pragma('user_version', { simple: true }));
}

/** Converts the tables in one transaction, so that a power cut leaves the old tables or the new ones. */
export function migrateJournal(db: Sqlite): void {
  const version = journalVersion(db);
  if (version >= JOURNAL_VERSION) return;
  db.transaction(() => {
    const old = db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'value'").get() !== undefined;
    if (version < 1) db.exec(old ? FROM_0 : TABLES);
    db.exec(FROM_1);
    db.pragma(`user_version = ${JOURNAL_VERSION}`);
  }).immediate();
}

/** The value of a JSON text; undefined for text that is not JSON. */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
