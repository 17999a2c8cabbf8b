/** No file imports itself by way of others. (That folders import downwards only is a rule of `npm run lint`.) */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');
const folders = ['kernels', 'runtime', 'agent', 'deploy'];

function sourcesOf(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.includes('node_modules'))
    .map((name) => join(folder, name));
}

type Imports = ReadonlyMap<string, readonly string[]>;

/** The relative imports of each file, those of types and dynamic ones too. */
function importsOf(files: ReadonlyMap<string, string>): Imports {
  const targets = (file: string, text: string): string[] => [...text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)]
    .map(([, path]) => join(dirname(file), path ?? '').replace(/\.js$/, '.ts'))
    .filter((target) => files.has(target));
  return new Map([...files].map(([file, text]) => [file, targets(file, text)]));
}

/** One circle of files, or undefined: depth-first search, in which a file that is on the path again closes a circle. */
function findCircle(imports: Imports): string[] | undefined {
  const done = new Set<string>();
  const visit = (file: string, path: readonly string[]): string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (done.has(file)) return undefined;
    for (const next of imports.get(file) ?? []) {
      const circle = visit(next, [...path, file]);
      if (circle !== undefined) return circle;
    }
    done.add(file);
    return undefined;
  };
  for (const file of imports.keys()) {
    const circle = visit(file, []);
    if (circle !== undefined) return circle;
  }
  return undefined;
}

describe('circles of imports', () => {
  it('are found, also by way of types and dynamic imports', () => {
    const files = new Map([['a/x.ts', "import type { Y } from './y.js';"], ['a/y.ts', "export * from '../b/z.js';"], ['b/z.ts', "await import('../a/x.js');"]]);
    expect(findCircle(importsOf(files))).toEqual(['a/x.ts', 'a/y.ts', 'b/z.ts', 'a/x.ts']);
    expect(findCircle(importsOf(new Map([...files].slice(0, 2))))).toBeUndefined();
  });

  it('are not among the sources', () => {
    const sources = folders.flatMap(sourcesOf);
    expect(sources.length).toBeGreaterThan(300);
    expect(findCircle(importsOf(new Map(sources.map((file) => [file, readFileSync(join(root, file), 'utf8')]))))).toBeUndefined();
  });
});
