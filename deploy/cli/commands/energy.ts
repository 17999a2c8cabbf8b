import type { Command } from 'commander';
import { Exit } from '../output.js';

export function register(program: Command): void {
  const energy = program.command('energy').summary('calibrate the energy model of a device').description('The energy model of a device, for times and boards without a sensor.');
  energy
    .command('calibrate')
    .summary('measure what a busy core and rest take on this device')
    .description('Runs small networks at several loads while it reads the power sensor of this machine, and fits by least squares what a busy core, a multiply-add and rest take, with intervals of confidence. Stop the daemon before. Exit code 1 when there is no sensor, or its readings do not determine the model.')
    .option('--config <file>', 'the configuration of the daemon (sterna.yaml)')
    .option('--write', 'put the result into that file; comments stay')
    .option('--seconds <n>', 'time of each of the 13 steps', '8')
    .action(async ({ config, write, seconds }: { config?: string; write?: boolean; seconds: string }, command: Command) => {
      const { runEnergy } = await import('../../../agent/calibration/main.js');
      const json = command.optsWithGlobals<{ json?: boolean }>().json === true;
      const words = ['calibrate', '--seconds', seconds, ...(config === undefined ? [] : ['--config', config]), ...(write === true ? ['--write'] : []), ...(json ? ['--json'] : [])];
      const code = await runEnergy(words, (text) => program.configureOutput().writeOut?.(text));
      if (code !== 0) throw new Exit(code);
    });
}
