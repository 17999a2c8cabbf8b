/** Processes beside the serving package that answer one message at a time, with the lowest priority, so that the serving package gets the processor whenever it wants it. */
import type { ChildProcess } from 'node:child_process';
import { constants, setPriority } from 'node:os';
import type { z } from 'zod';
import { AgentError } from '../errors.js';
import { CandidateError, type CandidateLimits } from '../ground/runtime.js';
import { errorOfEnd, forkCandidate, KEPT_STDERR, watchMemory, type CandidateEnd, type CandidateProcess } from './candidate-process.js';
import type { Failed } from './candidate-protocol.js';

/**
 * Starts the process, and has it open the package.
 * @param request what the entry of the process opens
 * @param use what the caller makes of the process and of its first answer
 * @throws AgentError E_OTA_GATE_TIMEOUT, E_OTA_GATE_MEMORY, E_OTA_GATE_CRASH, E_OTA_GATE_KILLED; CandidateError with the code of what failed in the child; the
 * signal's reason
 */
export async function openAsked<Answer extends object, Used>(
  { candidate, request, limits, signal }: { candidate: CandidateProcess; request: unknown; limits: CandidateLimits; signal: AbortSignal },
  answer: z.ZodType<Answer>, use: (child: AskedChild, opened: Said<Answer>) => Used,
): Promise<Used> {
  signal.throwIfAborted();
  const child = new AskedChild(forkCandidate(candidate, limits, 'advanced'), limits);
  const abort = (): void => child.close();
  signal.addEventListener('abort', abort, { once: true });
  try {
    return use(child, said(answer, await child.ask(request, { timeoutMs: limits.timeoutMs, late: () => errorOfEnd({ code: null, signal: null, endedFor: 'timeout', stderr: '' }, limits) })));
  } catch (error) {
    child.close();
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}

/** A process that answers one message at a time. */
export class AskedChild {
  readonly #child: ChildProcess;
  readonly #watch: NodeJS.Timeout;
  #endedFor: CandidateEnd['endedFor'] = null;
  #stderr = '';
  /** Why the process can no longer be asked; null while it can. */
  #ended: AgentError | null = null;
  #waiting: { resolve: (answer: unknown) => void; reject: (error: AgentError) => void } | null = null;

  constructor(child: ChildProcess, limits: CandidateLimits) {
    this.#child = child;
    this.#watch = watchMemory(child, limits, () => {
      this.#endedFor ??= 'memory';
      this.close();
    });
    yieldToOthers(child.pid);
    child.stderr?.on('data', (piece: Buffer) => { this.#stderr = (this.#stderr + piece.toString('utf8')).slice(-KEPT_STDERR); });
    child.on('message', (answer) => {
      const waiting = this.#waiting;
      this.#waiting = null;
      waiting?.resolve(answer);
    });
    child.once('error', (cause) => {
      if (child.pid === undefined) this.#end(new AgentError('E_OTA_GATE_KILLED', `The process of a new package cannot be started: ${cause.message}`, { cause }));
    });
    child.once('close', (code, signal) => this.#end(errorOfEnd({ code, signal, endedFor: this.#endedFor, stderr: this.#stderr }, limits)));
  }

  /** @param late makes the error for an answer that does not come in time; the process is then ended */
  async ask(message: unknown, { timeoutMs, late }: { timeoutMs: number; late: () => AgentError }): Promise<unknown> {
    if (this.#ended !== null) throw this.#ended;
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise((resolve, reject) => {
        this.#waiting = { resolve, reject };
        timer = setTimeout(() => {
          this.#end(late());
          this.close();
        }, timeoutMs);
        this.#child.send(message as object, () => undefined); // If the child is gone already, the handler of its end reports it.
      });
    } finally {
      clearTimeout(timer);
    }
  }

  close(): void {
    clearInterval(this.#watch);
    this.#child.kill('SIGKILL');
  }

  #end(error: AgentError): void {
    clearInterval(this.#watch);
    this.#ended ??= error;
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.reject(this.#ended);
  }
}

/** Lowers the priority of the process. This must happen right after its start, because threads inherit the priority when they are made. */
function yieldToOthers(pid: number | undefined): void {
  try {
    if (pid !== undefined) setPriority(pid, constants.priority.PRIORITY_LOW);
  } catch {
    // The process is gone already, or the system does not allow it; then it runs with the same priority as all others.
  }
}

/** What a process said that did not fail. */
export type Said<Answer> = Exclude<Answer, Failed>;

/** @throws CandidateError with what failed in the process; AgentError E_OTA_GATE_CRASH for an answer of another form */
export function said<Answer extends object>(schema: z.ZodType<Answer>, message: unknown): Said<Answer> {
  const parsed = schema.safeParse(message);
  if (!parsed.success) throw new AgentError('E_OTA_GATE_CRASH', `The process of the new package gave an answer that cannot be read: ${parsed.error.message.slice(0, 200)}`);
  if ('error' in parsed.data) {
    const { code, message: text } = (parsed.data as Failed).error;
    throw new CandidateError(code, text);
  }
  return parsed.data as Said<Answer>;
}
