// Benches that are tests which write a report: run one, and read what it wrote.
import { readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { log, root } from './setup.mjs';
import { capture } from './suites.mjs';

/** Runs a test whose environment variable `name` names the file of its report. `report` is null when it did not come to its end. */
export async function measuredTest(test, name, env) {
  const file = join(tmpdir(), `sterna-report-${process.pid}.json`);
  const { status, output } = await capture(join(root, 'node_modules', '.bin', 'vitest'), ['run', test], { cwd: root, env: { ...process.env, ...env, [name]: file } });
  let report = null;
  try {
    report = JSON.parse(readFileSync(file, 'utf8'));
    rmSync(file);
  } catch {
    log(output);
  }
  return { report, failed: status !== 0, output };
}

export const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version };

/** Exits with 1 when the test failed, whose output is shown then, or when a bar was missed. */
export function judge({ failed, output }, bars) {
  if (failed) log(output);
  if (failed || bars.some(({ met }) => !met)) process.exitCode = 1;
}
