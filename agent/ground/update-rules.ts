/** The rules by which a pipeline of this device judges packages: those of its configuration, with its settings before them. */

/** Of the gate. Absent limits are those of the package alone. */
export interface GateRules {
  p99_ms?: number | undefined;
  ram_bytes?: number | undefined;
  joules?: number | undefined;
  allow_without_golden: boolean;
}

export interface UpdateRules {
  gate: GateRules;
}
