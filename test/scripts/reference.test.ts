import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';

interface Comments { [field: string]: { text: string; fields: Comments } }
const library = (name: string): Promise<unknown> => import(new URL(`../../scripts/lib/reference/${name}.mjs`, import.meta.url).href);
const { commentsOf } = await library('comments') as { commentsOf: (paths: string[]) => (name: string) => Comments };
const { schemaTable } = await library('table') as { schemaTable: (schema: object, comments: Comments) => string };

it('the reference pages are those of the code (npm run reference writes them)', () => {
  const { status, stderr } = spawnSync(process.execPath, ['scripts/reference.mjs', '--check'], { encoding: 'utf8' });
  expect(stderr).not.toContain('out of date');
  expect(status).toBe(0);
});

it('a field is described by its comment, or by that of the schema that it names', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sterna-reference-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'a.ts'), `
    /** Of the wall clock. */
    const time = z.number();
    const inner = z.object({
      /** How many. */
      count: z.number(),
    });
    export const outer = z.object({
      time,
      parts: z.array(inner).max(3),
      /** Own. */
      other: time.optional(),
    }).refine(() => true);
  `);
  const comments = commentsOf([join(folder, 'a.ts')])('outer');
  expect(comments).toMatchObject({ time: { text: 'Of the wall clock.' }, parts: { fields: { count: { text: 'How many.' } } }, other: { text: 'Own.' } });
  const table = schemaTable({
    type: 'object', required: ['time'], properties: { time: { type: 'number' }, parts: { type: 'array', maxItems: 3, items: { type: 'object', properties: { count: { type: 'integer', minimum: 0 } } } } },
  }, comments);
  expect(table.split('\n').slice(2)).toEqual([
    '| `time` | number |  | Of the wall clock. |', '| `parts` | array of object, below, 0 to 3 items | optional |  |', '| `parts[].count` | integer, at least 0 | optional | How many. |',
  ]);
});
