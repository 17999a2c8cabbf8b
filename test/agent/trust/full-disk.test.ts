/** A signed update on a disk that takes nothing, as its operator sees it. */
import { createHash } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { settingsText, type PipelineReport, type Reported, type Settings } from '../../../agent/contracts/index.js';
import { armFault } from '../../../agent/platform/fault.js';
import { until } from '../support/tools.js';
import { fakeItem, TrustBench } from './bench.js';

afterEach(() => void armFault(''));

const codesIn = ({ faults, refused, ota }: Reported & PipelineReport): (string | undefined)[] => [...faults.map(({ code }) => code), refused?.code, ota.error?.code];

/** Publishes a package together with settings of its own. @returns the settings, once the point was reached and a code is reported */
async function updateAt(bench: TrustBench, point: string, number: number): Promise<Settings> {
  const settings: Settings = { match_threshold: 0.5 + number / 100 };
  const text = settingsText(settings);
  const item = fakeItem(`${number}.0.0`, number);
  bench.fleet.repository.addSettings({ name: 'night', text, digest: createHash('sha256').update(text).digest('hex') });
  bench.offer(item);
  bench.fleet.add(item);
  const fault = armFault(`${point}:1:ENOSPC`);
  await bench.side.desire(bench.fleet.desired(bench.next(), item, { settings }));
  await until(`${point} is reached`, () => fault?.reached === true);
  await bench.side.untilReported(`a code at ${point}`, (r) => codesIn(r).includes('E_DISK_FULL'));
  return settings;
}

const runs = (bench: TrustBench, number: number, settings: Settings): Promise<void> => bench.side.untilReported(`${number}.0.0 runs with its settings`, (r) =>
  r.slots.active?.version === `${number}.0.0` && settingsText(r.settings) === settingsText(settings) && !codesIn(r).includes('E_DISK_FULL'));

describe('a full disk', () => {
  it('OTA-118: while a signed message is taken is reported, changes neither settings nor package, and is over when there is room', async () => {
    const bench = await TrustBench.start();
    let [number, before]: [number, Settings] = [2, {}];
    for (const point of ['trust.before', 'trust.after', 'journal.settings', 'journal.before.checking']) {
      const settings = await updateAt(bench, point, number);
      const report = bench.side.reported.at(-1);
      expect(report?.slots.active?.version).toBe(`${number - 1}.0.0`);
      if (point !== 'journal.before.checking') expect(report?.settings).toEqual(before);
      const { frames } = bench;
      await until('frames go on', () => bench.frames > frames);
      armFault('');
      await runs(bench, number, settings);
      [number, before] = [number + 1, settings];
    }
  });

  it('OTA-118: beside the comparison and the switch is reported, and the next update succeeds without a restart', async () => {
    const bench = await TrustBench.start();
    await updateAt(bench, 'shadow.open', 2);
    await bench.side.untilReported('it is rejected', (r) => r.ota.state === 'rejected');
    expect(bench.side.reported.at(-1)).toMatchObject({ ota: { error: { code: 'E_DISK_FULL' } }, slots: { active: { version: '1.0.0' } } });
    let number = 3;
    for (const point of ['journal.run', 'pointer.write']) {
      const settings = await updateAt(bench, point, number);
      armFault('');
      await runs(bench, number, settings);
      number += 1;
    }
  });
});
