/**
 * Pictures and clips of events on this device: an index in SQLite, and a file for each picture and each clip. The store is bounded in bytes and age;
 * the oldest recordings are deleted first.
 *
 * After a power cut at any line, index and files agree. A file is written whole (temporary name, fsync, rename) before the index names it, and the
 * index forgets it before it is deleted. So a power cut can only leave a file that the index does not name, which the next start deletes. If a row's
 * file is missing, the file was deleted and the index lost that change (`synchronous = NORMAL`), so the next start deletes the row.
 */
import { mkdir, open, readdir, rm, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../../runtime/atomic-file.js';
import { AgentError } from '../errors.js';
import { translateSqlite, type Sqlite } from '../platform/database.js';
import { faultPoint } from '../platform/fault.js';
import { framesText, fromRow, SCHEMA, SCHEMA_VERSION, whereOf, type ClipFrame, type Recording, type RecordingFilter, type Row } from './schema.js';

export interface StoreLimits {
  /** Upper bound of all files and rows. */
  maxBytes: number;
  maxAgeMs: number;
}

export type NewRecording = Omit<Recording, 'snapshotBytes' | 'clip'>;

/** Bytes that a row takes in the index, without its texts. */
const ROW_BYTES = 256;
/** Bytes that are left free for the databases, packages and the log. */
const SPARE_BYTES = 64 * 1024 * 1024;
const ID_PATTERN = /^[0-9a-f-]{36}$/;
const SIZE = `snapshot_bytes + COALESCE(clip_bytes, 0) + LENGTH(findings) + LENGTH(COALESCE(clip_frames, '')) + ${ROW_BYTES}`;

export class RecordingStore {
  readonly #db: Sqlite;
  readonly #folder: string;
  readonly #limits: StoreLimits;
  readonly #now: () => number;
  #bytes = 0;

  private constructor(db: Sqlite, folder: string, limits: StoreLimits, now: () => number) {
    this.#db = db;
    this.#folder = folder;
    this.#limits = limits;
    this.#now = now;
  }

  /**
   * Opens the store: makes files and index agree, and deletes what is too old or too much.
   * @throws AgentError E_STATE, E_STATE_READ_ONLY, E_DISK_FULL
   */
  static async open(db: Sqlite, folder: string, { limits, now }: { limits: StoreLimits; now: () => number }): Promise<RecordingStore> {
    const store = new RecordingStore(db, folder, limits, now);
    translateSqlite('open the recordings', () => {
      if (Number(db.pragma('user_version', { simple: true })) === SCHEMA_VERSION) return;
      db.exec(SCHEMA);
      db.pragma(`user_version = ${SCHEMA_VERSION}`);
    });
    await fileSystem(`open ${folder}`, () => mkdir(folder, { recursive: true, mode: 0o700 }));
    await store.#reconcile();
    await store.trim();
    return store;
  }

  /** Bytes of all recordings, with their rows. */
  get bytes(): number {
    return this.#bytes;
  }

  get maxBytes(): number {
    return this.#limits.maxBytes;
  }

  /**
   * Keeps a picture of an event. Older recordings are deleted until there is room.
   * @throws AgentError E_DISK_FULL, E_STATE_READ_ONLY, E_STATE; nothing of it is kept then
   */
  async add(recording: NewRecording, snapshot: Uint8Array): Promise<void> {
    const { id } = recording;
    if (!ID_PATTERN.test(id)) throw new AgentError('E_STATE', `Expected the id of an event but received ${JSON.stringify(id)}`);
    const findings = JSON.stringify(recording.findings);
    await this.#makeRoom(snapshot.byteLength + findings.length + ROW_BYTES);
    await this.#put(this.snapshotPath(id), snapshot);
    faultPoint('recordings.snapshot.written');
    await this.#orDelete(this.snapshotPath(id), () => {
      const { timeMs, pipeline, camera, label, personId, width, height } = recording;
      this.#db.prepare('INSERT INTO recording (id, time_ms, pipeline, camera, label, person_id, width, height, findings, snapshot_bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)')
        .run(id, Math.round(timeMs), pipeline, camera, label, personId, width, height, findings, snapshot.byteLength);
    });
    this.#bytes += snapshot.byteLength + findings.length + ROW_BYTES;
    faultPoint('recordings.snapshot.indexed');
  }

  /** Adds the clip to a recording, if the recording is still there. @throws as `add` */
  async addClip(id: string, pictures: readonly { offsetMs: number; jpeg: Uint8Array }[]): Promise<void> {
    const frames: ClipFrame[] = [];
    let bytes = 0;
    for (const { offsetMs, jpeg } of pictures) {
      frames.push({ offsetMs, at: bytes, bytes: jpeg.byteLength });
      bytes += jpeg.byteLength;
    }
    const text = framesText(frames);
    await this.#makeRoom(bytes + text.length);
    if (this.get(id) === null) return;
    await this.#put(this.clipPath(id), pictures.map(({ jpeg }) => jpeg));
    faultPoint('recordings.clip.written');
    let changes = 0;
    await this.#orDelete(this.clipPath(id), () => {
      changes = this.#db.prepare('UPDATE recording SET clip_bytes = ?, clip_frames = ? WHERE id = ? AND clip_bytes IS NULL').run(bytes, text, id).changes;
    });
    if (changes > 0) this.#bytes += bytes + text.length;
    else await rm(this.clipPath(id), { force: true }); // The recording was deleted meanwhile.
    faultPoint('recordings.clip.indexed');
  }

  /** Recordings of a filter, newest first. @param limit the most that are returned */
  list(filter: RecordingFilter, limit: number): Recording[] {
    const { sql, values } = whereOf(filter);
    const rows = this.#db.prepare<(string | number)[], Row>(`SELECT * FROM recording WHERE ${sql} ORDER BY time_ms DESC, id DESC LIMIT ?`).all(...values, limit);
    return rows.map(fromRow);
  }

  get(id: string): Recording | null {
    const row = this.#db.prepare<[string], Row>('SELECT * FROM recording WHERE id = ?').get(id);
    return row === undefined ? null : fromRow(row);
  }

  count(): number {
    return this.#db.prepare<[], { n: number }>('SELECT COUNT(*) AS n FROM recording').get()?.n ?? 0;
  }

  /** The JPEG picture of an event. @throws AgentError E_NOT_FOUND */
  async snapshot(id: string): Promise<Uint8Array> {
    return this.#read(id, (recording) => ({ path: this.snapshotPath(id), at: 0, bytes: recording.snapshotBytes }));
  }

  /** The whole clip, as JPEG pictures one after another; with `frame`, only that picture. @throws AgentError E_NOT_FOUND */
  async clip(id: string, frame?: number): Promise<Uint8Array> {
    return this.#read(id, ({ clip }) => {
      if (clip === null) return null;
      const part = frame === undefined ? { at: 0, bytes: clip.bytes } : clip.frames[frame];
      return part === undefined ? null : { path: this.clipPath(id), at: part.at, bytes: part.bytes };
    });
  }

  /** Deletes all recordings of the filter, or the one with that id. @returns how many there were */
  async remove(which: RecordingFilter | { id: string }): Promise<number> {
    const { sql, values } = 'id' in which ? { sql: 'id = ?', values: [which.id] } : whereOf(which);
    return this.#forget(sql, values);
  }

  /** Deletes recordings that are older than the limit. */
  async trim(): Promise<void> {
    await this.#forget('time_ms < ?', [this.#now() - this.#limits.maxAgeMs]);
    await this.#makeRoom(0);
  }

  snapshotPath(id: string): string {
    return join(this.#folder, `${id}.jpg`);
  }

  clipPath(id: string): string {
    return join(this.#folder, `${id}.mjpeg`);
  }

  async #reconcile(): Promise<void> {
    const rows = this.#db.prepare<[], Pick<Row, 'id' | 'snapshot_bytes' | 'clip_bytes'>>('SELECT id, snapshot_bytes, clip_bytes FROM recording').all();
    const named = new Set<string>();
    for (const { id, snapshot_bytes: snapshot, clip_bytes: clip } of rows) {
      if ((await sizeOf(this.snapshotPath(id))) !== snapshot) {
        await this.#forget('id = ?', [id]);
        continue;
      }
      named.add(`${id}.jpg`);
      if (clip !== null && (await sizeOf(this.clipPath(id))) !== clip) translateSqlite('change the recordings', () => this.#db.prepare('UPDATE recording SET clip_bytes = NULL, clip_frames = NULL WHERE id = ?').run(id));
      else if (clip !== null) named.add(`${id}.mjpeg`);
    }
    for (const name of await readdir(this.#folder)) {
      if (!named.has(name)) await rm(join(this.#folder, name), { force: true, recursive: true });
    }
    this.#bytes = this.#db.prepare<[], { bytes: number | null }>(`SELECT SUM(${SIZE}) AS bytes FROM recording`).get()?.bytes ?? 0;
  }

  /** Deletes old recordings until this many bytes are free. @throws AgentError E_DISK_FULL when that is not possible */
  async #makeRoom(bytes: number): Promise<void> {
    if (bytes > this.#limits.maxBytes) throw new AgentError('E_DISK_FULL', `A recording of ${bytes} bytes is larger than recordings.max_bytes, ${this.#limits.maxBytes}`);
    while (this.#bytes + bytes > this.#limits.maxBytes && (await this.#forgetOldest()));
    if (bytes === 0) return;
    while ((await freeBytes(this.#folder)) < bytes + SPARE_BYTES) {
      if (await this.#forgetOldest()) continue;
      throw new AgentError('E_DISK_FULL', `Expected ${bytes + SPARE_BYTES} free bytes for a recording in ${this.#folder}`);
    }
  }

  async #forgetOldest(): Promise<boolean> {
    return (await this.#forget('id = (SELECT id FROM recording ORDER BY time_ms, id LIMIT 1)', [])) > 0;
  }

  async #forget(sql: string, values: (string | number)[]): Promise<number> {
    const gone = translateSqlite('delete recordings', () => this.#db.prepare<(string | number)[], { id: string; bytes: number }>(`DELETE FROM recording WHERE ${sql} RETURNING id, ${SIZE} AS bytes`).all(...values));
    faultPoint('recordings.forgotten');
    for (const { id, bytes } of gone) {
      this.#bytes -= bytes;
      await rm(this.snapshotPath(id), { force: true });
      faultPoint('recordings.snapshot.deleted');
      await rm(this.clipPath(id), { force: true });
    }
    return gone.length;
  }

  async #put(path: string, data: Uint8Array | readonly Uint8Array[]): Promise<void> {
    await fileSystem(`write ${path}`, () => writeFileAtomic(path, data));
  }

  async #orDelete(path: string, index: () => void): Promise<void> {
    try {
      translateSqlite('change the recordings', index);
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    }
  }

  async #read(id: string, where: (recording: Recording) => { path: string; at: number; bytes: number } | null): Promise<Uint8Array> {
    const recording = this.get(id);
    const part = recording === null ? null : where(recording);
    if (part === null) throw new AgentError('E_NOT_FOUND', `There is no such picture of the event ${id}`);
    const file = await open(part.path, 'r').catch((cause: unknown) => { throw new AgentError('E_NOT_FOUND', `The picture of the event ${id} has just been deleted`, { cause }); });
    try {
      const data = new Uint8Array(part.bytes);
      await file.read(data, 0, part.bytes, part.at);
      return data;
    } finally {
      await file.close();
    }
  }
}

async function sizeOf(path: string): Promise<number | null> {
  return stat(path).then((found) => (found.isFile() ? found.size : null), () => null);
}

async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

/** Runs `work`, and converts errors of the file system to coded ones. */
async function fileSystem<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    return translateSqlite(what, () => { throw cause; });
  }
}
