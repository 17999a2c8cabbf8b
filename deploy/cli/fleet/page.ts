import type { Command } from 'commander';
import type { FleetPast } from '../../collector/fleet-past.js';
import { PostgresFleetPast } from '../../collector/postgres/postgres-fleet-past.js';
import { VictoriaMetrics } from '../../collector/postgres/victoria-metrics.js';
import { defaultLimits } from '../../collector/store.js';
import { Dashboard } from '../../dashboard/server.js';
import { DeployError } from '../../errors.js';
import { handoverFolder } from '../../publish/handover.js';
import { RolloutReader } from '../../rollout/reader.js';
import { accessOf, addAccessOptions, type PageAccessOptions } from '../access-options.js';
import { addBrokerOptions, brokerLink, storeOption, type BrokerOptions } from '../broker-options.js';
import { aborted, interruptible } from '../interrupt.js';
import { integer } from '../options.js';
import { emit, log } from '../output.js';
import { reportGuard } from '../report-options.js';
import { deviceJson, deviceTable, discovered, openFleet } from './open.js';

interface PageOptions extends BrokerOptions, PageAccessOptions { fleet?: string; port: number; database: string; maxDevices: number; store?: string; postgres?: string; metrics?: string }

/** `sterna fleet page`, and what `sterna fleet` does without a word of its own. */
export function registerPage(fleet: Command): void {
  addBrokerOptions(addAccessOptions(fleet
    .command('page', { isDefault: true })
    .summary('serve the page against your own broker (the default)')
    .description('Prints the devices, and serves the page until Ctrl-C: on 127.0.0.1, to everybody who uses this computer, unless there are users (`sterna users`) or a provider of OpenID Connect (--oidc-issuer); with either and a certificate also on other addresses. Pictures and enrolled people stay on the devices; the page says so if it cannot reach them.')
    .option('--fleet <name>', 'one fleet; default: all of them')
    .option('--port <n>', 'port of the page', integer(0), 8480)
    .option('--database <file>', 'keep events and telemetry in this SQLite file', ':memory:')
    .option('--postgres <url>', 'show the past that `sterna fleet collect` keeps in PostgreSQL; passwords come from PGPASSWORD or ~/.pgpass')
    .option('--metrics <url>', 'with --postgres: VictoriaMetrics, which has single windows')
    .option('--max-devices <n>', 'devices that it keeps; others are counted as refused', integer(1), defaultLimits.devices)
    .addOption(storeOption('where the server of the fleet keeps its roll-outs'))))
    .action(async (options: PageOptions, self: Command) => {
      const link = brokerLink(options);
      const { audit, ...reach } = await accessOf(options);
      await interruptible('Stopped', async (signal) => {
        const open = await openFleet(link, options.fleet, { ...options, guard: reportGuard(self, options), ...pastOf(self, options) });
        const rollouts = new RolloutReader(options.store ?? handoverFolder());
        const dashboard = new Dashboard({ port: options.port, collector: open.collector, store: open.store, ...(open.past === undefined ? {} : { past: open.past }), rollouts: () => rollouts.store, ...reach });
        try {
          await dashboard.start();
          const devices = await discovered(open, signal);
          emit(self, { json: { url: dashboard.url, login: dashboard.login, devices: devices.map(deviceJson) }, text: devices.length === 0 ? 'No device has reported to this broker yet.' : deviceTable(devices) });
          log(self, `\nThe page: ${dashboard.url}   (Ctrl-C ends it)`);
          if (!dashboard.login) log(self, 'It asks for no login: every program on this computer may use it. `sterna users add NAME --role operator` makes it ask for one.');
          await aborted(signal);
        } finally {
          await dashboard.stop();
          rollouts.close();
          audit.close();
          await open.close();
        }
      });
    });
}

/** @throws DeployError E_USAGE */
function pastOf(self: Command, { postgres: url, metrics }: PageOptions): { past?: FleetPast } {
  if (url === undefined && metrics !== undefined) throw new DeployError('E_USAGE', '--metrics needs --postgres, which has the devices and their months');
  if (url === undefined) return {};
  if (self.getOptionValueSource('database') === 'cli') throw new DeployError('E_USAGE', 'Expected --database FILE, or --postgres URL, and not both');
  return { past: new PostgresFleetPast({ url, metrics: metrics === undefined ? null : new VictoriaMetrics(metrics) }) };
}
