// The columns of the fleet's table. No DOM here: the server writes the first rows with them, and the page all others.
import { celsius, count, duration, ms, NONE, number } from './format.js';

/** Name and place in the order of the table. */
export const LEVELS = { bad: ['alarm', 0], warning: ['warning', 1], unknown: ['unknown', 2], good: ['ok', 3] };
/** What is not known comes last. */
const largestFirst = (value) => -(value ?? -1e9);
export const labelsOf = ({ labels }) => Object.entries(labels).map(([name, value]) => `${name}=${value}`);

/** Class, title, text of a cell, and what the table is sorted by. Before the text of `health` there is a dot. */
export const COLUMNS = [
  { id: 'health', title: 'Health', text: (row) => LEVELS[row.health]?.[0] ?? row.health, key: (row) => LEVELS[row.health]?.[1] ?? 9 },
  { id: 'device', title: 'Device', text: (row) => row.device, key: (row) => `${row.device}/${row.fleet}` },
  { id: 'packages', title: 'Package', text: (row) => row.packages.join(', ') || 'none', key: (row) => row.packages.join() },
  { id: 'version', title: 'Agent', text: (row) => row.version ?? NONE, key: (row) => row.version ?? '' },
  { id: 'alarms', title: 'Alarms', text: (row) => row.alarms.join(', ') || NONE, key: (row) => -row.alarms.length },
  { id: 'heat', title: 'Heat', text: (row) => celsius(row.celsius), key: (row) => largestFirst(row.celsius) },
  { id: 'energy', title: 'Energy', text: (row) => (row.millijoules === null ? NONE : `${number(row.millijoules)} mJ`), key: (row) => largestFirst(row.millijoules) },
  { id: 'p99', title: 'p99', text: (row) => ms(row.p99_ms), key: (row) => largestFirst(row.p99_ms) },
  { id: 'seen', title: 'Last seen', text: (row, now) => (now - row.seen_ms < 5000 ? 'now' : `${duration(now - row.seen_ms)} ago`), key: (row) => row.seen_ms },
  { id: 'labels', title: 'Labels', text: (row) => labelsOf(row).join(' ') || NONE, key: (row) => labelsOf(row).join() },
];

/** How many devices are shown; `partly`: not all of them are here yet. */
export const noteOf = (shown, size, partly) => (shown === size ? `${count(size)} devices` : `${partly ? 'the first ' : ''}${count(shown)} of ${count(size)} devices`);
