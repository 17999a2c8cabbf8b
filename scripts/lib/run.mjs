// Programs that run to their end, and the lists of names that options take.
import { spawnSync } from 'node:child_process';
import { root } from './setup.mjs';

/** Runs a program to its end. @returns what it printed; throws an Error with the last lines that it printed when it fails */
export function run(command, args, options = {}) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28, ...options });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed: ${error?.message ?? `${stdout}${stderr}`.trimEnd().split('\n').slice(-20).join('\n')}`);
  return stdout;
}

/** The names that an option was given; throws an Error that lists the known ones when there are others among them. */
export function someOf(known, option, names) {
  const unknown = names.filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new Error(`Expected some of ${known.join(', ')} for --${option} but received ${unknown.join(', ')}`);
  return names;
}
