#!/usr/bin/env node
// The `sterna` command in a checkout.
import { runCli } from './lib/cli.mjs';

await runCli();
