import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { hashModules } from '../../deploy/demo/files.js';

const parent = mkdtempSync(join(tmpdir(), 'sterna-hash-modules-'));
afterAll(() => rmSync(parent, { recursive: true, force: true }));

describe('the hash of the modules that a cached file was made by', () => {
  const from = pathToFileURL(join(parent, 'demo', 'model.js')).href;

  it('changes with a module of a folder, and not with other files', async () => {
    mkdirSync(join(parent, 'package'));
    writeFileSync(join(parent, 'package', 'write.js'), 'one');
    writeFileSync(join(parent, 'package', 'notes.md'), 'one');
    const before = await hashModules(from, ['../package']);
    writeFileSync(join(parent, 'package', 'notes.md'), 'two');
    expect(await hashModules(from, ['../package'])).toBe(before);
    writeFileSync(join(parent, 'package', 'write.js'), 'two');
    expect(await hashModules(from, ['../package'])).not.toBe(before);
  });

  it('is that of nothing in an installed package, which has no such folders', async () => {
    expect(await hashModules(from, ['../not-there'])).toBe(await hashModules(from, []));
  });
});
