import type { Command } from 'commander';
import { Exit } from '../output.js';

export function register(program: Command): void {
  program
    .command('agent')
    .summary('run the device agent')
    .description('Runs the daemon in the foreground until SIGTERM or SIGINT. Its configuration comes from a file and from STERNA_... environment variables. Exit codes are those of sysexits.h: 78 if the configuration is wrong, 75 if another daemon uses the state folder.')
    .option('--config <file>', 'the configuration file (sterna.yaml); without it, defaults and environment variables apply')
    .action(async ({ config }: { config?: string }) => {
      const { runDaemon } = await import('../../../agent/main.js');
      const code = await runDaemon(config === undefined ? [] : ['--config', config]);
      if (code !== 0) throw new Exit(code);
    });
}
