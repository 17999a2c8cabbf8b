import type Database from 'better-sqlite3';
import { RuntimeError } from '../errors.js';
import { aFunction, anObject, checkOptions, type OptionKinds } from '../options.js';
import { checkKey, failedUse, openGalleryFile, recordsOf, type Records, type StoredPerson, type StoredSample } from './gallery-file.js';
import { GalleryIndex } from './gallery-index.js';
import type { GalleryKey } from './gallery-key.js';
import { Roster } from './gallery-roster.js';
import type { Gallery, Identity, Person } from './types.js';

/** Bounds that keep a scan of the whole gallery well below a millisecond per thousand samples, and the file small. */
export const galleryLimits = { nameLength: 128, samplesPerPerson: 64, dimensions: 4096 } as const;

interface PersonRow extends StoredPerson { samples: number }

export interface GalleryOptions {
  /** Key that encrypts names and embeddings in the file. Without a key the file is plain; a plain file that is opened with a key is encrypted from then on. */
  key?: GalleryKey;
  /** Told of samples that are damaged (E_GALLERY_DAMAGED): they are left out, and all others are recognized. */
  onWarning?: (warning: RuntimeError) => void;
}

const galleryOptionKinds: OptionKinds<Required<GalleryOptions>> = { key: anObject, onWarning: aFunction };

/**
 * Opens (or creates) a gallery of enrolled people. Embeddings are float32, little-endian, L2-normalized. A match is the
 * largest cosine over all samples, because people look different from different sides, and a mean of two views resembles neither.
 * @param path a file, or ':memory:'
 * @throws RuntimeError E_DEPENDENCY without the package better-sqlite3; E_GALLERY when the file is not a gallery, or a newer one; E_GALLERY_KEY when it is encrypted with another key, or
 *   with a key and none is given; E_OPTION. Methods throw E_GALLERY_TAMPERED for records that something else changed, and E_GALLERY_DAMAGED
 *   when SQLite can no longer read the file.
 */
export function openGallery(path: string, options: GalleryOptions = {}): Gallery {
  checkOptions('openGallery', options, galleryOptionKinds);
  const key = options.key ?? null;
  return new SqliteGallery(openGalleryFile(path, key), recordsOf(key), options.onWarning);
}

class SqliteGallery implements Gallery {
  readonly #database: Database.Database;
  readonly #records: Records;
  /** By space; rebuilt after a removal and after a change by another process. In memory, embeddings are never encrypted: they are scanned for every face. */
  readonly #indexes = new Map<string, GalleryIndex>();
  /** By space, as the indexes: who is enrolled, which is read once and then kept up with what is enrolled here. */
  readonly #rosters = new Map<string, Roster>();
  readonly #onWarning: (warning: RuntimeError) => void;
  /** Changes whenever another connection commits; prepared once, because it runs for every face. */
  readonly #askDataVersion: Database.Statement<[], unknown>;
  #dataVersion: unknown;

  constructor(database: Database.Database, records: Records, onWarning: (warning: RuntimeError) => void = () => undefined) {
    this.#database = database;
    this.#records = records;
    this.#onWarning = onWarning;
    this.#askDataVersion = database.prepare<[], unknown>('PRAGMA data_version').pluck();
  }

