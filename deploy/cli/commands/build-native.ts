import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { Command } from 'commander';
import { projectFolder } from '../../demo/folder.js';
import { Exit, exitCodes } from '../output.js';

export function register(program: Command): void {
  program
    .command('build-native')
    .summary('build the native addon of an installed package from source')
    .description('Compiles the C++ sources of the package with CMake, for machines that no prebuilt addon fits. It takes a minute or two. Needs CMake >= 3.18, a C++17 compiler, and make or ninja.')
    .action(() => {
      const { status } = spawnSync(process.execPath, [join(projectFolder(), 'scripts', 'build-native.mjs')], { stdio: ['ignore', 2, 2] });
      if (status !== 0) throw new Exit(exitCodes.missing);
    });
}
