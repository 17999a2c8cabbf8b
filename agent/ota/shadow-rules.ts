/** Judges a candidate that runs beside the serving package: what is known of it, and whether it may take that package's place. Pure. */
import { medianOf } from '../../runtime/percentile.js';
import type { AgentErrorCode } from '../errors.js';
import type { ShadowReport } from '../ground/package.js';
import type { GateRules, ShadowRules } from '../ground/update-rules.js';
import type { ShadowCandidate, ShadowSample } from '../ground/shadow.js';
import { shareOf, type Agreement } from '../../runtime/stages/agreement.js';
import type { Comparable } from './agreement.js';

export interface ShadowTally {
  agreement: Agreement;
  samples: number;
  /** Samples that were due while the candidate was still at work on an earlier one. */
  skipped: number;
  /** Samples on which the candidate failed. */
  errors: number;
  candidateMs: number[];
  servingMs: number[];
  joules: number[];
}

export type ShadowVerdict = { state: 'running' } | { state: 'passed' | 'undecided' } | { state: 'failed'; code: AgentErrorCode; message: string };

export interface ShadowLimits {
  rules: ShadowRules;
  gate: GateRules;
  budget: ShadowCandidate['budget'];
  comparable: Comparable;
}

/** A single error may come from a damaged frame. From this many tries on, a larger share of errors than the one below is the candidate's fault. */
const ERRORS_FROM = 10;
const ERROR_SHARE = 0.1;

/**
 * The time that a sample would have cost the candidate without other programs on this machine. The candidate has the lowest priority, so its wall
 * time depends on the others. It runs on one thread, so its processor time is what it would have taken alone.
 */
export function ownMs({ totalMs, cpuMs }: Pick<ShadowSample, 'totalMs' | 'cpuMs'>): number {
  return Math.min(totalMs, cpuMs);
}

/** Judges when there are enough samples, or when the time is over. */
export function judgeShadow(tally: ShadowTally, limits: ShadowLimits, elapsedMs: number): ShadowVerdict {
  const { rules } = limits;
  const tries = tally.samples + tally.errors;
  if (tries >= ERRORS_FROM && tally.errors > tries * ERROR_SHARE) {
    return failed('E_OTA_SHADOW_ERRORS', `The package failed on ${tally.errors} of ${tries} frames beside the serving one`);
  }
  if (tally.samples < rules.min_samples) {
    if (elapsedMs < rules.max_ms) return { state: 'running' };
    if (rules.undecided === 'commit') return { state: 'undecided' };
    return failed('E_OTA_SHADOW_SAMPLES', `Only ${tally.samples} of the ${rules.min_samples} samples that the comparison needs came within ${rules.max_ms} ms (update.shadow)`);
  }
  return brokenRule(tally, limits) ?? { state: 'passed' };
}

function brokenRule({ agreement, candidateMs, servingMs, joules }: ShadowTally, { rules, gate, budget, comparable }: ShadowLimits): ShadowVerdict | null {
  if (comparable.findings) {
    const shares = [['boxes', shareOf(agreement.boxes), rules.agreement], ['classes', shareOf(agreement.classes), rules.agreement], ['identities', shareOf(agreement.identities), rules.identity_agreement]] as const;
    for (const [what, share, least] of shares) {
      if (share !== null && share < least) return failed('E_OTA_SHADOW_AGREEMENT', `The package agrees with the serving one on ${percent(share)} of the ${what}, and at least ${percent(least)} are needed (update.shadow)`);
    }
  }
  const [own, serving] = [medianOf(candidateMs), medianOf(servingMs)];
  const most = Math.min(budget.p99_ms, gate.p99_ms ?? Infinity);
  if (own !== null && own > most) return failed('E_OTA_SHADOW_LATENCY', `A sample of this input takes ${own.toFixed(1)} ms (median) and may take ${most} ms`);
  if (own !== null && serving !== null && own > serving * rules.latency_ratio) {
    return failed('E_OTA_SHADOW_LATENCY', `A sample of this input takes ${own.toFixed(1)} ms (median), more than ${rules.latency_ratio} times the ${serving.toFixed(1)} ms of the serving package`);
  }
  const [used, allowed] = [medianOf(joules), Math.min(budget.joules ?? Infinity, gate.joules ?? Infinity)];
  if (used !== null && used > allowed) return failed('E_OTA_SHADOW_ENERGY', `A sample of this input takes ${used.toPrecision(3)} J (median, modelled) and may take ${allowed} J`);
  return null;
}

/** Converts the tally to the form in which `reported` shows it. */
export function reportShadow(tally: ShadowTally, { rules, comparable }: Pick<ShadowLimits, 'rules' | 'comparable'>, state: ShadowReport['state']): ShadowReport {
  const { agreement } = tally;
  return {
    state, note: comparable.note, samples: tally.samples, samples_wanted: rules.min_samples, skipped: tally.skipped, errors: tally.errors,
    agreement: { boxes: shareOf(agreement.boxes), identities: shareOf(agreement.identities), classes: shareOf(agreement.classes) },
    p50_ms: medianOf(tally.candidateMs), serving_p50_ms: medianOf(tally.servingMs), joules: medianOf(tally.joules),
  };
}

function failed(code: AgentErrorCode, message: string): ShadowVerdict {
  return { state: 'failed', code, message };
}

const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;
