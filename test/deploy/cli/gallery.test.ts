import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createGalleryKey, galleryKeyId, openGallery, readGalleryKey } from '../../../runtime/pipeline/index.js';
import { temporaryFolder } from '../../support/folder.js';
import { captureCli } from './capture.js';

function encrypted(): { gallery: string; key: string; next: string } {
  const folder = temporaryFolder();
  const [gallery, key, next] = ['people.db', 'old.key', 'new.key'].map((name) => join(folder, name)) as [string, string, string];
  const opened = openGallery(gallery, { key: createGalleryKey(key) });
  opened.enrol('Anna', [Float32Array.of(1, 0), Float32Array.of(0, 1)], 's');
  opened.close();
  return { gallery, key, next };
}

const rekey = (gallery: string, key: string, next: string, ...more: string[]) => captureCli([...more, 'gallery', 'rekey', '--gallery', gallery, '--key-file', key, '--new-key-file', next]);

describe('sterna gallery rekey', () => {
  it('makes the new key and encrypts everything with it; a second time there is nothing to do', async () => {
    const { gallery, key, next } = encrypted();
    const first = await rekey(gallery, key, next);
    expect([first.code, first.out]).toEqual([0, expect.stringMatching(/^Encrypted 1 names and 2 embeddings/)]);
    expect(statSync(next).mode & 0o777).toBe(0o600);
    const opened = openGallery(gallery, { key: readGalleryKey(next) });
    expect(opened.match(Float32Array.of(1, 0), 's')?.name).toBe('Anna');
    opened.close();
    const second = await rekey(gallery, key, next, '--json');
    expect([second.code, JSON.parse(second.out)]).toEqual([0, { gallery, key_id: readGalleryKey(next).id, people: 0, samples: 0 }]);
  });

  it('exits with 3 for a key that does not fit, and leaves the gallery as it was', async () => {
    const { gallery, key, next } = encrypted();
    const before = galleryKeyId(gallery);
    createGalleryKey(`${key}.other`);
    expect(await rekey(gallery, `${key}.other`, next)).toMatchObject({ code: 3, err: expect.stringMatching(/E_GALLERY_KEY: .*is encrypted with the key/) as string });
    expect(await rekey(gallery, `${key}.none`, next)).toMatchObject({ code: 3, err: expect.stringMatching(/E_GALLERY_KEY: .*cannot be read/) as string });
    expect(galleryKeyId(gallery)).toBe(before);
  });

  it('refuses a gallery that is in use, and can be run again', async () => {
    const { gallery, key, next } = encrypted();
    const opened = openGallery(gallery, { key: readGalleryKey(key) });
    const before = readFileSync(key, 'utf8');
    expect(await rekey(gallery, key, next)).toMatchObject({ code: 1, err: expect.stringMatching(/in use; stop the daemon/) as string });
    opened.close();
    expect(readFileSync(key, 'utf8')).toBe(before);
    expect(existsSync(gallery)).toBe(true);
    expect((await rekey(gallery, key, next)).code).toBe(0); // the new key that was made is used
  });
});
