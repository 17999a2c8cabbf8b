/** Galleries that are encrypted: what their files show, and what they notice. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import Database from 'better-sqlite3';
import { describe, expect, it } from 'vitest';
import { openGalleryFile, galleryKeyId, rekeyGallery } from '../../../runtime/pipeline/gallery-file.js';
import { createGalleryKey, galleryKey, readGalleryKey } from '../../../runtime/pipeline/gallery-key.js';
import { openGallery } from '../../../runtime/pipeline/gallery.js';
import { normalize } from '../../../runtime/vision/embedding.js';
import { temporaryFolder } from '../../support/folder.js';

const dimensions = 32;
/** Reproducible, and no two alike. */
const face = (seed: number): Float32Array => normalize(Float32Array.from({ length: dimensions }, (_, i) => Math.sin(1 + seed * 7.3 + i * (1.7 + seed)))) ?? new Float32Array(dimensions);
const bytesOf = (embedding: Float32Array): Buffer => Buffer.from(embedding.buffer, embedding.byteOffset, embedding.byteLength);
const key = galleryKey(new Uint8Array(32).fill(1));
const otherKey = galleryKey(new Uint8Array(32).fill(2));
const name = 'Annabel Unmistakable';
const second = 'Benedict Unmistakable';

const coded = (code: string, pattern: RegExp = /./) => expect.objectContaining({ code, message: expect.stringMatching(pattern) as string }) as Error;
const newPath = (): string => join(temporaryFolder(), 'people.db');

function plainGallery(path = newPath()): string {
  const gallery = openGallery(path);
  gallery.enrol(name, [face(1), face(2)], 's');
  gallery.enrol(second, [face(3)], 's');
  gallery.close();
  return path;
}

function sealedGallery(path = newPath()): string {
  const gallery = openGallery(path, { key });
  gallery.enrol(name, [face(1), face(2)], 's');
  gallery.enrol(second, [face(3)], 's');
  gallery.close();
  return path;
}

/** What of the people can be found in the files of a gallery: the database, its log, and whatever else lies beside it. */
function found(path: string): string[] {
  const files = readdirSync(dirname(path)).filter((file) => file.startsWith(basename(path))).map((file) => readFileSync(join(dirname(path), file)));
  const secrets: [string, Buffer][] = [['first name', Buffer.from(name)], ['second name', Buffer.from(second)], ...[1, 2, 3].map((seed): [string, Buffer] => [`embedding ${seed}`, bytesOf(face(seed)).subarray(0, 16)])];
  return secrets.filter(([, bytes]) => files.some((file) => file.includes(bytes))).map(([what]) => what);
}

function change(path: string, sql: string): void {
  const database = new Database(path);
  database.exec(sql);
  database.close();
}

const whoIs = (path: string, with_ = key): (string | undefined)[] => {
  const gallery = openGallery(path, { key: with_ });
  try {
    return [1, 2, 3].map((seed) => gallery.match(face(seed), 's')?.name);
  } finally {
    gallery.close();
  }
};

