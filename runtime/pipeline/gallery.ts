import type Database from 'better-sqlite3';
import { RuntimeError } from '../errors.js';
import { requireOptional } from '../optional-package.js';
import type { Gallery, Identity, Person } from './types.js';

/** `PRAGMA user_version` of the schema below. */
const schemaVersion = 1;

const schema = `
  CREATE TABLE person (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
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

/** Bounds that keep a scan of the whole gallery well below a millisecond per thousand samples, and the file small. */
export const galleryLimits = { nameLength: 128, samplesPerPerson: 64, dimensions: 4096 } as const;

interface PersonRow { id: number; name: string; space: string; created_ms: number; samples: number }
interface SampleRow { person: number; name: string; embedding: Buffer }

/** All embeddings of one space, row-major, ready to scan. */
interface Index {
  dimensions: number;
  vectors: Float32Array;
  people: { id: number; name: string }[];
}

/**
 * Opens (or creates) a gallery of enrolled people. Embeddings are float32, little-endian, L2-normalised; a match is the
 * largest cosine over all samples: people look different from different sides, and a mean of two views resembles neither.
 * @param path a file, or ':memory:'
 * @throws RuntimeError E_DEPENDENCY without the package better-sqlite3, E_GALLERY when the file is not a gallery, or a newer one
 */
export function openGallery(path: string): Gallery {
  const database = openDatabase(path);
  return new SqliteGallery(database);
}

class SqliteGallery implements Gallery {
  readonly #database: Database.Database;
  /** By space; rebuilt after a change, also by another process. */
  readonly #indexes = new Map<string, Index>();
  /** Changes whenever another connection commits; prepared once, because it runs for every face. */
  readonly #askDataVersion: Database.Statement<[], unknown>;
  #dataVersion: unknown;

  constructor(database: Database.Database) {
    this.#database = database;
    this.#askDataVersion = database.prepare<[], unknown>('PRAGMA data_version').pluck();
  }

  enrol(name: string, embeddings: readonly Float32Array[], embeddingSpaceId: string): Person {
    const label = checkName(name);
    if (embeddings.length === 0) throw refuse(`Expected at least one embedding for ${label} but received none`);
    const first = embeddings[0]?.length ?? 0;
    const dimensions = this.#dimensions(embeddingSpaceId) ?? first;
    embeddings.forEach((embedding) => checkEmbedding(embedding, dimensions));
    const id = this.#database.transaction(() => {
      this.#database.prepare('INSERT INTO person (name, space, created_ms) VALUES (?, ?, ?) ON CONFLICT DO NOTHING')
        .run(label, embeddingSpaceId, Date.now());
      const person = this.#person(label, embeddingSpaceId);
      if (person.samples + embeddings.length > galleryLimits.samplesPerPerson) {
        throw refuse(`Expected at most ${galleryLimits.samplesPerPerson} samples for ${label} but received ${person.samples + embeddings.length}`);
      }
      const insert = this.#database.prepare('INSERT INTO sample (person, embedding) VALUES (?, ?)');
      for (const embedding of embeddings) insert.run(person.id, toBlob(embedding));
      return person.id;
    })();
    this.#indexes.delete(embeddingSpaceId);
    const enrolled = this.list().find((person) => person.id === id);
    if (enrolled === undefined) throw refuse(`${label} disappeared while being enrolled`);
    return enrolled;
  }

  list(): Person[] {
    return this.#database.prepare<[], PersonRow>(`
      SELECT person.*, COUNT(sample.id) AS samples FROM person LEFT JOIN sample ON sample.person = person.id
      GROUP BY person.id ORDER BY person.id`).all().map(toPerson);
  }

  remove(personId: number): boolean {
    const { changes } = this.#database.prepare('DELETE FROM person WHERE id = ?').run(personId);
    this.#indexes.clear();
    return changes > 0;
  }

  match(embedding: Float32Array, embeddingSpaceId: string): Identity | null {
    this.#forgetStaleIndexes();
    const index = this.#indexes.get(embeddingSpaceId) ?? this.#load(embeddingSpaceId);
    if (index.people.length === 0) return null;
    checkEmbedding(embedding, index.dimensions);
    return scan(index, embedding);
  }

  close(): void {
    this.#indexes.clear();
    this.#database.close();
  }

  #forgetStaleIndexes(): void {
    const version = this.#askDataVersion.get();
    if (version !== this.#dataVersion) this.#indexes.clear();
    this.#dataVersion = version;
  }

  #person(name: string, space: string): Person {
    const row = this.#database.prepare<[string, string], PersonRow>(`
      SELECT person.*, (SELECT COUNT(*) FROM sample WHERE sample.person = person.id) AS samples
      FROM person WHERE name = ? AND space = ?`).get(name, space);
    if (row === undefined) throw refuse(`${name} is not in the gallery`);
    return toPerson(row);
  }

  #dimensions(space: string): number | undefined {
    const row = this.#database.prepare<[string], { bytes: number }>(`
      SELECT LENGTH(embedding) AS bytes FROM sample JOIN person ON person.id = sample.person WHERE space = ? LIMIT 1`).get(space);
    return row === undefined ? undefined : row.bytes / 4;
  }

  #load(space: string): Index {
    const rows = this.#database.prepare<[string], SampleRow>(`
      SELECT person.id AS person, name, embedding FROM sample JOIN person ON person.id = sample.person
      WHERE space = ? ORDER BY sample.id`).all(space);
    const dimensions = (rows[0]?.embedding.length ?? 0) / 4;
    const vectors = new Float32Array(rows.length * dimensions);
    rows.forEach((row, i) => {
      if (row.embedding.length !== dimensions * 4) {
        throw refuse(`Expected ${dimensions * 4} bytes for a sample of ${row.name} but received ${row.embedding.length}`);
      }
      for (let k = 0; k < dimensions; k++) vectors[i * dimensions + k] = row.embedding.readFloatLE(k * 4);
    });
    const index = { dimensions, vectors, people: rows.map((row) => ({ id: row.person, name: row.name })) };
    this.#indexes.set(space, index);
    return index;
  }
}

/** Vectors are normalised when they come in, so the dot product is the cosine. */
function scan({ dimensions, vectors, people }: Index, query: Float32Array): Identity | null {
  let best = -Infinity;
  let row = -1;
  for (let i = 0; i < people.length; i++) {
    let dot = 0;
    for (let k = 0, at = i * dimensions; k < dimensions; k++, at++) dot += (vectors[at] ?? 0) * (query[k] ?? 0);
    if (dot > best) {
      best = dot;
      row = i;
    }
  }
  const person = people[row];
  return person === undefined ? null : { personId: person.id, name: person.name, similarity: Math.max(-1, Math.min(1, best)) };
}

function openDatabase(path: string): Database.Database {
  const Sqlite = requireOptional('better-sqlite3', 'openGallery') as typeof Database;
  let database: Database.Database | undefined;
  try {
    database = new Sqlite(path);
    database.pragma('journal_mode = WAL');
    database.pragma('synchronous = FULL');
    database.pragma('foreign_keys = ON');
    migrate(database);
    return database;
  } catch (cause) {
    database?.close();
    if (cause instanceof RuntimeError) throw cause;
    throw new RuntimeError('E_GALLERY', `The gallery ${path} cannot be opened: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

