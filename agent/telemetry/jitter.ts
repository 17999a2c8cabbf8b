/** Inter-arrival jitter, RFC 3550 section 6.4.1: D = (R_i - R_{i-1}) - (S_i - S_{i-1}); J += (|D| - J) / 16. */
export interface JitterState {
  jitterMs: number;
  last: { sentMs: number; receivedMs: number } | null;
}

export const initialJitter: JitterState = { jitterMs: 0, last: null };

/** S: scheduled capture, R: completion; both monotonic milliseconds. */
export function stepJitter(state: JitterState, sentMs: number, receivedMs: number): JitterState {
  if (state.last === null) return { jitterMs: state.jitterMs, last: { sentMs, receivedMs } };
  const d = receivedMs - state.last.receivedMs - (sentMs - state.last.sentMs);
  return { jitterMs: state.jitterMs + (Math.abs(d) - state.jitterMs) / 16, last: { sentMs, receivedMs } };
}
