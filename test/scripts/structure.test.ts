/** No file imports itself by way of others, folders import downwards only and sizes are limited (rules of `npm run lint`, which are tested here), and a start loads no compiler. */
import { ESLint, Linter } from 'eslint';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
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

/** The files that are loaded with `entry`: those that it imports at once, by way of others too. */
function loadedWith(entry: string): Set<string> {
  const loaded = new Set([entry]);
  for (const file of loaded) {
    const text = readFileSync(join(root, file), 'utf8');
    for (const [, path = ''] of text.matchAll(/^(?:import|export)\s(?!type\b)[^'"=]*'(\.[^']+)'/gm)) loaded.add(join(dirname(file), path).replace(/\.js$/, '.ts'));
  }
  return loaded;
}

describe('a start', () => {
  it.each([
    ['agent/main.ts', 'runtime/session.ts'],
    ['runtime/pipeline/index.ts', 'runtime/session.ts'],
  ])('does not load the compiler, nor what reads and writes models: %s', (entry, needed) => {
    const loaded = loadedWith(entry);
    expect(loaded).toContain(needed);
    for (const late of ['runtime/lower/compile.ts', 'runtime/ops/registry.ts', 'runtime/onnx/parse.ts', 'runtime/onnx/serialize.ts']) expect(loaded).not.toContain(late);
  });
});

/** What some of the rules of the folder in which `file` is say about `text`, which is JavaScript. */
async function refusedText(file: string, text: string, names: readonly string[]): Promise<string[]> {
  const { rules } = await new ESLint({ cwd: root }).calculateConfigForFile(join(root, file)) as { rules: Linter.RulesRecord };
  return new Linter().verify(text, [{ rules: Object.fromEntries(names.map((name) => [name, rules[name] ?? 'off'])) }]).map(({ message }) => message);
}

/** What the rules of the folder in which `file` is say about its imports. */
const refused = (file: string, imports: readonly string[]): Promise<string[]> =>
  refusedText(file, imports.map((path) => `import '${path}';`).join('\n'), ['no-restricted-imports']);

describe('sizes', () => {
  const rules = ['max-lines', 'max-lines-per-function', 'max-params'];
  const lines = (count: number): string => 'x();\n// a comment does not count\n\n'.repeat(count);
  const fn = (count: number): string => `function f() {\n${lines(count - 2)}}`;

  it.each(['kernels/binding/a.ts', 'runtime/vision/a.ts', 'agent/ota/a.ts', 'deploy/cli/a.ts', 'scripts/lib/a.mjs'])('are limited in %s', async (file) => {
    expect(await refusedText(file, lines(401), rules)).toEqual([expect.stringContaining('too many lines (401)')]);
    expect(await refusedText(file, fn(61), rules)).toEqual([expect.stringContaining('too many lines (61)')]);
    expect(await refusedText(file, 'function f(a, b, c, d, e, f) {}', rules)).toEqual([expect.stringContaining('too many parameters (6)')]);
    expect(await refusedText(file, `${lines(338)}${fn(60)}\nfunction g(a, b, c, d, e) {}`, rules)).toEqual([]);
  });

  it('are limited in tests, which may be longer', async () => {
    expect(await refusedText('test/runtime/a.test.ts', fn(300), rules)).toEqual([]);
    expect(await refusedText('test/runtime/a.test.ts', `${fn(401)}\nfunction g(a, b, c, d, e, f, g, h, i) {}`, rules)).toHaveLength(2);
  });
});

describe('arrows against the floors', () => {
  it.each([
    ['kernels/binding/a.ts', '../../runtime/errors.js'],
    ['runtime/vision/a.ts', '../../agent/errors.js'],
    ['agent/agent.ts', '../deploy/cli/main.js'],
    ['agent/ota/a.ts', '../../deploy/cli/main.js'],
    ['agent/ota/a.ts', '../inference/loop.js'],
    ['agent/ground/a.ts', '../ota/state.js'],
    ['agent/contracts/a.ts', '../errors.js'],
    ['agent/foundation.ts', './agent.js'],
    ['deploy/cli/a.ts', '../../agent/ota/machine.js'],
  ])('are refused: %s imports %s', async (file, path) => {
    expect(await refused(file, [path])).toHaveLength(1);
  });

  it.each([
    ['agent/ota/a.ts', '../ground/package.js'],
    ['agent/ota/a.ts', './state.js'],
    ['agent/agent.ts', './pipelines/pipelines.js'],
    ['deploy/cli/a.ts', '../../agent/contracts/index.js'],
  ])('are not seen where there are none: %s imports %s', async (file, path) => {
    expect(await refused(file, [path])).toEqual([]);
  });

  it('are refused in one direction at least between any two parts of the agent, so each has its floor', async () => {
    const parts = readdirSync(join(root, 'agent'), { withFileTypes: true })
      .flatMap((entry) => (entry.isDirectory() ? [`${entry.name}/a.ts`] : entry.name.endsWith('.ts') ? [entry.name] : []));
    expect(parts.length).toBeGreaterThan(15);
    const upwards = new Map(await Promise.all(parts.map(async (part) => {
      const path = (other: string): string => `${part.includes('/') ? '..' : '.'}/${other.replace(/\.ts$/, '.js')}`;
      const messages = await Promise.all(parts.map(async (other) => [other, (await refused(`agent/${part}`, [path(other)])).length > 0] as const));
      return [part, new Map(messages)] as const;
    })));
    for (const a of parts) for (const b of parts) if (a < b) expect([a, b, upwards.get(a)?.get(b) === true || upwards.get(b)?.get(a) === true]).toEqual([a, b, true]);
  });

  it('are not among the sources', async () => {
    const sources = folders.flatMap(sourcesOf);
    const imports = importsOf(new Map(sources.map((file) => [file, readFileSync(join(root, file), 'utf8')])));
    for (const [file, targets] of imports) {
      const paths = targets.map((target) => relative(dirname(file), target).replace(/\.ts$/, '.js')).map((path) => (path.startsWith('.') ? path : `./${path}`));
      expect([file, ...await refused(file, paths)]).toEqual([file]);
    }
  });
});