  enrol(name: string, embeddings: readonly Float32Array[], embeddingSpaceId: string): Person {
    const label = checkName(name);
    if (embeddings.length === 0) throw refuse(`Expected at least one embedding for ${label} but received none`);
    const { enrolled, dimensions } = this.#using(() => this.#database.transaction(() => {
      checkKey(this.#database, this.#records.key);
      this.#forgetStale();
      const roster = this.#rosterOf(embeddingSpaceId);
      const dimensions = roster.dimensions ?? embeddings[0]?.length ?? 0;
      embeddings.forEach((embedding) => checkEmbedding(embedding, dimensions));
      const person = roster.find(label) ?? this.#addPerson(label, embeddingSpaceId);
      const samples = person.samples + embeddings.length;
      if (samples > galleryLimits.samplesPerPerson) throw refuse(`Expected at most ${galleryLimits.samplesPerPerson} samples for ${label} but received ${samples}`);
      for (const embedding of embeddings) this.#addSample(person, toBlob(embedding));
      return { enrolled: { ...person, samples }, dimensions };
    }).immediate());
    // Only what was committed: a transaction that failed leaves nothing behind.
    this.#rosterOf(embeddingSpaceId).keep(enrolled, dimensions);
    this.#addToIndex(enrolled, embeddings);
    return { ...enrolled };
  }

  #addToIndex({ id, name, embeddingSpaceId: space }: Person, embeddings: readonly Float32Array[]): void {
    const index = this.#indexes.get(space);
    // That of an empty space knows no length of embeddings yet.
    if (index?.isEmpty === true) this.#indexes.delete(space);
    else index?.add(embeddings, { id, name });
  }

  list(): Person[] {
    const rows = this.#using(() => this.#database.prepare<[], PersonRow>(`
      SELECT person.*, COUNT(sample.id) AS samples FROM person LEFT JOIN sample ON sample.person = person.id
      GROUP BY person.id ORDER BY person.id`).all());
    return this.#reading(() => rows.map((row) => ({ id: row.id, name: this.#records.nameOf(row), samples: row.samples, embeddingSpaceId: row.space, createdMs: row.created_ms })));
  }

  remove(personId: number): boolean {
    const { changes } = this.#using(() => this.#database.prepare('DELETE FROM person WHERE id = ?').run(personId));
    this.#forget();
    return changes > 0;
  }

  match(embedding: Float32Array, embeddingSpaceId: string): Identity | null {
    return this.nearest(embedding, embeddingSpaceId, 1)[0] ?? null;
  }

  nearest(embedding: Float32Array, embeddingSpaceId: string, people: number): Identity[] {
    this.#forgetStale();
    const index = this.#indexes.get(embeddingSpaceId) ?? this.#load(embeddingSpaceId);
    if (index.isEmpty) return [];
    checkEmbedding(embedding, index.dimensions);
    return index.nearest(embedding, people);
  }

  close(): void {
    this.#forget();
    this.#database.close();
  }

  /** Another process may have enrolled or removed somebody. */
  #forgetStale(): void {
    const version = this.#using(() => this.#askDataVersion.get());
    if (version !== this.#dataVersion) this.#forget();
    this.#dataVersion = version;
  }

  #forget(): void {
    this.#indexes.clear();
    this.#rosters.clear();
  }

  #rosterOf(space: string): Roster {
    const known = this.#rosters.get(space);
    if (known !== undefined) return known;
    const roster = new Roster(this.list().filter((person) => person.embeddingSpaceId === space), this.#dimensions(space));
    this.#rosters.set(space, roster);
    return roster;
  }

  /** A record's number is part of what it is sealed for, so it has to be known first. */
  #addPerson(name: string, space: string): Person {
    const createdMs = Date.now();
    const empty = this.#records.key === null ? name : Buffer.alloc(0);
    const id = Number(this.#database.prepare('INSERT INTO person (name, space, created_ms) VALUES (?, ?, ?)').run(empty, space, createdMs).lastInsertRowid);
    this.#database.prepare('UPDATE person SET name = ? WHERE id = ?').run(this.#records.storedName({ id, space, created_ms: createdMs }, name), id);
    return { id, name, samples: 0, embeddingSpaceId: space, createdMs };
  }

  #addSample({ id: person, embeddingSpaceId: space }: Person, embedding: Buffer): void {
    const id = Number(this.#database.prepare('INSERT INTO sample (person, embedding) VALUES (?, ?)').run(person, Buffer.alloc(0)).lastInsertRowid);
    this.#database.prepare('UPDATE sample SET embedding = ? WHERE id = ?').run(this.#records.storedEmbedding({ id, person, space }, embedding), id);
  }

  /** Of the samples of a space: what most of them have, since a damaged one may have another length. */
  #dimensions(space: string): number | undefined {
    const row = this.#database.prepare<[string], StoredSample>(`
      SELECT sample.id, person, space, embedding FROM sample JOIN person ON person.id = sample.person WHERE space = ?
      GROUP BY length(embedding) ORDER BY COUNT(*) DESC, MIN(sample.id) LIMIT 1`).get(space);
    return row === undefined ? undefined : this.#reading(() => this.#records.embeddingOf(row).length / 4);
  }

  #load(space: string): GalleryIndex {
    const rows = this.#using(() => this.#database.prepare<[string], StoredSample>(`
      SELECT sample.id, person, space, embedding FROM sample JOIN person ON person.id = sample.person
      WHERE space = ? ORDER BY sample.id`).all(space));
    const names = new Map(this.list().map(({ id, name }) => [id, name]));
    const samples = this.#reading(() => rows.map((row) => ({ person: row.person, embedding: fromBlob(this.#records.embeddingOf(row)) })));
    const dimensions = this.#using(() => this.#dimensions(space)) ?? 0;
    const isSound = ({ embedding }: { embedding: Float32Array }): boolean => embedding.length === dimensions && isNormalized(embedding);
    const sound = samples.filter(isSound);
    if (sound.length < samples.length) this.#warn(samples.filter((sample) => !isSound(sample)).map(({ person }) => names.get(person) ?? `person ${person}`));
    const vectors = new Float32Array(sound.length * dimensions);
    sound.forEach(({ embedding }, i) => vectors.set(embedding, i * dimensions));
    const index = new GalleryIndex(vectors, dimensions, sound.map(({ person }) => ({ id: person, name: names.get(person) ?? '' })));
    this.#indexes.set(space, index);
    return index;
  }

  #warn(names: readonly string[]): void {
    const who = [...new Set(names)];
    this.#onWarning(new RuntimeError('E_GALLERY_DAMAGED', `The gallery has ${names.length} damaged samples, of ${who.slice(0, 5).join(', ')}${who.length > 5 ? ', ...' : ''}; they are left out. Remove these people and enroll them again`, { details: { names: who } }));
  }

  /** What SQLite throws becomes an error with one of our codes. */
  #using<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw failedUse(this.#database.name, error);
    }
  }

  /** Records that do not open were changed, unless the whole file has got another key: then that is what to say. */
  #reading<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      checkKey(this.#database, this.#records.key);
      throw error;
    }
  }
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
  if (!isNormalized(embedding)) throw refuse(`Expected an L2-normalized embedding but received one of squared length ${squaredLength(embedding)}`);
}

function squaredLength(embedding: Float32Array): number {
  let sum = 0;
  for (const value of embedding) sum += value * value;
  return sum;
}

/** NaN is not: every comparison with it is false. */
const isNormalized = (embedding: Float32Array): boolean => Math.abs(squaredLength(embedding) - 1) < 1e-3;

/** Bytes that are no whole number of values are damaged: they become no vector at all. */
function fromBlob(blob: Buffer): Float32Array {
  const values = new Float32Array(blob.length % 4 === 0 ? blob.length / 4 : 0);
  for (let i = 0; i < values.length; i++) values[i] = blob.readFloatLE(i * 4);
  return values;
}

function toBlob(embedding: Float32Array): Buffer {
  const blob = Buffer.alloc(embedding.length * 4);
  embedding.forEach((value, i) => blob.writeFloatLE(value, i * 4));
  return blob;
}

function refuse(message: string): RuntimeError {
  return new RuntimeError('E_GALLERY', message);
}
