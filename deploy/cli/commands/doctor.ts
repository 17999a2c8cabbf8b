import type { Command } from 'commander';
import { Exit } from '../output.js';

export function register(program: Command): void {
  program
    .command('doctor')
    .summary('check whether this machine can work as a device')
    .description('Checks processor, kernels, sensors, camera, broker, clock, disk, memory, package and keys of this machine, and says what to do about what does not work. It changes nothing. Exit code 1 when something does not work; warnings do not count.')
    .option('--config <file>', 'the configuration of the daemon (sterna.yaml); without it, defaults and environment variables apply')
    .action(async ({ config }: { config?: string }, command: Command) => {
      const { runDoctor } = await import('../../../agent/doctor/main.js');
      const json = command.optsWithGlobals<{ json?: boolean }>().json === true;
      const code = await runDoctor([...(config === undefined ? [] : ['--config', config]), ...(json ? ['--json'] : [])], (text) => program.configureOutput().writeOut?.(text));
      if (code !== 0) throw new Exit(code);
    });
}
