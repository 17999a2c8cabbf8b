// `npm run bench:updates [-- --switches N --json]`: switches a device between two packages of different shapes while frames come (20 times by default),
// and breaks a rule of the probation at the end. Says what it cost in frames and memory, and how long the way back took. Exits with 1 when a bar is missed.
import { parseArgs } from 'node:util';
import { judge, machine, measuredTest } from './lib/measured-test.mjs';
import { ensureSetup, log } from './lib/setup.mjs';

const { values } = parseArgs({ options: { switches: { type: 'string', default: '20' }, json: { type: 'boolean', default: false } } });
const MIB = 1024 * 1024;

/** One object per bar. A run that did not come to its end counts nothing, so its bars are missed. */
function barsOf(report, switches) {
  const bar = (id, what, [value, unit], wanted, met) => ({ id, what, value, unit, bar: wanted, met: report !== null && met });
  const grown = report === null ? 0 : (report.rss_last - report.rss_first) / MIB;
  // A busy machine makes frames late without any switch; those that the switches add are what counts.
  const expected = report === null ? 0 : report.frames_during * (report.late_elsewhere / Math.max(1, report.frames_elsewhere));
  const late = report === null ? 0 : Math.max(0, Math.round(report.late_during - expected));
  return [
    bar('switches', 'switches between two packages of different shapes', [report?.switches ?? 0, 'count'], `= ${switches}`, report?.switches === switches),
    bar('lost', 'frames lost because of a switch', [report?.lost_by_switch ?? 0, 'count'], '= 0', report?.lost_by_switch === 0),
    bar('late', 'frames late because of a switch (beyond the share that is late without one)', [late, 'count'], '= 0', late === 0),
    bar('memory', `resident memory after ${switches} switches, compared with after the first`, [grown, 'MiB'], '<= 2', grown <= 2),
    bar('way-back', 'from a broken rule of the probation to the first frame of the package before', [report?.rollback_ms ?? 0, 'ms'], '<= 2000', report?.rollback_ms <= 2000),
  ];
}

ensureSetup();
log(`switching a device ${values.switches} times; this takes about a minute`);
const measured = await measuredTest('test/agent/ota/switching.long.test.ts', 'STERNA_SWITCHES_REPORT', { STERNA_SWITCHES: values.switches });
const { report } = measured;
const bars = barsOf(report, Number(values.switches));
if (values.json) console.log(JSON.stringify({ machine, report, bars }));
else for (const { what, value, unit, bar, met } of bars) console.log(`${met ? 'met   ' : 'MISSED'}  ${String(Number(value.toFixed(1))).padStart(8)} ${unit.padEnd(6)} ${bar.padEnd(8)}  ${what}`);
judge(measured, bars);
