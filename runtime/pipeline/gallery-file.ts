/**
 * The file of a gallery: SQLite, schema 1 in plain, schema 2 encrypted. In an encrypted one, names and embeddings are sealed, each for
 * its record: numbers, spaces and times stay readable, and cannot be exchanged without being noticed.
 */
import { existsSync } from 'node:fs';
import type Database from 'better-sqlite3';
import { RuntimeError } from '../errors.js';
import { requireOptional } from '../optional-package.js';
import type { GalleryKey } from './gallery-key.js';

/** `PRAGMA user_version`. Runtimes that know schema 1 only refuse schema 2 as newer. */
const plainVersion = 1;
const sealedVersion = 2;

const tables = (text: 'TEXT' | 'BLOB'): string => `
  CREATE TABLE person (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name ${text} NOT NULL,
    space TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    UNIQUE (name, space)
  ) STRICT;
  CREATE TABLE sample (
    id INTEGER PRIMARY KEY,
    person INTEGER NOT NULL REFERENCES person (id) ON DELETE CASCADE,
    embedding BLOB NOT NULL
  ) STRICT;
  CREATE INDEX sample_person ON sample (person);
`;

/** `plain_left`: 1 until the pages that held plain records are overwritten; a start after a power cut goes on with it. */
const sealTable = 'CREATE TABLE seal (id INTEGER PRIMARY KEY CHECK (id = 1), key_id TEXT NOT NULL, plain_left INTEGER NOT NULL) STRICT;';

export interface StoredPerson { id: number; name: string | Buffer; space: string; created_ms: number }
export interface StoredSample { id: number; person: number; space: string; embedding: Buffer }

/** Turns what is stored into what it means, and back. `null` as key: a plain gallery. */
export interface Records {
  readonly key: GalleryKey | null;
  nameOf(row: StoredPerson): string;
  storedName(row: Omit<StoredPerson, 'name'>, name: string): string | Buffer;
  embeddingOf(row: StoredSample): Buffer;
  storedEmbedding(row: Omit<StoredSample, 'embedding'>, embedding: Buffer): Buffer;
}

const personRecord = ({ id, space, created_ms }: Omit<StoredPerson, 'name'>): string => JSON.stringify(['person', id, space, created_ms]);
const sampleRecord = ({ id, person, space }: Omit<StoredSample, 'embedding'>): string => JSON.stringify(['sample', id, 'person', person, space]);

export function recordsOf(key: GalleryKey | null): Records {
  if (key === null) {
    return { key, nameOf: (row) => row.name.toString(), storedName: (_, name) => name, embeddingOf: (row) => row.embedding, storedEmbedding: (_, embedding) => embedding };
  }
  return {
    key,
    nameOf: (row) => Buffer.from(key.open(personRecord(row), Buffer.from(row.name))).toString('utf8'),
    storedName: (row, name) => Buffer.from(key.seal(personRecord(row), Buffer.from(name, 'utf8'))),
    embeddingOf: (row) => Buffer.from(key.open(sampleRecord(row), row.embedding)),
    storedEmbedding: (row, embedding) => Buffer.from(key.seal(sampleRecord(row), embedding)),
  };
}

/**
 * Opens or creates the file. With a key, a new file is encrypted, and a plain one is migrated in one transaction.
 * @throws RuntimeError E_DEPENDENCY without the package better-sqlite3, E_GALLERY, E_GALLERY_KEY
 */
export function openGalleryFile(path: string, key: GalleryKey | null): Database.Database {
  const database = connect(path);
  try {
    database.transaction(() => prepareSchema(database, path, key)).immediate();
    overwritePlain(database);
    return database;
  } catch (cause) {
    database.close();
    throw asGalleryError(path, cause);
  }
}

/** See `gallery-maintenance.ts`. */
export function galleryKeyId(path: string): string | null {
  if (!existsSync(path)) return null;
  const Sqlite = sqlite('galleryKeyId');
  let database: Database.Database | undefined;
  try {
    database = new Sqlite(path, { fileMustExist: true });
    return keyIdIn(database);
  } catch (cause) {
    throw asGalleryError(path, cause);
  } finally {
    database?.close();
  }
}