describe('an encrypted gallery', () => {
  it('works as a plain one does, also after it was opened again', () => {
    const path = sealedGallery();
    expect(whoIs(path)).toEqual([name, name, second]);
    const gallery = openGallery(path, { key });
    expect(gallery.enrol(` ${name} `, [face(4)], 's')).toMatchObject({ id: 1, samples: 3 });
    expect(gallery.list().map((person) => [person.id, person.name, person.samples])).toEqual([[1, name, 3], [2, second, 1]]);
    expect(() => gallery.enrol(second, [Float32Array.of(1, 0)], 's')).toThrow(coded('E_GALLERY', /32 values/));
    expect(gallery.remove(1)).toBe(true);
    expect(gallery.match(face(1), 's')?.name).toBe(second);
    expect(gallery.enrol('Cem', [face(5)], 's').id).toBe(3);
    gallery.close();
  });

  it('shows neither names nor embeddings in its files, while it is open and after', () => {
    const path = newPath();
    const gallery = openGallery(path, { key });
    gallery.enrol(name, [face(1), face(2)], 's');
    gallery.enrol(second, [face(3)], 's');
    expect(existsSync(`${path}-wal`)).toBe(true);
    expect(found(path)).toEqual([]);
    gallery.close();
    expect(found(path)).toEqual([]);
    expect(found(plainGallery())).toEqual(['first name', 'second name', 'embedding 1', 'embedding 2', 'embedding 3']); // so the search can find
  });

  it.each([
    ['a bit of an embedding', "UPDATE sample SET embedding = CAST(substr(embedding, 1, 40) || x'00' || substr(embedding, 42) AS BLOB) WHERE id = 1"],
    ['an embedding cut short', 'UPDATE sample SET embedding = substr(embedding, 1, 20) WHERE id = 1'],
    ['an empty embedding', "UPDATE sample SET embedding = x'' WHERE id = 1"],
    ['a sample given to another person', 'UPDATE sample SET person = 2 WHERE id = 1'],
    ['two embeddings exchanged', 'UPDATE sample SET embedding = (SELECT embedding FROM sample AS other WHERE other.id = 4 - sample.id) WHERE id IN (1, 3)'],
    ['a sample with another number', 'UPDATE sample SET id = 9 WHERE id = 1'],
    ['two names exchanged', "CREATE TEMP TABLE old AS SELECT id, name FROM person; UPDATE person SET name = CAST(id AS BLOB) WHERE id < 3; UPDATE person SET name = (SELECT name FROM old WHERE old.id = 3 - person.id) WHERE id < 3"],
    ['a person with another time', 'UPDATE person SET created_ms = 7 WHERE id = 1'],
    ['a sample of another space', "UPDATE person SET space = 's' WHERE id = 3"],
  ])('notices %s', (_, sql) => {
    const path = sealedGallery();
    const other = openGallery(path, { key });
    other.enrol('Cem', [face(4)], 't');
    other.close();
    change(path, sql);
    expect(() => whoIs(path)).toThrow(coded('E_GALLERY_TAMPERED', /record \["(person|sample)",\d/));
  });

  it('names the person whose record was changed, and works again when that one is removed', () => {
    const path = sealedGallery();
    change(path, 'UPDATE sample SET embedding = zeroblob(156) WHERE id = 3');
    const gallery = openGallery(path, { key });
    expect(() => gallery.match(face(1), 's')).toThrow(coded('E_GALLERY_TAMPERED', /"person",2,/));
    expect(gallery.remove(2)).toBe(true);
    expect(gallery.match(face(1), 's')?.name).toBe(name);
    gallery.close();
  });

  it('refuses another key and no key, changes nothing, and opens with its own again', () => {
    const path = sealedGallery();
    const before = readFileSync(path);
    expect(galleryKeyId(path)).toBe(key.id);
    expect(() => openGallery(path, { key: otherKey })).toThrow(coded('E_GALLERY_KEY', new RegExp(`${key.id}.*${otherKey.id}`)));
    expect(() => openGallery(path)).toThrow(coded('E_GALLERY_KEY', /no key was given/));
    expect(readFileSync(path).equals(before)).toBe(true);
    expect(whoIs(path)).toEqual([name, name, second]);
  });

  it('refuses options that it does not know', () => {
    expect(() => openGallery(':memory:', { kee: key } as object)).toThrow(coded('E_OPTION', /key/));
  });
});

describe('a plain gallery that is opened with a key', () => {
  it('is encrypted, with its numbers and times, and nothing plain is left in its files', () => {
    const path = plainGallery();
    const plain = openGallery(path);
    plain.enrol('Cem', [face(4)], 's');
    plain.remove(3);
    const people = plain.list();
    plain.close();
    const gallery = openGallery(path, { key });
    expect(gallery.list()).toEqual(people);
    expect(found(path)).toEqual([]);
    expect(gallery.enrol('Dora', [face(5)], 's').id).toBe(4); // numbers are not given twice
    gallery.close();
    expect(found(path)).toEqual([]);
    expect(whoIs(path)).toEqual([name, name, second]);
  });

  it('begins its numbers after those of everybody who was ever removed', () => {
    const path = plainGallery();
    const plain = openGallery(path);
    for (const { id } of plain.list()) plain.remove(id);
    plain.close();
    const gallery = openGallery(path, { key });
    expect(gallery.enrol('Cem', [face(4)], 's').id).toBe(3);
    gallery.close();
  });

  it('leaves nothing plain although another process had it open at that time: the next start overwrites it', () => {
    const path = plainGallery();
    const reader = new Database(path, { readonly: true });
    reader.exec('BEGIN');
    reader.prepare('SELECT COUNT(*) FROM person').get();
    openGallery(path, { key }).close();
    reader.exec('ROLLBACK');
    reader.close();
    expect(found(path)).not.toEqual([]); // else this tests nothing
    expect(whoIs(path)).toEqual([name, name, second]);
    expect(found(path)).toEqual([]);
  });

  it('is as it was when the migration fails half-way', () => {
    const path = plainGallery();
    let left = 3;
    const failing = { ...sealer(), seal: (record: string, plain: Uint8Array) => { if (--left === 0) throw new Error('power cut'); return key.seal(record, plain); } };
    expect(() => openGalleryFile(path, failing)).toThrow(coded('E_GALLERY', /power cut/));
    const gallery = openGallery(path);
    expect(gallery.list().map((person) => person.name)).toEqual([name, second]);
    gallery.close();
  });
});

const sealer = () => ({ id: key.id, open: (record: string, sealed: Uint8Array) => key.open(record, sealed) });

describe('a key file', () => {
  it('is made once, for its owner alone, and read again', () => {
    const path = join(temporaryFolder(), 'gallery.key');
    const made = createGalleryKey(path);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readGalleryKey(path).id).toBe(made.id);
    expect(readGalleryKey(path).open('r', made.seal('r', Buffer.from('x'))).toString()).toBe('x');
    expect(() => createGalleryKey(path)).toThrow(coded('E_GALLERY_KEY', /exists already/));
    expect(readdirSync(dirname(path))).toEqual(['gallery.key']);
    expect(made.id).not.toBe(createGalleryKey(`${path}2`).id);
  });

  it('is refused when it is not there, malformed or of another length, and what it holds is not told', () => {
    const path = join(temporaryFolder(), 'gallery.key');
    expect(() => readGalleryKey(path)).toThrow(coded('E_GALLERY_KEY', /cannot be read/));
    writeFileSync(path, 'ab'.repeat(31));
    expect(() => readGalleryKey(path)).toThrow(coded('E_GALLERY_KEY', /^(?!.*abab).*64 hexadecimal digits/));
    expect(() => galleryKey(new Uint8Array(16))).toThrow(coded('E_GALLERY_KEY', /32 bytes/));
    expect(() => createGalleryKey(join(path, 'below'))).toThrow(coded('E_GALLERY_KEY', /cannot be written/));
  });
});

