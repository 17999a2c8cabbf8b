import { Command } from 'commander';
import { asMissingPackage } from '../../runtime/optional-package.js';
import { runtimeVersion } from '../../runtime/version.js';
import { exitCodeHelp, exitCodes, reportFailure } from './output.js';

interface CommandModule {
  register(program: Command): void;
}

/** A bench that judges the project itself, or a training of its own models: the package of a release does not have it (scripts/pack.mjs). Undefined there. */
async function inCheckout(load: () => Promise<CommandModule>): Promise<CommandModule | undefined> {
  try {
    return await load();
  } catch (error) {
    if (error instanceof Error && /^Cannot find module '[^']*\/commands\/(bench|train)-/.test(error.message)) return undefined;
    throw error;
  }
}

/** One line a command, in the order of --help. Loaded on demand: most need much that the others do not. */
const commands: Readonly<Record<string, () => Promise<CommandModule | undefined>>> = {
  compress: () => import('./commands/compress.js'),
  adapt: () => import('./commands/adapt.js'),
  lab: () => import('./commands/lab.js'),
  inspect: () => import('./commands/inspect.js'),
  bench: () => import('./commands/bench.js'),
  'bench-operators': () => inCheckout(() => import('./commands/bench-operators.js')),
  'bench-opening': () => inCheckout(() => import('./commands/bench-opening.js')),
  'bench-governor': () => inCheckout(() => import('./commands/bench-governor.js')),
  'bench-pipeline': () => inCheckout(() => import('./commands/bench-pipeline.js')),
  'bench-transfer': () => inCheckout(() => import('./commands/bench-transfer.js')),
  'bench-fleet': () => inCheckout(() => import('./commands/bench-fleet.js')),
  'bench-lab': () => inCheckout(() => import('./commands/bench-lab.js')),
  'bench-sound': () => inCheckout(() => import('./commands/bench-sound.js')),
  'bench-suite': () => import('./commands/bench-suite.js'),
  'train-sound': () => inCheckout(() => import('./commands/train-sound.js')),
  'train-siren': () => inCheckout(() => import('./commands/train-siren.js')),
  compare: () => import('./commands/compare.js'),
  evaluate: () => import('./commands/evaluate.js'),
  conformance: () => import('./commands/conformance.js'),
  run: () => import('./commands/run.js'),
  gate: () => import('./commands/gate.js'),
  gallery: () => import('./commands/gallery.js'),
  package: () => import('./commands/package.js'),
  fleet: () => import('./commands/fleet.js'),
  users: () => import('./commands/users.js'),
  audit: () => import('./commands/audit.js'),
  keys: () => import('./commands/keys.js'),
  provision: () => import('./commands/provision.js'),
  repository: () => import('./commands/repository.js'),
  publish: () => import('./commands/publish.js'),
  rollout: () => import('./commands/rollout.js'),
  agent: () => import('./commands/agent.js'),
  doctor: () => import('./commands/doctor.js'),
  energy: () => import('./commands/energy.js'),
  up: () => import('./commands/up.js'),
  'build-native': () => import('./commands/build-native.js'),
};

/** Where the command line writes; a test captures it. */
export interface CliIo {
  out(text: string): void;
  err(text: string): void;
}

/** Registers the command that a command line names; all of them when it names none: for help, and to say what there is. */
async function registerCommands(program: Command, argv: readonly string[]): Promise<void> {
  const name = argv.find((word) => !word.startsWith('-'));
  const named = name !== undefined && Object.hasOwn(commands, name) ? commands[name] : undefined;
  for (const load of named === undefined ? Object.values(commands) : [named]) (await load())?.register(program);
}

function emptyProgram(io: CliIo): Command {
  return new Command('sterna')
    .description('Compress models, run them on the kernels of Sterna, and operate a fleet of devices that run them.')
    .version(runtimeVersion)
    .option('--json', 'print one JSON object on stdout instead of text')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ writeOut: (text) => io.out(text), writeErr: (text) => io.err(text) })
    .exitOverride()
    .addHelpText('after', exitCodeHelp);
}

/** Runs one command line (without node and script) and returns the exit code; never throws, never exits. */
export async function runCli(argv: readonly string[], io: CliIo): Promise<number> {
  const program = emptyProgram(io);
  try {
    await registerCommands(program, argv);
    await program.parseAsync(argv, { from: 'user' });
    return exitCodes.ok;
  } catch (error) {
    const command = argv.find((word) => !word.startsWith('-')) ?? '--help';
    return reportFailure(program, asMissingPackage(error, `sterna ${command}`) ?? error, argv.includes('--json'));
  }
}
