import type { Command } from 'commander';
import { fleetSections } from '../../bench/fleet/sections.js';
import { measureSections } from '../bench-sections.js';
import { integer, positive } from '../options.js';
import { reporting } from '../output.js';

interface BenchFleetOptions { only: string[]; devices: number; seconds: number; storm: number; kills: number; away: number; package: number }

export function register(program: Command): void {
  program
    .command('bench-fleet')
    .summary('measure collectors with a simulated fleet (npm run bench:fleet)')
    .description('Measures collectors (`sterna fleet collect`) with simulated devices on a real Mosquitto on loopback: CPU, delay, losses and the p99 of a fleet with a window every 10 s, devices that come and go, and all of them connecting again at once (load); a collector that is killed at random moments (kills); a store that is away (outage); a store of PostgreSQL and VictoriaMetrics (large-store); a roll-out in three waves while the fleet sends (rollout); and a cluster of three RabbitMQ nodes, of which one is killed (cluster). With the defaults it takes half an hour and more.')
    .option('--only <sections...>', `only these sections: ${Object.keys(fleetSections).join(', ')}`, [])
    .option('--devices <n>', 'number of devices', integer(1), 10_000)
    .option('--seconds <n>', 'how long the steady fleet is measured', positive, 120)
    .option('--storm <seconds>', 'time within which all devices connect again', positive, 300)
    .option('--kills <n>', 'kills of the collector', integer(1), 50)
    .option('--away <seconds>', 'how long the store is away', positive, 600)
    .option('--package <megabytes>', 'size of the package of the roll-out', positive, 5)
    .action(reporting((self: Command, { only, devices, seconds, storm, kills, away, package: megabytes }: BenchFleetOptions) =>
      measureSections(self, fleetSections, { only, given: (signal) => ({ devices, seconds, stormSeconds: storm, kills, awaySeconds: away, packageBytes: Math.round(megabytes * 1e6), signal }) })));
}
