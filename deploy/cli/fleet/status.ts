import type { Command } from 'commander';
import { addBrokerOptions, brokerLink, type BrokerOptions } from '../broker-options.js';
import { interruptible } from '../interrupt.js';
import { emit, Exit, exitCodes, reporting, type Report } from '../output.js';
import { refusedJson, refusedText, reportGuard } from '../report-options.js';
import { deviceJson, deviceTable, discovered, openFleet } from './open.js';

interface StatusOptions extends BrokerOptions { fleet?: string; check: boolean }

/** `sterna fleet status`, also called `devices`. */
export function registerStatus(fleet: Command): void {
  addBrokerOptions(fleet
    .command('status')
    .alias('devices')
    .summary('devices, versions, updates, health, alarms')
    .description('Prints what the devices have last reported to the broker, and ends. With --check it exits with 1 unless every device is healthy.')
    .option('--fleet <name>', 'one fleet; default: all of them')
    .option('--check', 'exit with 1 if a device has an alarm, if a report was refused, or if no device is known', false))
    .action(reporting(status));
}

async function status(self: Command, options: StatusOptions): Promise<Report> {
  const link = brokerLink(options);
  return interruptible('Interrupted', async (signal) => {
    const fleet = await openFleet(link, options.fleet, { guard: reportGuard(self, options) });
    try {
      const devices = await discovered(fleet, signal);
      const { guard } = fleet.collector;
      const table = devices.length === 0 ? 'No device has reported to this broker yet.' : deviceTable(devices);
      const report = { json: { devices: devices.map(deviceJson), refused_reports: refusedJson(guard) }, text: guard.count === 0 ? table : `${table}\n\n${refusedText(guard)}` };
      if (!options.check || (devices.length > 0 && guard.count === 0 && devices.every(({ health }) => health.level === 'good'))) return report;
      emit(self, report);
      throw new Exit(exitCodes.failed);
    } finally {
      await fleet.close();
    }
  });
}
