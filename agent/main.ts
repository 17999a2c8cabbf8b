#!/usr/bin/env node
/** The daemon's entries: `startAgent` for programs that embed it, and `sternad` for the command line. */
import { realpathSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { Agent } from './agent.js';
import { loadConfig } from './config/load.js';
import type { Config } from './config/schema.js';
import { toCodedError } from './errors.js';
import type { AgentDeps } from './foundation.js';
import { useLittleMemory } from './platform/frugal.js';
import { noteCrash } from './platform/last-run.js';

export { Agent } from './agent.js';
export { loadConfig, parseConfig } from './config/load.js';
export type { Config } from './config/schema.js';
export type { AgentDeps } from './foundation.js';
export { AgentError, agentErrorCodes, type AgentErrorCode } from './errors.js';

/** Starts a daemon in this process. The caller handles signals. @throws AgentError E_STATE_LOCKED, E_STATE, E_CONFIG */
export function startAgent(config: Config, deps: AgentDeps = {}): Promise<Agent> {
  return Agent.start(config, deps);
}

/** Exit codes of sysexits.h, which service managers know. */
const EXIT_CONFIG = 78;
const EXIT_TEMPORARY = 75;
const EXIT_FAILURE = 1;

/**
 * If a stop takes longer than this, milliseconds, the signal's default action ends the process. State is journalled, so only what was not sent yet is
 * lost.
 */
const STOP_DEADLINE_MS = 9500;
/** After everything has stopped, a camera's driver or a native thread may still hold the process for this long. Milliseconds. */
const LINGER_MS = 500;

/**
 * Runs until SIGTERM or SIGINT. The process ends within 10 s of the signal, and at once when a second signal comes.
 * @returns the exit code
 */
export async function runDaemon(args: readonly string[]): Promise<number> {
  process.umask(0o077); // Only the user of this process may read the files that it writes.
  useLittleMemory();
  const stop = new AbortController();
  let signal: NodeJS.Signals = 'SIGTERM';
  const release = onStopSignals((received) => {
    signal = received;
    stop.abort(new Error(`stopped by ${received}`));
    setTimeout(() => endBy(received, `the daemon did not stop within ${STOP_DEADLINE_MS} ms`), STOP_DEADLINE_MS).unref();
  });
  const stoppedWell = (): number => {
    setTimeout(() => endBy(signal, 'everything has stopped, but something still holds the process'), LINGER_MS).unref();
    return 0;
  };
  try {
    const { values } = parseArgs({ args: [...args], options: { config: { type: 'string', short: 'c' } } });
    const config = loadConfig(values.config === undefined ? {} : { path: values.config });
    process.on('uncaughtExceptionMonitor', (error) => noteCrash(config.state_dir, error));
    const agent = await startAgent(config, { signal: stop.signal });
    await aborted(stop.signal);
    await agent.stop();
    return stoppedWell();
  } catch (error) {
    if (stop.signal.aborted) return stoppedWell(); // It was asked to stop while it started.
    release();
    const { code, message } = toCodedError(error);
    process.stderr.write(`${code}: ${message}\n`);
    return code === 'E_CONFIG' ? EXIT_CONFIG : code === 'E_STATE_LOCKED' ? EXIT_TEMPORARY : EXIT_FAILURE;
  }
}

/** Calls `first` for the first signal; the second one ends the process. @returns how to stop listening */
function onStopSignals(first: (signal: NodeJS.Signals) => void): () => void {
  let seen = false;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (seen) endBy(signal, `a second ${signal}`);
    seen = true;
    first(signal);
  };
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
  return () => void process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
}

/**
 * Ends the process by the signal's default action, which does not wait for threads. `process.exit` would wait for threads of the pool, one of which
 * may be the cause of the hang.
 */
function endBy(signal: NodeJS.Signals, why: string): void {
  process.stderr.write(`E_STOP_TIMEOUT: ${why}; ended without cleaning up\n`);
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  process.exitCode = await runDaemon(process.argv.slice(2));
}