function migrate(database: Database.Database): void {
  database.transaction(() => {
    const version = Number(database.pragma('user_version', { simple: true }));
    if (version > schemaVersion) throw refuse(`The gallery has schema version ${version}; this runtime reads ${schemaVersion}. Update Sterna.`);
    if (version === schemaVersion) return;
    database.exec(schema);
    database.pragma(`user_version = ${schemaVersion}`);
  }).immediate();
}

function checkName(name: string): string {
  const label = name.trim();
  if (label.length === 0 || label.length > galleryLimits.nameLength) {
    throw refuse(`Expected a name of 1 to ${galleryLimits.nameLength} characters but received ${label.length}`);
  }
  return label;
}

function checkEmbedding(embedding: Float32Array, dimensions: number): void {
  if (embedding.length !== dimensions || dimensions === 0 || dimensions > galleryLimits.dimensions) {
    throw refuse(`Expected an embedding of ${dimensions} values but received ${embedding.length}`);
  }
  let sum = 0;
  for (const value of embedding) sum += value * value;
  // Also refuses NaN: every comparison with it is false.
  if (!(Math.abs(sum - 1) < 1e-3)) throw refuse(`Expected an L2-normalised embedding but received one of squared length ${sum}`);
}

function toBlob(embedding: Float32Array): Buffer {
  const blob = Buffer.alloc(embedding.length * 4);
  embedding.forEach((value, i) => blob.writeFloatLE(value, i * 4));
  return blob;
}

function toPerson(row: PersonRow): Person {
  return { id: row.id, name: row.name, samples: row.samples, embeddingSpaceId: row.space, createdMs: row.created_ms };
}

function refuse(message: string): RuntimeError {
  return new RuntimeError('E_GALLERY', message);
}
