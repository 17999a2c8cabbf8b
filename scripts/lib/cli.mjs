import { ensureSetup, log } from './setup.mjs';

/**
 * Sets up what is missing (messages on stderr), then runs the compiled command line, with `command` before the arguments where one is given.
 * `prepare` is what that command wants besides.
 */
export async function runCli(command, prepare = () => undefined) {
  try {
    ensureSetup();
    prepare();
  } catch (error) {
    log(error.message);
    process.exitCode = 1;
    return;
  }
  if (command !== undefined) process.argv.splice(2, 0, command);
  await import('../../dist/deploy/cli/main.js');
}
