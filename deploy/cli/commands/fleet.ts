import type { Command } from 'commander';
import { registerDeviceCommands } from '../fleet/device-commands.js';
import { registerCollect } from '../fleet/collect.js';
import { registerExports } from '../fleet/export.js';
import { registerHomeAssistant } from '../fleet/home-assistant.js';
import { registerPage } from '../fleet/page.js';
import { registerServe } from '../fleet/serve.js';
import { registerStatus } from '../fleet/status.js';

export function register(program: Command): void {
  const fleet = program
    .command('fleet')
    .summary('see, serve and command the devices of your own broker')
    .description('Works with the devices that report to your own broker. Without a subcommand it is `sterna fleet page`: it prints the devices and serves the page. `sterna publish` sends packages.');
  registerPage(fleet);
  registerStatus(fleet);
  registerServe(fleet);
  registerCollect(fleet);
  registerHomeAssistant(fleet);
  registerExports(fleet);
  registerDeviceCommands(fleet);
}
