import type { Command } from 'commander';
import { DEFAULT_PIPELINE } from '../../../agent/contracts/index.js';
import { HandoverPoint, handoverFolder, PackageStore } from '../../publish/handover.js';
import { loadPackage } from '../../publish/packages.js';
import { Publisher } from '../../publish/publisher.js';
import { addBrokerOptions, brokerLink, type BrokerOptions } from '../broker-options.js';
import { aborted, interruptible } from '../interrupt.js';
import { integer } from '../options.js';
import { log } from '../output.js';

interface ServeOptions extends BrokerOptions { fleet: string; store?: string; rate: number }

/** `sterna fleet serve`: a publisher that stays. */
export function registerServe(fleet: Command): void {
  addBrokerOptions(fleet
    .command('serve')
    .summary('send blocks to devices until Ctrl-C, of whatever is handed over')
    .description('Answers requests of a fleet for blocks of the named packages, and of those that `sterna publish --detach` hands over on this machine, now or in earlier runs. It does not tell devices what to run. Each fleet and folder can have one server.')
    .argument('[packages...]', '.sterna files to serve besides')
    .requiredOption('--fleet <name>', 'the fleet that it serves')
    .option('--store <folder>', 'where packages are handed over; default: STERNA_FLEET_DIR, else ~/.local/state/sterna/fleet')
    .option('--rate <blocks>', 'at most this many messages with blocks per second; AWS IoT Core takes 100', integer(1), 1000))
    .action(async (paths: string[], options: ServeOptions, self: Command) => {
      const link = brokerLink(options);
      const packages = await Promise.all(paths.map((path) => loadPackage(path)));
      const store = new PackageStore(options.store ?? handoverFolder());
      const publisher = new Publisher({ ...link, fleet: options.fleet, blocksPerSecond: options.rate, find: (digest) => store.find(digest) });
      const point = new HandoverPoint(store.folder, options);
      for (const held of packages) publisher.hold(held);
      watch(publisher, (line) => log(self, line));
      await interruptible('Stopped', async (signal) => {
        try {
          await publisher.start();
          await point.start();
          log(self, `Serving fleet ${options.fleet}; packages are handed over in ${store.folder}   (Ctrl-C ends it)`);
          await aborted(signal);
        } finally {
          await point.stop();
          await publisher.stop();
        }
      });
    });
}

/** One line when a device begins to receive a package, and when its update changes state. */
function watch(publisher: Publisher, line: (text: string) => void): void {
  const last = new Map<string, string>();
  const say = (device: string, pipeline: string, text: string): void => {
    const key = pipeline === DEFAULT_PIPELINE ? device : `${device}/${pipeline}`;
    if (last.get(key) === text) return;
    last.set(key, text);
    line(`sterna: ${key}: ${text}`);
  };
  publisher.on('changed', (device, { reported }) => {
    for (const { name, ota: { package: candidate, state, error } } of reported?.pipelines ?? []) {
      if (candidate === null) continue;
      say(device, name, `${candidate.name} ${candidate.version} ${state.replace('_', ' ')}${error === null ? '' : ` (${error.code}: ${error.message})`}`);
    }
  });
}
