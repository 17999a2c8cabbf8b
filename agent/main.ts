#!/usr/bin/env node
/** The daemon's entry: `startAgent` for those who embed it, and `sternad` for the command line. */
import { realpathSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { Agent } from './agent.js';
import { loadConfig } from './config/load.js';
import type { Config } from './config/schema.js';
import { toCodedError } from './errors.js';
import type { AgentDeps } from './foundation.js';
import { useLittleMemory } from './platform/frugal.js';

export { Agent } from './agent.js';
export { loadConfig, parseConfig } from './config/load.js';
export type { Config } from './config/schema.js';
export type { AgentDeps } from './foundation.js';
export { AgentError, agentErrorCodes, type AgentErrorCode } from './errors.js';

/** Starts a daemon in this process. Signals are the caller's. @throws AgentError E_STATE_LOCKED, E_STATE, E_CONFIG */
export function startAgent(config: Config, deps: AgentDeps = {}): Promise<Agent> {
  return Agent.start(config, deps);
}

/** Exit codes of sysexits.h, which service managers know. */
const EXIT_CONFIG = 78;
const EXIT_TEMPORARY = 75;
const EXIT_FAILURE = 1;

/** Runs until SIGTERM or SIGINT. @returns the exit code */
export async function runDaemon(args: readonly string[]): Promise<number> {
  useLittleMemory();
  let stop = (): void => undefined;
  const stopped = new Promise<void>((resolve) => { stop = resolve; });
  process.once('SIGTERM', stop);
  process.once('SIGINT', stop);
  try {
    const { values } = parseArgs({ args: [...args], options: { config: { type: 'string', short: 'c' } } });
    const agent = await startAgent(loadConfig(values.config === undefined ? {} : { path: values.config }));
    await stopped;
    await agent.stop();
    return 0;
  } catch (error) {
    const { code, message } = toCodedError(error);
    process.stderr.write(`${code}: ${message}\n`);
    return code === 'E_CONFIG' ? EXIT_CONFIG : code === 'E_STATE_LOCKED' ? EXIT_TEMPORARY : EXIT_FAILURE;
  }
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  process.exitCode = await runDaemon(process.argv.slice(2));
}
