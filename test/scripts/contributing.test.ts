/** CONTRIBUTING.md answers "where would I add ...?" with one folder and a section of its README, and what it names is there. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { answerOf } from '../support/toys.js';

const root = join(import.meta.dirname, '../..');
const tracked = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], { cwd: root, encoding: 'utf8' }).trim().split('\n');
const page = readFileSync(join(root, 'CONTRIBUTING.md'), 'utf8');
const rows = [...page.matchAll(/^\| (.+?) \| \[.*?\]\((.+?)\) \| \[(.+?)\]\((.+?)#(.+?)\) \|$/gm)].map(([, what = '', folder = '', heading = '', readme = '', anchor = '']) => ({ what, folder, heading, readme, anchor }));

it.each(['YOLO head', 'sound classifier', 'operator', 'kernel for a new ISA', 'telemetry field', 'sensor'])('the page answers where to add a %s', (thing) => {
  expect(rows.filter(({ what }) => what.includes(thing)).length).toBeGreaterThan(0);
});

describe.each(rows)('$what', ({ folder, heading, readme, anchor }) => {
  const { lines, files } = answerOf(readme, heading);

  it('is one folder, and a section of the README of that folder or of one above it', () => {
    expect(existsSync(join(root, folder))).toBe(true);
    expect(`${folder}/`.startsWith(readme.replace('README.md', ''))).toBe(true);
    expect(anchor).toBe(heading.toLowerCase().replaceAll(' ', '-'));
  });

  it('is answered in one to five lines, which name files that exist', () => {
    expect(lines.length).toBeGreaterThan(0);
    expect(lines.length).toBeLessThanOrEqual(5);
    expect(files.length).toBeGreaterThan(0);
    const isThere = (name: string): boolean => {
      const pattern = new RegExp(`(^|/)${name.replace(/^(\.\.\/)+/, '').replaceAll('.', '\\.').replaceAll(/<[a-z]+>/g, '[^/]+')}$`);
      return tracked.some((file) => file.startsWith(readme.split('/')[0] ?? '') && pattern.test(file));
    };
    expect(files.filter((file) => !isThere(file))).toEqual([]);
  });
});
