import type { Command } from 'commander';
import { DEFAULT_PIPELINE } from '../../../agent/contracts/index.js';
import { HandoverPoint, handoverFolder, PackageStore } from '../../publish/handover.js';
import { loadPackage } from '../../publish/packages.js';
import { Publisher } from '../../publish/publisher.js';
import { addBrokerOptions, brokerLink, rateOption, storeOption, type BrokerOptions } from '../broker-options.js';
import { aborted, interruptible } from '../interrupt.js';
import { log } from '../output.js';
import type { Director } from '../../repository/director.js';
import { openRollouts } from '../../rollout/server.js';
import { reportGuard } from '../report-options.js';
import { addSigningOptions, directorOf, type SigningOptions } from '../signing-options.js';

interface ServeOptions extends BrokerOptions, SigningOptions { fleet: string; store?: string; rate: number }

/** `sterna fleet serve`: a publisher that stays. */
export function registerServe(fleet: Command): void {
  addSigningOptions(addBrokerOptions(fleet
    .command('serve')
    .summary('send blocks to devices and carry out roll-outs, until Ctrl-C')
    .description('Answers requests of a fleet for blocks of the named packages, and of those that `sterna publish --detach` and `sterna rollout create` hand over on this machine, now or in earlier runs. With a repository to sign with (or --unsigned) it also carries out the roll-outs of the fleet; without one it does not tell devices what to run. Each fleet and folder can have one server.')
    .argument('[packages...]', '.sterna files to serve besides')
    .requiredOption('--fleet <name>', 'the fleet that it serves')
    .addOption(storeOption('where packages are handed over'))
    .addOption(rateOption())))
    .action(async (paths: string[], options: ServeOptions, self: Command) => {
      const link = brokerLink(options);
      const packages = await Promise.all(paths.map((path) => loadPackage(path)));
      const store = new PackageStore(options.store ?? handoverFolder());
      const signing = signingOf(options);
      const publisher = new Publisher({ ...link, fleet: options.fleet, guard: reportGuard(self, options), blocksPerSecond: options.rate, find: (digest) => store.find(digest), ...(signing?.director == null ? {} : { signer: signing.director }) });
      const point = new HandoverPoint(store.folder, { ...options, rollouts: signing !== null });
      const rollouts = signing === null ? null : openRollouts({ folder: store.folder, fleet: options.fleet, publisher, director: signing.director, link, line: (text) => log(self, text) });
      for (const held of packages) publisher.hold(held);
      watch(publisher, (line) => log(self, line));
      await interruptible('Stopped', async (signal) => {
        try {
          await point.start();
          await publisher.start();
          rollouts?.runner.start();
          log(self, `Serving fleet ${options.fleet}${rollouts === null ? '' : ' and its roll-outs'}; packages are handed over in ${store.folder}   (Ctrl-C ends it)`);
          await aborted(signal);
        } finally {
          await rollouts?.stop();
          await publisher.stop();
          await point.stop();
        }
      });
    });
}

/** What signs; null: nothing was named that could, so the server only sends blocks. `director` is null in the unsigned mode. */
function signingOf(options: ServeOptions): { director: Director | null } | null {
  const named = options.unsigned || options.repository !== undefined || process.env['STERNA_REPOSITORY'] !== undefined;
  return named ? { director: directorOf(options) } : null;
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
  publisher.on('refused', (device, { code, message }) => say(device, 'reports', `a report was refused (${code}: ${message})`));
  publisher.on('changed', (device, { reported }) => {
    for (const { name, ota: { package: candidate, state, error } } of reported?.pipelines ?? []) {
      if (candidate === null) continue;
      say(device, name, `${candidate.name} ${candidate.version} ${state.replace('_', ' ')}${error === null ? '' : ` (${error.code}: ${error.message})`}`);
    }
  });
}
