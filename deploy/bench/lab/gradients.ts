/** Gradients against central differences in float64: every operator that has one, and random graphs. The comparison is that of the tests. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { differentiableOperators } from '../../../runtime/gradients/rules/table.js';
import { DeployError } from '../../errors.js';
import type { Absent, Bar } from '../bars.js';
import type { LabBenchOptions } from './options.js';

const root = resolve(import.meta.dirname, '../../../..');
const reportSchema = z.object({ error: z.number(), where: z.string(), cases: z.number(), comparisons: z.number(), operators: z.number().optional() });

/** How many random graphs. */
const graphs = 200;

const most = 1e-4;
const barOf = (id: string, what: string, { error, where, comparisons }: z.output<typeof reportSchema>): Bar =>
  ({ id, what: `largest relative error of gradients against central differences in float64, ${what}, ${comparisons} comparisons (the worst: ${where})`, value: error, unit: '', bar: `<= ${most}`, met: comparisons > 0 && error <= most });

/** @throws DeployError E_BENCH when the tests themselves cannot run */
export async function gradientBars({ signal }: Pick<LabBenchOptions, 'signal'>): Promise<Bar[] | Absent> {
  const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
  if (!existsSync(join(root, 'test', 'runtime', 'gradients')) || !existsSync(vitest)) return { absent: 'it needs the tests of a checkout' };
  const folder = await mkdtemp(join(tmpdir(), 'sterna-bench-gradients-'));
  try {
    const env = { ...process.env, STERNA_GRADIENTS_REPORT: folder, STERNA_RANDOM_GRAPHS: String(graphs) };
    // A test that fails is a bar that is missed, and the reports have the figures of it.
    const failed = await promisify(execFile)(process.execPath, [vitest, 'run', 'test/runtime/gradients', '-t', 'central differences', '--testTimeout', '600000'], { cwd: root, env, signal, maxBuffer: 1 << 26 }).then(() => null, (error: unknown) => error);
    signal.throwIfAborted();
    const read = async (name: string): Promise<z.output<typeof reportSchema>> => {
      const text = await readFile(join(folder, `${name}.json`), 'utf8').catch(() => null);
      if (text === null) throw new DeployError('E_BENCH', `The comparison of gradients (${name}) did not come to its end`, { cause: failed });
      return reportSchema.parse(JSON.parse(text));
    };
    const [operators, random, recurrent] = [await read('operators'), await read('graphs'), await read('recurrent')];
    return [
      barOf('lab.gradients_operators', `${operators.cases} forms of ${operators.operators ?? 0} of ${differentiableOperators.length} operators that have one (that of QuantizeLinear is straight-through, and tested by its definition)`, operators),
      barOf('lab.gradients_recurrent', `${recurrent.cases} forms of RNN, GRU and LSTM`, recurrent),
      barOf('lab.gradients_graphs', `${random.cases} random graphs`, random),
    ];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
