/** Runs a candidate beside the serving package in a process of its own, so that nothing the candidate does there can stop the daemon. */
import { AgentError } from '../errors.js';
import type { CandidateLimits } from '../ground/runtime.js';
import type { ShadowCandidate } from '../ground/shadow.js';
import { openAsked, said } from './asked-child.js';
import type { CandidateProcess } from './candidate-process.js';
import { openedAnswer, sampleAnswer } from './shadow-protocol.js';

/** A candidate that takes longer than this for one sample hangs. Milliseconds. */
const SAMPLE_TIMEOUT_MS = 30_000;

/**
 * @param request what `serveShadow` of the entry opens
 * @throws what `openAsked` throws
 */
export function openShadowProcess(candidate: CandidateProcess, request: unknown, limits: CandidateLimits, signal: AbortSignal): Promise<ShadowCandidate> {
  return openAsked({ candidate, request, limits, signal }, openedAnswer, (child, { opened }) => ({
    ...opened,
    process: async (sample) => said(sampleAnswer, await child.ask({ sample: { ...sample } }, {
      timeoutMs: SAMPLE_TIMEOUT_MS, late: () => new AgentError('E_OTA_SHADOW_LATENCY', `The package gave no result for a frame within ${SAMPLE_TIMEOUT_MS} ms`),
    })).sample,
    close: () => child.close(),
  }));
}
