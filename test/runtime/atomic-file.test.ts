import { mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { writeFileAtomic } from '../../runtime/atomic-file.js';
import { temporaryFolder } from '../support/folder.js';

describe('an atomic write', () => {
  it('replaces the file, whole or in parts, for its owner alone', async () => {
    const path = join(temporaryFolder(), 'file');
    await writeFileAtomic(path, 'one');
    await writeFileAtomic(path, [Buffer.from('t'), Buffer.from('wo')]);
    expect(readFileSync(path, 'utf8')).toBe('two');
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('leaves nothing behind when it fails', async () => {
    const folder = temporaryFolder();
    mkdirSync(join(folder, 'taken'));
    await expect(writeFileAtomic(join(folder, 'taken'), 'x')).rejects.toThrow();
    expect(readdirSync(folder)).toEqual(['taken']);
  });

  it('may happen many times at once', async () => {
    const path = join(temporaryFolder(), 'file');
    const texts = Array.from({ length: 20 }, (_, i) => String(i).repeat(1000 + i));
    await Promise.all(texts.map((text) => writeFileAtomic(path, text)));
    expect(texts).toContain(readFileSync(path, 'utf8'));
    expect(readdirSync(join(path, '..'))).toEqual(['file']);
  });
});
