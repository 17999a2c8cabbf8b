import type { Command } from 'commander';
import { defaultLimits } from '../../collector/store.js';
import { DeployError } from '../../errors.js';
import { HomeAssistantBridge } from '../../home-assistant/bridge.js';
import { DEFAULT_PREFIX } from '../../home-assistant/discovery.js';
import { addBrokerOptions, brokerLink, type BrokerOptions } from '../broker-options.js';
import { aborted, interruptible } from '../interrupt.js';
import { integer, requireId } from '../options.js';
import { emit, log } from '../output.js';
import { reportGuard } from '../report-options.js';

interface HomeAssistantCommandOptions extends BrokerOptions { fleet?: string; prefix: string; maxDevices: number; remove: boolean }

/** `sterna fleet home-assistant`: the devices as devices of Home Assistant. */
export function registerHomeAssistant(fleet: Command): void {
  addBrokerOptions(fleet
    .command('home-assistant')
    .summary('show the devices in Home Assistant, until Ctrl-C')
    .description('Publishes MQTT discovery (Home Assistant 2024.12 or later) and plain states for each device, made of what devices publish anyway. Devices need no change and no more rights. Home Assistant can see updates but not install them, because that takes the key of the director.')
    .option('--fleet <name>', 'one fleet; default: all of them')
    .option('--prefix <topic>', "Home Assistant's discovery prefix", DEFAULT_PREFIX)
    .option('--max-devices <n>', 'devices that it shows; others are counted as refused', integer(1), defaultLimits.devices)
    .option('--remove', 'take the devices out of Home Assistant again, and end', false))
    .action(async (options: HomeAssistantCommandOptions, self: Command) => {
      if (!/^[^+#/\s\0]+(\/[^+#/\s\0]+)*$/.test(options.prefix) || options.prefix.startsWith('sterna')) throw new DeployError('E_USAGE', `Expected --prefix of a topic without wildcards, such as ${DEFAULT_PREFIX}, but received ${JSON.stringify(options.prefix)}`);
      if (options.fleet !== undefined) requireId('--fleet', options.fleet);
      const link = brokerLink(options);
      await interruptible('Stopped', (signal) => run(self, options, { link, signal }));
    });
}

async function run(self: Command, { fleet, prefix, maxDevices, remove, ...access }: HomeAssistantCommandOptions, { link, signal }: { link: ReturnType<typeof brokerLink>; signal: AbortSignal }): Promise<void> {
  const bridge = new HomeAssistantBridge({ ...link, ...(fleet === undefined ? {} : { fleet }), prefix, maxDevices, guard: reportGuard(self, access) });
  if (remove) {
    const removed = await bridge.remove();
    return emit(self, { json: { removed }, text: `${removed} ${removed === 1 ? 'device' : 'devices'} taken out of Home Assistant` });
  }
  try {
    await bridge.start();
    const { devices, cleared } = bridge.stats;
    log(self, `${devices} ${devices === 1 ? 'device' : 'devices'} announced below ${prefix}/${cleared === 0 ? '' : `, ${cleared} cleared that left`}   (Ctrl-C ends it)`);
    await aborted(signal);
  } finally {
    await bridge.stop();
    const { stats } = bridge;
    emit(self, { json: { ...stats }, text: Object.entries(stats).filter(([, n]) => n > 0).map(([what, n]) => `${n} ${what}`).join(', ') });
  }
}
