// Suites side by side: a few slots, an order, and what has to end before what. Knows nothing of what a suite does.
import { spawn } from 'node:child_process';
import { setPriority } from 'node:os';

/**
 * Runs the suites, `slots` at most at a time, and returns their results in the order given: each has {suite, passed, failed, skipped, seconds}.
 * A suite is {name, after, run}: `run` resolves to {passed, failed, skipped, reason?, notes?, failures?, retried?}, and may reject; `after` names suites that have to
 * end before it, and if one of them failed to `provide` (a build) what it is for, this one fails without running.
 */
export async function runSuites(suites, { slots, onStart = () => undefined, onEnd = () => undefined }) {
  const results = new Map(), running = new Map(), broken = new Set();
  const waiting = [...suites];
  const ready = ({ after = [] }) => after.every((name) => results.has(name));
  while (waiting.length > 0 || running.size > 0) {
    for (let next = waiting.findIndex(ready); next >= 0 && running.size < slots; next = waiting.findIndex(ready)) {
      const [suite] = waiting.splice(next, 1);
      onStart(suite);
      running.set(suite.name, runOne(suite, broken));
    }
    if (running.size === 0) throw new Error(`These suites wait for each other: ${waiting.map(({ name }) => name).join(', ')}`);
    const ended = await Promise.race(running.values());
    running.delete(ended.suite);
    results.set(ended.suite, ended);
    if (ended.broken) broken.add(ended.suite);
    onEnd(ended);
  }
  return suites.map(({ name }) => results.get(name));
}

async function runOne({ name, after = [], provides = false, run }, broken) {
  const began = performance.now();
  const end = (result) => ({ passed: 0, failed: 0, skipped: 0, notes: [], failures: [], retried: [], ...result, suite: name, seconds: Math.round((performance.now() - began) / 1000) });
  const lacking = after.find((other) => broken.has(other));
  if (lacking !== undefined) return end({ failed: 1, reason: `not run, because "${lacking}" failed` });
  try {
    const result = end(await run());
    return { ...result, broken: provides && result.failed > 0 };
  } catch (error) {
    return end({ failed: 1, reason: error.message, broken: provides });
  }
}

/**
 * Runs a program, and resolves to its exit code and to what it printed on both streams, in order.
 * @param nice its priority and that of what it starts: 0 is normal, 19 the lowest. Without it, the priority is that of this process.
 */
export function capture(command, args, { nice, ...options } = {}) {
  return new Promise((resolve) => {
    const chunks = [];
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    if (nice !== undefined && child.pid !== undefined) setPriority(child.pid, nice);
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => chunks.push(chunk));
    child.on('error', (error) => resolve({ status: null, output: `${command} did not start: ${error.message}\n` }));
    child.on('close', (status, signal) => resolve({ status, output: Buffer.concat(chunks).toString() + (signal ? `\n${command} was ended by ${signal}\n` : '') }));
  });
}