/** @throws RuntimeError E_GALLERY_KEY when the file has got another key since it was opened: nothing may be sealed with the old one any more */
export function checkKey(database: Database.Database, key: GalleryKey | null): void {
  if (key === null) return;
  const found = keyIdIn(database);
  if (found !== key.id) throw wrongKey(database.name, found, key);
}

/** See `gallery-maintenance.ts`. */
export function rekeyGallery(path: string, { from, to }: { from: GalleryKey; to: GalleryKey }): { people: number; samples: number } {
  const Sqlite = sqlite('rekeyGallery');
  let database: Database.Database | undefined;
  try {
    database = new Sqlite(path, { fileMustExist: true, timeout: 1000 });
    // A daemon that runs would go on with the old key, so the file has to be ours alone.
    database.pragma('locking_mode = EXCLUSIVE');
    database.pragma('synchronous = FULL');
    database.pragma('secure_delete = ON');
    const open = database;
    const done = open.transaction(() => {
      const found = keyIdIn(open);
      if (found === null) throw new RuntimeError('E_GALLERY_KEY', `The gallery ${path} is not encrypted; open it with a key once to encrypt it`);
      if (found === to.id) return { people: 0, samples: 0 };
      if (found !== from.id) throw wrongKey(path, found, from);
      open.prepare('UPDATE seal SET key_id = ?').run(to.id);
      return sealAgain(open, recordsOf(from), recordsOf(to));
    }).immediate();
    open.pragma('wal_checkpoint(TRUNCATE)');
    return done;
  } catch (cause) {
    const busy = cause instanceof Error && 'code' in cause && cause.code === 'SQLITE_BUSY';
    throw busy ? new RuntimeError('E_GALLERY', `The gallery ${path} is in use; stop the daemon first`, { cause }) : asGalleryError(path, cause);
  } finally {
    database?.close();
  }
}

/** Loaded when it is needed: who uses no gallery needs no database. */
const sqlite = (user: string): typeof Database => requireOptional('better-sqlite3', user) as typeof Database;

function connect(path: string): Database.Database {
  const Sqlite = sqlite('openGallery');
  let database: Database.Database | undefined;
  try {
    database = new Sqlite(path);
    database.pragma('journal_mode = WAL');
    database.pragma('synchronous = FULL');
    database.pragma('foreign_keys = ON');
    // Whoever is removed must not be found in free pages.
    database.pragma('secure_delete = ON');
    return database;
  } catch (cause) {
    database?.close();
    throw asGalleryError(path, cause);
  }
}

function prepareSchema(database: Database.Database, path: string, key: GalleryKey | null): void {
  const version = versionOf(database);
  if (version === 0) {
    database.exec(tables(key === null ? 'TEXT' : 'BLOB'));
    if (key !== null) putSeal(database, key, false);
    database.pragma(`user_version = ${key === null ? plainVersion : sealedVersion}`);
  } else if (version === sealedVersion) {
    if (key === null) throw new RuntimeError('E_GALLERY_KEY', `The gallery ${path} is encrypted with the key ${String(keyIdIn(database))}, and no key was given`);
    checkKey(database, key);
  } else if (key !== null) {
    encrypt(database, key);
  }
}

/** From schema 1 to 2, inside a transaction. Numbers are kept: events and clients know people by them. */
function encrypt(database: Database.Database, key: GalleryKey): void {
  database.exec('ALTER TABLE person RENAME TO plain_person; ALTER TABLE sample RENAME TO plain_sample; DROP INDEX sample_person;');
  database.exec(tables('BLOB'));
  const records = recordsOf(key);
  const addPerson = database.prepare('INSERT INTO person (id, name, space, created_ms) VALUES (?, ?, ?, ?)');
  for (const row of database.prepare<[], StoredPerson>('SELECT id, name, space, created_ms FROM plain_person').all()) {
    addPerson.run(row.id, records.storedName(row, row.name.toString()), row.space, row.created_ms);
  }
  const addSample = database.prepare('INSERT INTO sample (id, person, embedding) VALUES (?, ?, ?)');
  const samples = database.prepare<[], StoredSample>('SELECT plain_sample.id, person, space, embedding FROM plain_sample JOIN plain_person ON plain_person.id = person');
  for (const row of samples.all()) addSample.run(row.id, row.person, records.storedEmbedding(row, row.embedding));
  // The numbers of people who were removed are not given again.
  database.exec("DELETE FROM sqlite_sequence WHERE name = 'person'; INSERT INTO sqlite_sequence (name, seq) SELECT 'person', seq FROM sqlite_sequence WHERE name = 'plain_person'");
  database.exec('DROP TABLE plain_sample; DROP TABLE plain_person;');
  putSeal(database, key, true);
  database.pragma(`user_version = ${sealedVersion}`);
}

