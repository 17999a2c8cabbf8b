import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = new URL('../..', import.meta.url).pathname;
const documents = execFileSync('git', ['ls-files', '*.md'], { cwd: root, encoding: 'utf8' }).trim().split('\n');
const linesOf = (path: string): string[] => readFileSync(join(root, path), 'utf8').split('\n');

/** Lines outside of tables and code, with their numbers. */
function prose(path: string): { line: string; number: number }[] {
  let code = false;
  return linesOf(path).flatMap((line, index) => {
    if (line.trimStart().startsWith('```')) code = !code;
    return code || line.trimStart().startsWith('|') ? [] : [{ line, number: index + 1 }];
  });
}

describe.each(documents)('%s', (path) => {
  it('has lines of at most 120 characters, tables and code aside', () => {
    // A line of one word, such as an address, cannot be wrapped.
    const long = prose(path).filter(({ line }) => line.length > 120 && line.trim().includes(' ') && !line.startsWith('* [') && !line.startsWith('!['));
    expect(long.map(({ number }) => number)).toEqual([]);
  });

  it('links to files that are there', () => {
    const targets = linesOf(path).flatMap((line) => [...line.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)].map(([, target]) => target ?? ''));
    expect(targets.filter((target) => !existsSync(join(root, dirname(path), target)))).toEqual([]);
  });
});
