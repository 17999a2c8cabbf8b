import { existsSync } from 'node:fs';
import { cpus } from 'node:os';
import { describeCpu } from '../../kernels/binding/native.js';
import { formatTable } from '../cli/table.js';

/** A figure with the bar that it must reach. Ids stay the same from release to release. */
export interface Bar {
  id: string;
  what: string;
  value: number;
  unit: string;
  bar: number | string;
  met: boolean;
}

/** Instead of figures: what they would need, in words. */
export interface Absent {
  absent: string;
}

/** What is said of a section whose files are not all there; undefined when they are. */
export function absentOf(paths: readonly string[]): Absent | undefined {
  const missing = paths.find((path) => !existsSync(path));
  return missing === undefined ? undefined : { absent: `there is no ${missing}` };
}

/** What figures were measured on. */
export const machineOf = (): { cpu: string; cores: number; isa: string; node: string } => ({ cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, isa: describeCpu().selected, node: process.version });

const rounded = (value: number): string => (Number.isInteger(value) ? String(value) : value.toPrecision(4));

export function barsTable(bars: readonly Bar[]): string {
  const right = (title: string) => ({ title, align: 'right' as const });
  return formatTable([{ title: 'figure' }, { title: 'what' }, right('value'), { title: 'unit' }, right('bar'), { title: '' }], bars.map(({ id, what, value, unit, bar, met }) => [id, what, rounded(value), unit, String(bar), met ? 'met' : 'missed']));
}
