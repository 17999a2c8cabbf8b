import type { Command } from 'commander';
import { barsTable, machineOf, type Bar } from '../../bench/bars.js';
import { sections } from '../../bench/pipeline/sections.js';
import { DeployError } from '../../errors.js';
import { interruptible } from '../interrupt.js';
import { positive } from '../options.js';
import { log, reporting } from '../output.js';

interface PipelineCommand {
  only: string[];
  seconds: number;
  detector?: string;
  footage?: string;
}

export function register(program: Command): void {
  program
    .command('bench-pipeline')
    .summary('measure whole pipelines against their bars (npm run bench:pipeline)')
    .description('Measures whole pipelines, section by section, on one thread, and says which figures reach their bars. Sections whose models or films are absent are left out and named.')
    .option('--only <sections...>', `only these sections: ${Object.keys(sections).join(', ')}`, [])
    .option('--seconds <n>', 'length of each measurement that takes a time', positive, 60)
    .option('--detector <file>', 'for incremental: an .onnx detector that knows persons')
    .option('--footage <file>', 'for incremental: a video or a folder of pictures, of a fixed camera that sees persons')
    .action(
      reporting(async (self: Command, { only, ...given }: PipelineCommand) => {
        const unknown = only.filter((name) => !Object.hasOwn(sections, name));
        if (unknown.length > 0) throw new DeployError('E_BENCH', `Expected sections of ${Object.keys(sections).join(', ')} but received ${unknown.join(', ')}`);
        const bars: Bar[] = [];
        const absent: Record<string, string> = {};
        await interruptible('The bench was interrupted', async (signal) => {
          for (const [name, measure] of Object.entries(sections)) {
            if (only.length > 0 && !only.includes(name)) continue;
            log(self, `sterna: measuring ${name}`);
            const measured = await measure({ ...given, signal });
            if ('absent' in measured) absent[name] = measured.absent;
            else bars.push(...measured);
          }
        });
        const left = Object.entries(absent).map(([name, why]) => `${name} was left out: ${why}`);
        return { json: { machine: machineOf(), bars, absent }, text: [barsTable(bars), ...left].join('\n') };
      }),
    );
}
