/** The rules by which a pipeline of this device judges packages: those of its configuration, with its settings before them. */

/** Of the gate. Absent limits are those of the package alone. */
export interface GateRules {
  p99_ms?: number | undefined;
  ram_bytes?: number | undefined;
  joules?: number | undefined;
  allow_without_golden: boolean;
}

/** Of the shadow; `contracts/update-rules.ts` says what each means. */
export interface ShadowRules {
  every: number;
  min_samples: number;
  max_ms: number;
  undecided: 'commit' | 'reject';
  agreement: number;
  identity_agreement: number;
  latency_ratio: number;
}

/** Of the probation; `contracts/update-rules.ts` says what each means. */
export interface ProbationRules {
  error_share: number;
  latency_ratio: number;
  miss_rate: number;
  throttled_ms: number;
}

export interface UpdateRules {
  gate: GateRules;
  shadow: ShadowRules;
  probation: ProbationRules;
}
