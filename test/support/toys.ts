/** Copies of the sources with something added to them, for tests of which files an addition takes. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const root = join(import.meta.dirname, '../..');
const tops = ['kernels', 'runtime', 'agent', 'deploy'] as const;

export interface Addition {
  /** From the root of the project. */
  readonly file: string;
  /** What `text` goes behind; absent for a file that is new. */
  readonly anchor?: string;
  readonly text: string;
}

/** A tree in build/, which the caller removes: `folders` are copied and have the additions, the others are those of the project. */
export function copyWith(folders: readonly string[], additions: readonly Addition[]): string {
  mkdirSync(join(root, 'build'), { recursive: true });
  const copy = mkdtempSync(join(root, 'build/toy-'));
  for (const top of tops) {
    if (folders.includes(top)) cpSync(join(root, top), join(copy, top), { recursive: true });
    else symlinkSync(join(root, top), join(copy, top));
  }
  cpSync(join(root, 'package.json'), join(copy, 'package.json'));
  for (const { file, anchor, text } of additions) {
    const path = join(copy, file);
    mkdirSync(dirname(path), { recursive: true });
    const before = existsSync(path) ? readFileSync(path, 'utf8') : '';
    if (anchor === undefined ? before !== '' : !before.includes(anchor)) throw new Error(`${file} has no such place: ${anchor ?? 'it exists already'}`);
    writeFileSync(path, anchor === undefined ? text : before.replace(anchor, () => anchor + text));
  }
  return copy;
}

const textsOf = (folder: string): Map<string, string> =>
  new Map(readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts')).map((name) => [name, readFileSync(join(folder, name), 'utf8')]));

/** The sources of a folder that differ from those of the project, from that folder. */
export function changedIn(copy: string, folder: string): string[] {
  const before = textsOf(join(root, folder));
  return [...textsOf(join(copy, folder))].flatMap(([name, text]) => (before.get(name) === text ? [] : [name])).sort();
}

/** What a README answers below a heading: the lines up to the first empty one, and the sources that they name, tests aside. */
export function answerOf(readme: string, heading: string): { lines: string[]; files: string[] } {
  const [, after = ''] = readFileSync(join(root, readme), 'utf8').split(new RegExp(`^#+ ${heading}\\n\\n`, 'm'));
  const text = after.split('\n\n')[0] ?? '';
  return { lines: text.split('\n').filter((line) => line !== ''), files: [...text.matchAll(/`([\w./<>-]+\.(?:ts|cpp|h|cmake))`/g)].map(([, file = '']) => file).filter((file) => !file.includes('test')) };
}
