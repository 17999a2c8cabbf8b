import type { Command } from 'commander';
import { Exit } from '../output.js';

export function register(program: Command): void {
  program
    .command('agent')
    .summary('run the device agent')
    .description('Runs the daemon in the foreground until SIGTERM or SIGINT, with its configuration from a file and STERNA_... environment variables. Exit codes are those of sysexits.h: 78 for a wrong configuration, 75 when another daemon holds the state folder.')
    .option('--config <file>', 'sterna.yaml; without one, defaults and environment')
    .action(async ({ config }: { config?: string }) => {
      const { runDaemon } = await import('../../../agent/main.js');
      const code = await runDaemon(config === undefined ? [] : ['--config', config]);
      if (code !== 0) throw new Exit(code);
    });
}
