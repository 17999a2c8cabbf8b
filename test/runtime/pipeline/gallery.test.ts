import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { openGallery } from '../../../runtime/pipeline/gallery.js';
import { failedUse } from '../../../runtime/pipeline/gallery-file.js';
import { normalize } from '../../../runtime/vision/embedding.js';
import { random } from '../support/random.js';

const folder = mkdtempSync(join(tmpdir(), 'sterna-gallery-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const unit = (...values: number[]): Float32Array => normalize(Float32Array.from(values)) ?? new Float32Array(0);
const refused = (pattern: RegExp) => expect.objectContaining({ code: 'E_GALLERY', message: expect.stringMatching(pattern) as string }) as Error;

describe('gallery', () => {
  it('matches the nearest sample of anybody', () => {
    const gallery = openGallery(':memory:');
    const anna = gallery.enrol('Anna', [unit(1, 0, 0), unit(0, 1, 0)], 's');
    gallery.enrol('Ben', [unit(0, 0, 1)], 's');
    expect(gallery.match(unit(0.1, 0.9, 0), 's')).toMatchObject({ personId: anna.id, name: 'Anna' });
    expect(gallery.match(unit(0, 0, 1), 's')).toMatchObject({ name: 'Ben', similarity: 1 });
    expect(gallery.match(unit(-1, -1, -1), 's')?.similarity).toBeLessThan(0);
    gallery.close();
  });

  it('finds what comparing all in float finds, people and similarities, in a gallery of any vectors', () => {
    const next = random(5);
    const spread = (): Float32Array => unit(...Array.from({ length: 100 }, () => next() - 0.5));
    fc.assert(fc.property(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 8 }), fc.boolean(), (people, wanted, alike) => {
      const gallery = openGallery(':memory:');
      const base = spread();
      const samples = Array.from({ length: people }, (_, i) => Array.from({ length: 1 + (i % 4) }, () => (alike ? unit(...base.map((value) => value + (next() - 0.5) * 1e-3)) : spread())));
      // Asked in between, the index grows by what is enrolled; else it is made at once.
      const [half, inBetween] = [Math.floor(people / 2), people % 3];
      samples.forEach((own, i) => {
        gallery.enrol(`p${i}`, own, 's');
        if (inBetween === 1 || (inBetween === 2 && i === half)) gallery.match(base, 's');
      });
      const query = alike ? base : spread();
      const dot = (sample: Float32Array): number => Math.max(-1, Math.min(1, sample.reduce((sum, value, k) => sum + value * (query[k] ?? 0), 0)));
      const expected = samples.map((own, i) => ({ personId: i + 1, name: `p${i}`, similarity: Math.max(...own.map(dot)) })).sort((a, b) => b.similarity - a.similarity).slice(0, wanted);
      expect(gallery.nearest(query, 's', wanted)).toEqual(expected);
      gallery.close();
    }), { numRuns: 40 });
  });

  it('reads no stored record to enroll or find one more, however many people there are', () => {
    let opened = 0;
    // A key that counts: each stored name and embedding is opened by it.
    const key = { id: 'count', seal: (_record: string, plain: Uint8Array) => Uint8Array.from(plain), open: (_record: string, sealed: Uint8Array) => { opened++; return Uint8Array.from(sealed); } };
    const gallery = openGallery(':memory:', { key });
    const next = random(3);
    const spread = (): Float32Array => unit(...Array.from({ length: 16 }, () => next() - 0.5));
    const people = Array.from({ length: 100 }, () => [spread(), spread(), spread()]);
    const counts = people.map((samples, i) => {
      const before = opened;
      gallery.enrol(`p${i}`, samples, 's');
      for (const sample of samples) expect(gallery.nearest(sample, 's', 1)).toMatchObject([{ personId: i + 1, name: `p${i}` }]);
      return opened - before;
    });
    expect(counts.slice(1)).toEqual(counts.slice(1).map(() => 0));
    for (const [i, [sample = spread()]] of people.entries()) expect(gallery.match(sample, 's')?.personId).toBe(i + 1);
    expect(gallery.enrol('p7', [spread()], 's')).toMatchObject({ id: 8, samples: 4 });
    expect(gallery.remove(8)).toBe(true);
    expect(gallery.match(people[7]?.[0] ?? spread(), 's')?.personId).not.toBe(8);
    expect(gallery.enrol('p7', [spread()], 's')).toMatchObject({ samples: 1 });
    gallery.close();
  });

  it('finds who was enrolled after somebody was looked for in vain', () => {
    const gallery = openGallery(':memory:');
    expect(gallery.match(unit(1, 0), 's')).toBeNull();
    gallery.enrol('Anna', [unit(1, 0)], 's');
    expect(gallery.match(unit(1, 0), 's')).toMatchObject({ name: 'Anna' });
    gallery.close();
  });

  it('never compares different spaces', () => {
    const gallery = openGallery(':memory:');
    gallery.enrol('Anna', [unit(1, 0)], 'old');
    expect(gallery.match(unit(1, 0), 'new')).toBeNull();
    gallery.enrol('Anna', [unit(1, 0, 0)], 'new');
    expect(gallery.list().map(({ name, embeddingSpaceId }) => [name, embeddingSpaceId])).toEqual([['Anna', 'old'], ['Anna', 'new']]);
    gallery.close();
  });

  it('adds samples to a known person', () => {
    const gallery = openGallery(':memory:');
    const first = gallery.enrol('Anna', [unit(1, 0)], 's');
    const second = gallery.enrol(' Anna ', [unit(0, 1)], 's');
    expect(second).toMatchObject({ id: first.id, samples: 2 });
    expect(gallery.match(unit(0, 1), 's')?.similarity).toBe(1);
    gallery.close();
  });

  it('forgets a removed person with all samples, and says when there was none', () => {
    const gallery = openGallery(':memory:');
    const anna = gallery.enrol('Anna', [unit(1, 0)], 's');
    expect(gallery.match(unit(1, 0), 's')).not.toBeNull();
    expect(gallery.remove(anna.id)).toBe(true);
    expect(gallery.remove(anna.id)).toBe(false);
    expect(gallery.match(unit(1, 0), 's')).toBeNull();
    expect(gallery.list()).toEqual([]);
    gallery.close();
  });

  it('keeps everything in its file, and sees what another process changed', () => {
    const path = join(folder, 'people.db');
    const gallery = openGallery(path);
    gallery.enrol('Anna', [unit(1, 0)], 's');
    expect(gallery.match(unit(0, 1), 's')?.name).toBe('Anna');
    const other = openGallery(path);
    expect(other.list()).toHaveLength(1);
    other.enrol('Ben', [unit(0, 1)], 's');
    expect(gallery.match(unit(0, 1), 's')?.name).toBe('Ben');
    other.close();
    gallery.close();
  });

  it('refuses bad names and embeddings, and then has enrolled nothing', () => {
    const gallery = openGallery(':memory:');
    expect(() => gallery.enrol('  ', [unit(1, 0)], 's')).toThrow(refused(/1 to 128 characters/));
    expect(() => gallery.enrol('Anna', [], 's')).toThrow(refused(/at least one embedding/));
    expect(() => gallery.enrol('Anna', [Float32Array.from([1, 1])], 's')).toThrow(refused(/L2-normalized/));
    expect(() => gallery.enrol('Anna', [Float32Array.from([NaN, 1])], 's')).toThrow(refused(/L2-normalized/));
    expect(() => gallery.enrol('Anna', [unit(1, 0), unit(1, 0, 0)], 's')).toThrow(refused(/2 values/));
    expect(() => gallery.enrol('Anna', new Array<Float32Array>(65).fill(unit(1, 0)), 's')).toThrow(refused(/at most 64/));
    expect(gallery.list()).toEqual([]);
    gallery.enrol('Anna', [unit(1, 0)], 's');
    expect(() => gallery.enrol('Ben', [unit(1, 0, 0)], 's')).toThrow(refused(/Expected an embedding of 2 values but received 3/));
    expect(() => gallery.match(unit(1, 0, 0), 's')).toThrow(refused(/2 values/));
    gallery.close();
  });

  it('refuses a file that is no database, and one of a newer version', () => {
    writeFileSync(join(folder, 'text.db'), 'x'.repeat(5000));
    expect(() => openGallery(join(folder, 'text.db'))).toThrow(refused(/text\.db/));
    expect(() => openGallery(join(folder, 'no', 'folder.db'))).toThrow(refused(/folder\.db/));
    const newer = new Database(join(folder, 'newer.db'));
    newer.pragma('user_version = 9');
    newer.close();
    expect(() => openGallery(join(folder, 'newer.db'))).toThrow(refused(/version 9/));
  });
});

describe('what SQLite throws', () => {
  it.each([['SQLITE_IOERR_WRITE', 'E_GALLERY'], ['SQLITE_IOERR_SHMSIZE', 'E_GALLERY'], ['SQLITE_FULL', 'E_GALLERY'], ['SQLITE_IOERR_READ', 'E_GALLERY_DAMAGED'], ['SQLITE_CORRUPT', 'E_GALLERY_DAMAGED']])(
    '%s is %s, since a disk that takes nothing damages nothing', (code, expected) => {
      expect(failedUse('gallery.db', Object.assign(new Error('no'), { code })).code).toBe(expected);
    });
});
