/** Adapts a package in a process of its own, so that nothing it does there can stop the daemon. */
import type { AdaptCandidate } from '../ground/adapt.js';
import { AgentError } from '../errors.js';
import type { CandidateLimits } from '../ground/runtime.js';
import { adaptOpened, adaptStepped, adaptTaken, adaptVerdict, type AdaptAsk } from './adapt-protocol.js';
import { openAsked, said } from './asked-child.js';
import type { CandidateProcess } from './candidate-process.js';

/** A step that takes longer than this hangs. Milliseconds; the process has the lowest priority and may wait long for the processor. */
const STEP_TIMEOUT_MS = 300_000;

/**
 * @param request what `adapt-main.ts` opens
 * @throws what `openAsked` throws
 */
export function openAdaptProcess(candidate: CandidateProcess, request: unknown, limits: CandidateLimits, signal: AbortSignal): Promise<AdaptCandidate> {
  const late = { timeoutMs: STEP_TIMEOUT_MS, late: () => new AgentError('E_OTA_GATE_TIMEOUT', `Adapting thresholds hangs: a step took longer than ${STEP_TIMEOUT_MS} ms`) };
  return openAsked({ candidate, request, limits, signal }, adaptOpened, (child, { opened }) => {
    const ask = (message: AdaptAsk): Promise<unknown> => child.ask(message, late);
    return {
      openedCpuMs: opened.cpuMs,
      gather: async (frame) => said(adaptTaken, await ask({ gather: frame })).taken,
      step: async () => said(adaptStepped, await ask({ step: true })).stepped,
      judge: async (frame) => said(adaptTaken, await ask({ judge: frame })).taken,
      verdict: async () => said(adaptVerdict, await ask({ verdict: true })).verdict,
      close: () => child.close(),
    };
  });
}
