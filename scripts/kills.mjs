// `npm run bench:kills [-- --kills N --seed N --json]`: kills a device at random moments of its updates, N times without and N times with a camera
// (100 each by default), and says what became of the updates. Exits with 1 when a bar is missed.
import { parseArgs } from 'node:util';
import { judge, machine, measuredTest } from './lib/measured-test.mjs';
import { ensureSetup, log } from './lib/setup.mjs';

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
log(`killing a device ${values.kills} times without and ${values.kills} times with a camera; this takes some minutes`);
const measured = await measuredTest('test/agent/powercut/kills.long.test.ts', 'STERNA_KILLS_REPORT', { STERNA_KILLS: values.kills, STERNA_KILLS_SEED: values.seed });
const reports = measured.report ?? {};
const bars = barsOf(reports, Number(values.kills));
if (values.json) console.log(JSON.stringify({ machine, bars }));
else printTable(reports, bars);
judge(measured, bars);
