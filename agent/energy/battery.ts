/** How long the batteries of the machine last. */
import type { HostFiles } from '../platform/host-files.js';

const FOLDER = 'sys/class/power_supply';

/**
 * Hours that all discharging batteries together last at the present power; null when none discharges, or when one does not say what is left in it.
 * The kernel (Documentation/ABI/testing/sysfs-class-power) gives energy_now in microwatt-hours with power_now in microwatts, or charge_now in
 * microampere-hours with current_now in microamperes.
 */
export async function batteryHours(files: HostFiles): Promise<number | null> {
  let [wattHours, watts] = [0, 0];
  for (const name of await files.list(FOLDER)) {
    const folder = `${FOLDER}/${name}`;
    if ((await files.text(`${folder}/type`)) !== 'Battery' || (await files.text(`${folder}/status`)) !== 'Discharging') continue;
    const read = (entry: string): Promise<number | null> => files.number(`${folder}/${entry}`);
    const volts = ((await read('voltage_now')) ?? 0) / 1e6;
    const left = await read('energy_now') ?? times(await read('charge_now'), volts);
    const power = await read('power_now') ?? times(await read('current_now'), volts);
    if (left === null || power === null || left < 0) return null;
    wattHours += left / 1e6;
    watts += Math.abs(power) / 1e6;
  }
  return watts === 0 ? null : wattHours / watts;
}

function times(value: number | null, volts: number): number | null {
  return value === null || volts === 0 ? null : value * volts;
}
