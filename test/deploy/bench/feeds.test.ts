import { expect, it } from 'vitest';
import { openEntry, takeTurns, type Entry } from '../../../deploy/bench/measure.js';
import { modelBytes, node } from '../../runtime/support/models.js';

it('a bench feeds other data in each run, to contenders the same', async () => {
  const model = modelBytes({ inputs: { x: [1, 4] }, nodes: [node('Relu', ['x'], ['y'])], outputs: ['y'] });
  const fed: string[][] = [];
  const watched = async (): Promise<Entry> => {
    const entry = await openEntry(model, { engine: 'native' }, 1);
    const seen: string[] = [];
    fed.push(seen);
    const { session } = entry;
    const run: typeof session.run = (feeds) => {
      seen.push(String(feeds['x']?.data));
      return session.run(feeds);
    };
    return { ...entry, session: { ...session, inputs: session.inputs, outputs: session.outputs, stats: session.stats, run, close: () => session.close() } };
  };
  const entries = [await watched(), await watched()];
  await takeTurns(entries, { least: 4, most: 4, milliseconds: 1 });
  for (const { session } of entries) await session.close();
  // After five runs to warm up, four turns of two runs.
  const turns = fed[0]?.slice(5) ?? [];
  expect(turns).toHaveLength(8);
  expect(new Set(turns).size).toBe(8);
  expect(fed[1]).toEqual(fed[0]);
});
