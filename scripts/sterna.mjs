#!/usr/bin/env node
// The `sterna` command: a checkout is set up first, an installed package runs as it is.
import { isCheckout } from './lib/checkout.mjs';

if (isCheckout) {
  const { runCli } = await import('./lib/cli.mjs');
  await runCli();
} else {
  await import('../dist/deploy/cli/main.js');
}
