// `npm run bench:kills [-- --kills N --seed N --json]`: kills a device at random moments of its updates, N times without and N times with a camera
// (100 each by default), and says what became of the updates. Exits with 1 when a bar is missed.
import { readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { capture } from './lib/suites.mjs';
import { ensureSetup, log, root } from './lib/setup.mjs';

const { values } = parseArgs({ options: { kills: { type: 'string', default: '100' }, seed: { type: 'string', default: '1' }, json: { type: 'boolean', default: false } } });

/** One object per bar. A campaign that did not come to its end counts nothing, so its bars are missed. */
function barsOf(reports, kills) {
  const all = Object.entries(reports);
  const sum = (of) => all.reduce((total, [, report]) => total + of(report), 0);
  const updates = sum((report) => report.updates);
  const bar = (id, what, value, wanted, met) => ({ id, what, value, unit: 'count', bar: wanted, met });
  return [
    ...['without a camera', 'with a camera'].map((title) => bar(`kills-${title.replaceAll(' ', '-')}`, `SIGKILL at random moments, ${title}`, reports[title]?.kills ?? 0, `= ${kills}`, reports[title]?.kills === kills)),
    bar('committed', 'good updates that committed in the end', sum((report) => report.committed), `= ${updates}`, updates > 0 && sum((report) => report.committed) === updates),
    bar('violations', 'good packages rejected or rolled back, damaged or lost files, wrong models', sum((report) => report.violations.length), '= 0', all.length === 2 && sum((report) => report.violations.length) === 0),
  ];
}

function printTable(reports, bars) {
  for (const { what, value, bar, met } of bars) console.log(`${met ? 'met   ' : 'MISSED'}  ${String(value).padStart(5)}  ${bar.padEnd(8)}  ${what}`);
  for (const [title, { phases, violations }] of Object.entries(reports)) {
    console.log(`${title}, kills by phase: ${Object.entries(phases).map(([phase, count]) => `${phase} ${count}`).join(', ')}`);
    for (const violation of violations) console.log(`  ${violation}`);
  }
}

ensureSetup();
const file = join(tmpdir(), `sterna-kills-${process.pid}.json`);
const env = { ...process.env, STERNA_KILLS: values.kills, STERNA_KILLS_SEED: values.seed, STERNA_KILLS_REPORT: file };
log(`killing a device ${values.kills} times without and ${values.kills} times with a camera; this takes some minutes`);
const { status, output } = await capture(join(root, 'node_modules', '.bin', 'vitest'), ['run', 'test/agent/powercut/kills.test.ts'], { cwd: root, env });
let reports = {};
try {
  reports = JSON.parse(readFileSync(file, 'utf8'));
  rmSync(file);
} catch {
  log(output);
}
const bars = barsOf(reports, Number(values.kills));
if (values.json) console.log(JSON.stringify({ machine: { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version }, bars }));
else printTable(reports, bars);
if (status !== 0 || bars.some(({ met }) => !met)) {
  if (status !== 0) log(output);
  process.exitCode = 1;
}
