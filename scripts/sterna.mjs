#!/usr/bin/env node
// The `sterna` command in a checkout: sets up what is missing (messages on stderr), then runs the compiled CLI.
import { ensureSetup, log } from './lib/setup.mjs';

let ready = false;
try {
  ensureSetup();
  ready = true;
} catch (error) {
  log(error.message);
  process.exitCode = 1;
}
if (ready) await import('../dist/deploy/cli/main.js');
