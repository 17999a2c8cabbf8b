/** The rules by which a pipeline of this device judges packages. They come from its configuration; its settings take precedence. */

/** Rules of the gate. Where this device states no limit, only the limits of the package hold. */
export interface GateRules {
  p99_ms?: number | undefined;
  ram_bytes?: number | undefined;
  joules?: number | undefined;
  allow_without_golden: boolean;
}

/** Rules of the comparison beside the serving package; `contracts/update-rules.ts` says what each means. */
export interface ShadowRules {
  every: number;
  min_samples: number;
  max_ms: number;
  undecided: 'commit' | 'reject';
  agreement: number;
  identity_agreement: number;
  latency_ratio: number;
}

/** Rules of the probation; `contracts/update-rules.ts` says what each means. */
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