function putSeal(database: Database.Database, key: GalleryKey, plainLeft: boolean): void {
  database.exec(sealTable);
  database.prepare('INSERT INTO seal (id, key_id, plain_left) VALUES (1, ?, ?)').run(key.id, plainLeft ? 1 : 0);
}

/** Rebuilds the file and empties its log after a migration. While another process has the file open it cannot; the next start tries again. */
function overwritePlain(database: Database.Database): void {
  if (versionOf(database) !== sealedVersion || database.prepare('SELECT plain_left FROM seal').pluck().get() !== 1) return;
  try {
    database.exec('VACUUM');
    const [{ busy } = { busy: 1 }] = database.pragma('wal_checkpoint(TRUNCATE)') as { busy: number }[];
    if (busy === 0) database.exec('UPDATE seal SET plain_left = 0');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (!/^SQLITE_(BUSY|LOCKED|FULL|IOERR)/.test(code)) throw error;
  }
}

function sealAgain(database: Database.Database, before: Records, after: Records): { people: number; samples: number } {
  const people = database.prepare<[], StoredPerson>('SELECT id, name, space, created_ms FROM person').all();
  const setName = database.prepare('UPDATE person SET name = ? WHERE id = ?');
  for (const row of people) setName.run(after.storedName(row, before.nameOf(row)), row.id);
  const samples = database.prepare<[], StoredSample>('SELECT sample.id, person, space, embedding FROM sample JOIN person ON person.id = person').all();
  const setEmbedding = database.prepare('UPDATE sample SET embedding = ? WHERE id = ?');
  for (const row of samples) setEmbedding.run(after.storedEmbedding(row, before.embeddingOf(row)), row.id);
  return { people: people.length, samples: samples.length };
}

function versionOf(database: Database.Database): number {
  const version = Number(database.pragma('user_version', { simple: true }));
  if (version > sealedVersion) throw new RuntimeError('E_GALLERY', `The gallery has schema version ${version}; this runtime reads ${sealedVersion}. Update Sterna.`);
  return version;
}

function keyIdIn(database: Database.Database): string | null {
  return versionOf(database) === sealedVersion ? String(database.prepare('SELECT key_id FROM seal').pluck().get()) : null;
}

function wrongKey(path: string, found: string | null, given: GalleryKey): RuntimeError {
  return new RuntimeError('E_GALLERY_KEY', `The gallery ${path} is encrypted with the key ${String(found)}, and the key given is ${given.id}`, { details: { needed: found, given: given.id } });
}

function asGalleryError(path: string, cause: unknown): RuntimeError {
  if (cause instanceof RuntimeError) return cause;
  return new RuntimeError('E_GALLERY', `The gallery ${path} cannot be opened: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
}

/** Our error for whatever SQLite threw in an open gallery; errors of ours stay as they are. */
export function failedUse(path: string, cause: unknown): RuntimeError {
  if (cause instanceof RuntimeError) return cause;
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const told = cause instanceof Error ? cause.message : String(cause);
  // What cannot be written is no damage: the transaction is undone, and the file is as it was.
  if (!/^SQLITE_(CORRUPT|NOTADB|IOERR(?!_(WRITE|FSYNC|DIR_FSYNC|TRUNCATE|SHM)))/.test(code)) return new RuntimeError('E_GALLERY', `The gallery ${path} cannot be used: ${told}`, { cause });
  return new RuntimeError('E_GALLERY_DAMAGED', `The gallery ${path} is damaged or its disk fails: ${told}. Nobody is recognized by name until the file is restored from a copy, or moved away and everybody is enrolled again`, { cause });
}
