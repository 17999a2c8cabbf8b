import type { Command } from 'commander';
import { transferSections } from '../../bench/transfer/sections.js';
import { measureSections } from '../bench-sections.js';
import { reporting } from '../output.js';

export function register(program: Command): void {
  program
    .command('bench-transfer')
    .summary('measure how packages travel to devices (npm run bench:transfer)')
    .description('Measures the way of packages to a real daemon against its bars: throughput and memory through Mosquitto on loopback (the embedded broker where it is not installed), the bytes sent over a bad link, and the share of a package that travels when little of it has changed. It takes some minutes.')
    .option('--only <sections...>', `only these sections: ${Object.keys(transferSections).join(', ')}`, [])
    .action(reporting((self: Command, { only }: { only: string[] }) => measureSections(self, transferSections, { only, given: (signal) => ({ signal }) })));
}
