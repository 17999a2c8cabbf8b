/** Adapts a package in a process of its own with the lowest priority, so that nothing it does there can stop the daemon. */
import type { AdaptCandidate } from '../ground/adapt.js';
import { AgentError } from '../errors.js';
import type { CandidateLimits } from '../ground/runtime.js';
import { adaptOpened, adaptStepped, adaptTaken, adaptVerdict, type AdaptAsk } from './adapt-protocol.js';
import { errorOfEnd, forkCandidate, type CandidateProcess } from './candidate-process.js';
import { AskedChild, said } from './shadow-process.js';

/** A step that takes longer than this hangs. Milliseconds; the process has the lowest priority and may wait long for the processor. */
const STEP_TIMEOUT_MS = 300_000;

/**
 * @param request what `adapt-main.ts` opens
 * @throws AgentError E_OTA_GATE_TIMEOUT, E_OTA_GATE_MEMORY, E_OTA_GATE_CRASH, E_OTA_GATE_KILLED; CandidateError with the code of what failed in the child; the
 * signal's reason
 */
export async function openAdaptProcess(candidate: CandidateProcess, request: unknown, limits: CandidateLimits, signal: AbortSignal): Promise<AdaptCandidate> {
  signal.throwIfAborted();
  const child = new AskedChild(forkCandidate(candidate, limits, 'advanced'), limits);
  const abort = (): void => child.close();
  signal.addEventListener('abort', abort, { once: true });
  const late = { timeoutMs: STEP_TIMEOUT_MS, late: () => new AgentError('E_OTA_GATE_TIMEOUT', `Adapting thresholds hangs: a step took longer than ${STEP_TIMEOUT_MS} ms`) };
  const ask = (message: AdaptAsk): Promise<unknown> => child.ask(message, late);
  try {
    const { opened } = said(adaptOpened, await child.ask(request, { timeoutMs: limits.timeoutMs, late: () => errorOfEnd({ code: null, signal: null, endedFor: 'timeout', stderr: '' }, limits) }));
    return {
      openedCpuMs: opened.cpuMs,
      gather: async (frame) => said(adaptTaken, await ask({ gather: frame })).taken,
      step: async () => said(adaptStepped, await ask({ step: true })).stepped,
      judge: async (frame) => said(adaptTaken, await ask({ judge: frame })).taken,
      verdict: async () => said(adaptVerdict, await ask({ verdict: true })).verdict,
      close: () => child.close(),
    };
  } catch (error) {
    child.close();
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
