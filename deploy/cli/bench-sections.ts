import type { Command } from 'commander';
import { barsTable, machineOf, type Absent, type Bar } from '../bench/bars.js';
import { DeployError } from '../errors.js';
import { interruptible } from './interrupt.js';
import { log, type Report } from './output.js';

/**
 * Runs the sections of a bench, all or those that `only` names, and reports their figures; sections that lack something are named with what they lack.
 * @throws DeployError E_BENCH for a section that does not exist
 */
export async function measureSections<Options>(
  self: Command, sections: Readonly<Record<string, (options: Options) => Promise<Bar[] | Absent>>>, { only, given }: { only: readonly string[]; given: (signal: AbortSignal) => Options },
): Promise<Report> {
  const unknown = only.filter((name) => !Object.hasOwn(sections, name));
  if (unknown.length > 0) throw new DeployError('E_BENCH', `Expected sections of ${Object.keys(sections).join(', ')} but received ${unknown.join(', ')}`);
  const bars: Bar[] = [];
  const absent: Record<string, string> = {};
  await interruptible('The bench was interrupted', async (signal) => {
    for (const [name, measure] of Object.entries(sections)) {
      if (only.length > 0 && !only.includes(name)) continue;
      log(self, `sterna: measuring ${name}`);
      const measured = await measure(given(signal));
      if ('absent' in measured) absent[name] = measured.absent;
      else bars.push(...measured);
    }
  });
  const left = Object.entries(absent).map(([name, why]) => `${name} was left out: ${why}`);
  return { json: { machine: machineOf(), bars, absent }, text: [barsTable(bars), ...left].join('\n') };
}
