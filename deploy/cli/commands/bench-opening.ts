import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Command } from 'commander';
import { barsTable, machineOf } from '../../bench/bars.js';
import { measureOpenings, openingBars } from '../../bench/opening.js';
import { projectFolder } from '../../demo/folder.js';
import { DeployError } from '../../errors.js';
import { integer } from '../options.js';
import { reporting } from '../output.js';
import { formatTable } from '../table.js';

const usual = ['mobilenet_v2_224_f32.onnx', 'mobilenet_v2_224_random_qdq.onnx'];

/** The models that are named; MobileNetV2 in float and in int8 beside the checkout otherwise. */
function modelsOf(paths: readonly string[]): { name: string; path: string }[] {
  const given = paths.length > 0 ? paths : usual.map((name) => join(projectFolder(), '..', 'shared', 'models', name));
  const missing = given.find((path) => !existsSync(path));
  if (missing !== undefined) throw new DeployError('E_BENCH', `Expected models but there is no ${missing}`);
  return given.map((path) => ({ name: basename(path, '.onnx'), path }));
}

export function register(program: Command): void {
  program
    .command('bench-opening')
    .summary('measure how long models take to open (npm run bench:opening)')
    .description(
      'Opens models without a cache of programs in fresh processes, several times in each, and gives the least times: of the first opening, which starts the thread that compiles, of the second one, and of the tenth.',
    )
    .argument('[models...]', 'ONNX files (default: MobileNetV2 in float and in int8 of ../shared/models)')
    .option('--processes <n>', 'fresh processes for each model', integer(1), 15)
    .action(
      reporting(async (_self: Command, paths: string[], { processes }: { processes: number }) => {
        const rows = await measureOpenings(modelsOf(paths), processes);
        const bars = openingBars(rows);
        const right = (title: string) => ({ title, align: 'right' as const });
        const table = formatTable(
          [{ title: 'model' }, ...['first ms', 'CPU', 'second ms', 'CPU', 'tenth ms', 'CPU'].map(right)],
          rows.map(({ model, first_ms, first_cpu_ms, second_ms, second_cpu_ms, last_ms, last_cpu_ms }) => [model, ...[first_ms, first_cpu_ms, second_ms, second_cpu_ms, last_ms, last_cpu_ms].map((ms) => ms.toFixed(0))]),
        );
        return { json: { machine: machineOf(), bars, openings: rows }, text: `${table}\n\n${barsTable(bars)}` };
      }),
    );
}
