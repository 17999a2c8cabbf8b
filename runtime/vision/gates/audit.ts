import { rateBounds, trialsToShow } from './binomial.js';
import type { AuditSettings } from './settings.js';

/** How strict the gates are: as they were set, tightened once or twice, or off. */
export const strictnesses = ['set', 'tight', 'tightest', 'off'] as const;
export type Strictness = (typeof strictnesses)[number];

/** Share of what stops in which a full run may find something new. */
export type AuditLimit = Pick<AuditSettings, 'miss_limit'>;

/** What the audit knows: nothing of it depends on time. */
export interface AuditState {
  readonly strictness: Strictness;
  /** Outcomes since the strictness changed, at most a window of them, oldest first; true: a miss. */
  readonly outcomes: readonly boolean[];
  /** Since the pipeline was opened. */
  readonly audits: number;
  readonly misses: number;
  /** Findings that a grey level of noise takes away: neither a miss nor none. */
  readonly unsure: number;
}

export const initialAudit: AuditState = { strictness: 'set', outcomes: [], audits: 0, misses: 0, unsure: 0 };

/** What a full run of a frame, or of a window of sound, that had stopped shows. */
export type AuditOutcome = 'nothing new' | 'miss' | 'unsure';

/** Older outcomes than so many times the fewest that decide are forgotten. */
const windowsKept = 4;

/** Share of the frames that stop in which something new was found, with its bounds (Clopper and Pearson, 95 %, one-sided). */
export interface MissRate {
  audits: number;
  misses: number;
  rate: number | null;
  lower: number;
  upper: number;
}

/** What the audit of a pipeline's gates has shown. */
export interface GateReport {
  strictness: Strictness;
  /** Frames that stopped and were run in full, and those in which a full run found something new; since the pipeline was opened. */
  audits: number;
  misses: number;
  /** Audits whose finding a grey level of noise takes away: how sure the detector itself is. */
  unsure: number;
  /** Frames that were drawn while another audit was under way, or before its models were open. */
  skipped: number;
  /** Of the gates as they are now. */
  missRate: MissRate;
}

export function missRate({ outcomes }: AuditState): MissRate {
  const audits = outcomes.length;
  const misses = outcomes.filter(Boolean).length;
  return { audits, misses, rate: audits === 0 ? null : misses / audits, ...rateBounds(misses, audits) };
}

/**
 * Whether the gates miss too much: the upper bound is above the limit although there were enough audits to show the contrary, or the lower
 * bound is, however few there were.
 */
export function missesTooMuch(state: AuditState, { miss_limit: limit }: AuditLimit): boolean {
  const { audits, lower, upper } = missRate(state);
  return lower > limit || (audits >= trialsToShow(limit) && upper > limit);
}

/** The state after an audit. When the gates miss too much they become one step stricter, and the count begins anew: it was that of other gates. */
export function stepAudit(state: AuditState, outcome: AuditOutcome, settings: AuditLimit): AuditState {
  if (outcome === 'unsure') return { ...state, audits: state.audits + 1, unsure: state.unsure + 1 };
  const miss = outcome === 'miss';
  const kept = windowsKept * trialsToShow(settings.miss_limit);
  const next: AuditState = {
    ...state, outcomes: [...state.outcomes, miss].slice(-kept), audits: state.audits + 1, misses: state.misses + (miss ? 1 : 0),
  };
  if (state.strictness === 'off' || !missesTooMuch(next, settings)) return next;
  const stricter = strictnesses[strictnesses.indexOf(state.strictness) + 1] ?? 'off';
  return { ...next, strictness: stricter, outcomes: [] };
}

/** The factor for a gate's thresholds; 0 for a gate that is off. */
export function thresholdFactor(strictness: Strictness): number {
  return { set: 1, tight: 0.5, tightest: 0.25, off: 0 }[strictness];
}

/** Draws a share of the frames, the same ones for the same seed (a 32-bit xorshift). */
export class Lottery {
  #state: number;

  constructor(private readonly share: number, seed: number) {
    this.#state = (seed | 0) || 0x9e3779b9;
  }

  draw(): boolean {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) / 2 ** 32 < this.share;
  }
}
