import { Command } from 'commander';
import { runtimeVersion } from '../../runtime/version.js';
import { exitCodeHelp, reportFailure } from './output.js';
import { register as registerBench } from './commands/bench.js';
import { register as registerCompare } from './commands/compare.js';
import { register as registerCompress } from './commands/compress.js';
import { register as registerInspect } from './commands/inspect.js';
import { register as registerPackage } from './commands/package.js';
import { register as registerRun } from './commands/run.js';
import { register as registerPublish } from './commands/publish.js';
import { register as registerAgent } from './commands/agent.js';
import { register as registerUp } from './commands/up.js';

/** One line a command, in the order of --help. */
const commands: readonly ((program: Command) => void)[] = [
  registerCompress,
  registerInspect,
  registerBench,
  registerCompare,
  registerRun,
  registerPackage,
  registerPublish,
  registerAgent,
  registerUp,
];

/** Where the command line writes; a test captures it. */
export interface CliIo {
  out(text: string): void;
  err(text: string): void;
}

export function buildProgram(io: CliIo): Command {
  const program = new Command('sterna')
    .description('Compress models, run them on our own int8 kernels, and operate a fleet of devices that do.')
    .version(runtimeVersion)
    .option('--json', 'print one JSON object on stdout instead of text')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ writeOut: (text) => io.out(text), writeErr: (text) => io.err(text) })
    .exitOverride()
    .addHelpText('after', exitCodeHelp);
  for (const register of commands) register(program);
  return program;
}

/** Runs one command line (without node and script) and returns the exit code; never throws, never exits. */
export async function runCli(argv: readonly string[], io: CliIo): Promise<number> {
  const json = argv.includes('--json');
  // With --json a usage error is the JSON object alone.
  const program = buildProgram(io);
  try {
    await program.parseAsync(argv, { from: 'user' });
    return 0;
  } catch (error) {
    return reportFailure(program, error, json);
  }
}
