import type { UpdateRules } from '../../../agent/ground/update-rules.js';

/** The defaults of the configuration, with few samples. */
export const testRules: UpdateRules = {
  gate: { allow_without_golden: false },
  shadow: { every: 1, min_samples: 5, max_ms: 60_000, undecided: 'commit', agreement: 0.5, identity_agreement: 0.5, latency_ratio: 3 },
  probation: { error_share: 0.1, latency_ratio: 1.5, miss_rate: 0.2, throttled_ms: 60_000 },
};

/** Configuration of a real device in a test: what it refuses does not depend on how busy the machine is. */
export const PATIENT_OTA = { stall_ms: 1000, shadow: { every: 1, min_samples: 3, max_ms: 5000, latency_ratio: 1000 }, probation: { latency_ratio: 1000 } };