describe('a new key', () => {
  it('opens every record, the old one none, and a second time there is nothing to do', () => {
    const path = sealedGallery();
    expect(rekeyGallery(path, { from: key, to: otherKey })).toEqual({ people: 2, samples: 3 });
    expect(whoIs(path, otherKey)).toEqual([name, name, second]);
    expect(() => whoIs(path)).toThrow(coded('E_GALLERY_KEY'));
    expect(rekeyGallery(path, { from: key, to: otherKey })).toEqual({ people: 0, samples: 0 });
    expect(whoIs(path, otherKey)).toEqual([name, name, second]);
  });

  it('is refused for a file that is open, plain, missing, of another key, or has changed records', () => {
    const path = sealedGallery();
    const gallery = openGallery(path, { key });
    expect(() => rekeyGallery(path, { from: key, to: otherKey })).toThrow(coded('E_GALLERY', /in use; stop the daemon/));
    gallery.close();
    expect(() => rekeyGallery(path, { from: otherKey, to: galleryKey(new Uint8Array(32)) })).toThrow(coded('E_GALLERY_KEY', new RegExp(key.id)));
    expect(() => rekeyGallery(plainGallery(), { from: key, to: otherKey })).toThrow(coded('E_GALLERY_KEY', /not encrypted/));
    expect(() => rekeyGallery(newPath(), { from: key, to: otherKey })).toThrow(coded('E_GALLERY', /cannot be opened/));
    change(path, 'UPDATE sample SET embedding = zeroblob(156) WHERE id = 3');
    expect(() => rekeyGallery(path, { from: key, to: otherKey })).toThrow(coded('E_GALLERY_TAMPERED'));
    expect(galleryKeyId(path)).toBe(key.id);
  });

  it('is noticed by a gallery that is open, which then writes nothing with the old one', () => {
    const path = sealedGallery();
    const gallery = openGallery(path, { key });
    expect(gallery.match(face(1), 's')?.name).toBe(name);
    // As a restored copy would do it, past the lock.
    const other = sealedGallery();
    rekeyGallery(other, { from: key, to: otherKey });
    change(path, `ATTACH '${other}' AS o; UPDATE seal SET key_id = (SELECT key_id FROM o.seal); UPDATE sample SET embedding = (SELECT embedding FROM o.sample WHERE o.sample.id = sample.id)`);
    expect(() => gallery.match(face(1), 's')).toThrow(coded('E_GALLERY_KEY'));
    expect(() => gallery.enrol('Cem', [face(4)], 's')).toThrow(coded('E_GALLERY_KEY'));
    gallery.close();
  });

  it.each([1, 2, 300, 641])('killed at record %i leaves the gallery to the old one, and the command can be run again', (record) => {
    const path = newPath();
    const gallery = openGallery(path, { key });
    // More than SQLite's cache holds, so that half of the change is in the files when the process dies.
    const wide = Array.from({ length: 64 }, () => normalize(Float32Array.from({ length: 2048 }, (_, i) => Math.sin(i))) ?? new Float32Array(0));
    for (let person = 0; person < 10; person++) gallery.enrol(`Person ${person}`, wide, 'wide');
    gallery.close();
    const module_ = (file: string): string => JSON.stringify(pathToFileURL(join(import.meta.dirname, '../../../dist/runtime/pipeline', file)).href);
    const { signal, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', `
      import { rekeyGallery } from ${module_('gallery-file.js')};
      import { galleryKey } from ${module_('gallery-key.js')};
      const to = galleryKey(new Uint8Array(32).fill(2));
      let left = ${record};
      const seal = (...args) => { if (--left === 0) process.kill(process.pid, 'SIGKILL'); return to.seal(...args); };
      rekeyGallery(${JSON.stringify(path)}, { from: galleryKey(new Uint8Array(32).fill(1)), to: { id: to.id, seal, open: (...args) => to.open(...args) } });
    `], { encoding: 'utf8', timeout: 60_000 });
    expect(signal, stderr).toBe('SIGKILL');
    const after = openGallery(path, { key });
    expect(after.list().map((person) => [person.name, person.samples])).toEqual(Array.from({ length: 10 }, (_, person) => [`Person ${person}`, 64]));
    expect(after.match(wide[0] ?? face(1), 'wide')?.similarity).toBeCloseTo(1, 5);
    after.close();
    expect(rekeyGallery(path, { from: key, to: otherKey })).toEqual({ people: 10, samples: 640 });
    expect(galleryKeyId(path)).toBe(otherKey.id);
  });
});
