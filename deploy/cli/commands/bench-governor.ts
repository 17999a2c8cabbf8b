import type { Command } from 'commander';
import { barsTable, machineOf } from '../../bench/bars.js';
import { governorBars } from '../../bench/governor/bars.js';
import { integer, positive } from '../options.js';
import { reporting } from '../output.js';

export function register(program: Command): void {
  program
    .command('bench-governor')
    .summary('run the governor against simulated devices (npm run bench:governor)')
    .description('Runs the governor against simulated devices, each drawn from a seed: how far it lets their temperature exceed the limit, how often it moves, and what that costs in accuracy. All of it is simulated, so the figures are the same on every machine.')
    .option('--plants <n>', 'number of devices', integer(1), 1000)
    .option('--hours <n>', 'simulated time of each', positive, 6)
    .action(reporting((_: Command, options: { plants: number; hours: number }) => {
      const bars = governorBars(options);
      return Promise.resolve({ json: { machine: machineOf(), bars }, text: barsTable(bars) });
    }));
}
