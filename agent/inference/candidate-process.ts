/**
 * Tests a candidate in a process of its own, within this device's limits on time and memory. If the package hangs, takes too much memory or crashes
 * there, the daemon and the running pipeline go on. Afterwards that process and its memory are gone.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { AgentError } from '../errors.js';
import type { GateReport } from '../ground/package.js';
import { CandidateError, type CandidateLimits } from '../ground/runtime.js';
import { answerSchema, type CandidateRequest } from './candidate-protocol.js';

export interface CandidateProcess {
  /** The module that calls `serveCandidate`; the process runs it. */
  entry: URL | string;
  args?: readonly string[];
  /** Of Node.js. */
  flags?: readonly string[];
}

/** How the child ended, as far as its parent can tell. */
export interface CandidateEnd {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** Why the parent ended the process; null when it did not. */
  endedFor: 'timeout' | 'memory' | null;
  /** The end of what the process wrote to stderr. */
  stderr: string;
}

const WATCH_MS = 50;
/** How many characters of stderr's end are kept. */
export const KEPT_STDERR = 2000;
const MiB = 1024 * 1024;
/** Signals that a process raises by a fault of its own. All other signals were sent to it by somebody. */
const FAULT_SIGNALS: ReadonlySet<NodeJS.Signals> = new Set(['SIGSEGV', 'SIGBUS', 'SIGILL', 'SIGFPE', 'SIGABRT', 'SIGTRAP', 'SIGSYS']);

/**
 * Starts the process, sends it the request, and waits for its answer.
 * @throws AgentError E_OTA_GATE_TIMEOUT, E_OTA_GATE_MEMORY, E_OTA_GATE_CRASH, E_OTA_GATE_KILLED; CandidateError with the code of what failed in the
 * child; the signal's reason
 */
export async function testInProcess(candidate: CandidateProcess, request: CandidateRequest, limits: CandidateLimits, signal: AbortSignal): Promise<GateReport> {
  signal.throwIfAborted();
  const child = forkCandidate(candidate, limits, 'json');
  let endedFor: CandidateEnd['endedFor'] = null;
  let answer: unknown;
  let stderr = '';
  const kill = (): void => void child.kill('SIGKILL');
  const endFor = (why: 'timeout' | 'memory'): void => { endedFor ??= why; kill(); };
  child.stderr?.on('data', (piece: Buffer) => { stderr = (stderr + piece.toString('utf8')).slice(-KEPT_STDERR); });
  child.on('message', (message) => { answer ??= message; });
  signal.addEventListener('abort', kill, { once: true });
  const deadline = setTimeout(() => endFor('timeout'), limits.timeoutMs);
  const watch = watchMemory(child, limits, () => endFor('memory'));
  try {
    const ended = closed(child);
    child.send(request, () => undefined); // If the child is gone already, the handler of its end reports it.
    const { code, signal: by } = await ended;
    signal.throwIfAborted();
    if (answer !== undefined && endedFor === null) return readAnswer(answer);
    throw errorOfEnd({ code, signal: by, endedFor, stderr }, limits);
  } finally {
    clearTimeout(deadline);
    clearInterval(watch);
    signal.removeEventListener('abort', kill);
    kill();
  }
}

/** The error for a process that ended without an answer. Pure. */
export function errorOfEnd({ code, signal, endedFor, stderr }: CandidateEnd, { timeoutMs, memoryBytes }: CandidateLimits): AgentError {
  if (endedFor === 'timeout') {
    return new AgentError('E_OTA_GATE_TIMEOUT', `Opening and testing the package took longer than the ${timeoutMs} ms of ota.warm_timeout_ms`);
  }
  if (endedFor === 'memory' || (signal === 'SIGABRT' && stderr.includes('heap out of memory'))) {
    return new AgentError('E_OTA_GATE_MEMORY', `Opening and testing the package took more than the ${memoryBytes} bytes of ota.warm_memory_bytes`);
  }
  const words = stderr.trim().split('\n').slice(-1)[0] ?? '';
  const said = words === '' ? '' : `; its last words: ${words.slice(0, 200)}`;
  if (signal !== null && !FAULT_SIGNALS.has(signal)) {
    return new AgentError('E_OTA_GATE_KILLED', `The process that tested the package was ended from outside by ${signal}${said}`);
  }
  return new AgentError('E_OTA_GATE_CRASH', `The process that tested the package ended by itself with ${signal ?? `exit code ${code ?? 'none'}`}${said}`);
}

/** Starts such a process. Its standard error is a pipe, and it has a channel for messages. */
export function forkCandidate({ entry, args = [], flags = [] }: CandidateProcess, { memoryBytes }: CandidateLimits, serialization: 'json' | 'advanced'): ChildProcess {
  const env = { ...process.env };
  // Without these variables the child cannot speak to the service manager in the daemon's name, and does not die at the daemon's fault points.
  for (const name of ['NOTIFY_SOCKET', 'WATCHDOG_USEC', 'WATCHDOG_PID', 'STERNA_FAULT']) delete env[name];
  const heapMiB = Math.max(48, Math.floor(memoryBytes / 2 / MiB));
  return fork(entry, [...args], { env, execArgv: [`--max-old-space-size=${heapMiB}`, ...flags], stdio: ['ignore', 'ignore', 'pipe', 'ipc'], serialization });
}

/** Calls `onOver` when the process uses more memory than it may. The caller must clear the timer when the process has ended. */
export function watchMemory(child: ChildProcess, { memoryBytes }: CandidateLimits, onOver: () => void): NodeJS.Timeout {
  return setInterval(() => { if ((residentBytes(child.pid) ?? 0) > memoryBytes) onOver(); }, WATCH_MS);
}

function closed(child: ChildProcess): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
  return new Promise((resolve, reject) => {
    child.once('error', (cause) => {
      if (child.pid === undefined) reject(new AgentError('E_OTA_GATE_KILLED', `The process that tests packages cannot be started: ${cause.message}`, { cause }));
    });
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
}

function readAnswer(message: unknown): GateReport {
  const parsed = answerSchema.safeParse(message);
  if (!parsed.success) throw new AgentError('E_OTA_GATE_CRASH', `The process that tested the package gave an answer that cannot be read: ${parsed.error.message.slice(0, 200)}`);
  if ('report' in parsed.data) return parsed.data.report;
  throw new CandidateError(parsed.data.error.code, parsed.data.error.message);
}

/** Reads /proc/PID/statm, whose second number is the resident pages; null where that file does not exist. */
function residentBytes(pid: number | undefined): number | null {
  try {
    const pages = Number(readFileSync(`/proc/${pid ?? 'none'}/statm`, 'utf8').split(' ')[1]);
    return Number.isFinite(pages) ? pages * PAGE_BYTES : null;
  } catch {
    return null;
  }
}

/**
 * Bytes of a memory page. The kernel counts in pages, and Node does not tell their size. Kernels on which Node runs have pages of 4 KiB or, rarely,
 * 16 or 64 KiB.
 */
const PAGE_BYTES = pageBytes();

function pageBytes(): number {
  try {
    const own = readFileSync('/proc/self/statm', 'utf8').split(' ')[1];
    const guess = process.memoryUsage.rss() / Number(own);
    return [4096, 16_384, 65_536].find((size) => guess < size * 1.5) ?? 4096;
  } catch {
    return 4096;
  }
}
