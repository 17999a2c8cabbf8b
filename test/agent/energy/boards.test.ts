/** What the daemon and `sterna doctor` find on boards of each kind. */
import { describe, expect, it } from 'vitest';
import { checkEnergy, checkProcessor, checkTemperatures } from '../../../agent/doctor/machine.js';
import { bestMeter, findMeters } from '../../../agent/energy/monitor.js';
import type { EnergyMeter } from '../../../agent/energy/types.js';
import { ThermalMonitor } from '../../../agent/thermal/thermal.js';
import { boards } from '../support/boards.js';
import { machine } from '../support/machine.js';

const named = ({ source, scope }: EnergyMeter): string => `${source} ${scope}`;

describe.each(Object.entries(boards))('%s', (name, board) => {
  const options = { wattsPerCore: 2.5, ...(board.pmic === undefined ? {} : { readPmic: () => Promise.resolve(board.pmic ?? null) }) };
  const measures = board.best !== 'cpu_model process';

  it('has its meters, of which the best is that of the whole board or processor', async () => {
    const { files } = machine(board.files);
    const meters = await findMeters(files, options);
    expect(meters.map(named)).toEqual(board.meters);
    const best = bestMeter(meters);
    expect(best === null ? null : named(best)).toBe(board.best);
    await best?.sample(0);
    const reading = await best?.sample(1000);
    expect(reading).toEqual({ joules: expect.any(Number) as number });
  });

  it('has its thermal zones', async () => {
    const { files } = machine(board.files);
    expect(await new ThermalMonitor(files).zoneNames()).toEqual(board.zones);
  });

  it('is described by the doctor, with advice where something is missing', async () => {
    const { files } = machine(board.files);
    const [processor] = await checkProcessor(files, { arch: 'aarch64', cores: 4 });
    expect(processor?.text).toContain(name === 'N100' ? 'N100' : name === 'a bare virtual machine' ? 'Xeon' : name.startsWith('RK3588') ? 'ROCK 5B' : name);
    const [energy] = await checkEnergy(files, options);
    if (measures) expect(energy).toMatchObject({ status: 'ok', text: expect.stringContaining(board.best) as string });
    else expect(energy).toMatchObject({ status: 'warning', remedy: expect.stringContaining('energy.watts_per_core') as string });
    const [heat] = await checkTemperatures(files);
    expect(heat?.status).toBe(board.zones.length > 0 ? 'ok' : 'warning');
  });
});
