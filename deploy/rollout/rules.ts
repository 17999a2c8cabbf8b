/** The rules that halt a roll-out or let a wave pass. Pure. */
import { devicesText, nameOfWave, shareOf, type RolloutSpec } from './spec.js';
import { countOfPhases, OPEN, type Halt, type RolloutState, type WaveState } from './state.js';

interface Tally {
  succeeded: number;
  /** Less those that an operator has accepted. */
  failed: number;
  /** Results so far. A device in its probation runs the package, so it counts as one. */
  samples: number;
  open: number;
  /** Devices that can still give, or have given, a result that counts. */
  possible: number;
}

function tallyOf(wave: WaveState): Tally {
  const { succeeded, proving, superseded, absent } = wave.counts;
  const failed = Math.max(0, wave.counts.failed - wave.forgiven);
  return { succeeded, failed, samples: succeeded + proving + failed, open: countOfPhases(wave, OPEN), possible: wave.size - superseded - absent - Math.min(wave.forgiven, wave.counts.failed) };
}

/** The devices of a wave that must succeed. */
function needed({ min_success_percent: percent }: RolloutSpec, possible: number): number {
  return shareOf(possible, percent);
}

export function wavePasses(spec: RolloutSpec, wave: WaveState): boolean {
  const { succeeded, failed, open, possible } = tallyOf(wave);
  if (wave.accepted && open === 0) return true;
  if (possible === 0) return open === 0 && wave.size === 0;
  return succeeded >= needed(spec, possible) && succeeded + failed >= Math.min(spec.min_samples, possible);
}

/** The first rule that an open wave breaks; null: none. */
export function brokenRule(spec: RolloutSpec, state: RolloutState, nowMs: number): Halt | null {
  for (const [index, wave] of state.waves.entries()) {
    const rule = wave.opened_ms === null ? null : ruleOf(spec, wave);
    if (rule !== null) return haltOf({ rule, wave: index, time_ms: nowMs }, spec, wave);
  }
  return null;
}

function ruleOf(spec: RolloutSpec, wave: WaveState): Halt['rule'] | null {
  const { failed, samples, open, possible } = tallyOf(wave);
  if (open === 0 && wave.accepted && failed === 0) return null;
  if (samples >= spec.min_samples || open === 0) {
    if (failed > 0 && (failed * 100) / samples > spec.max_error_percent) return 'errors';
    if (failed > 0 && possible - failed < needed(spec, possible)) return 'success';
  }
  return open === 0 && possible === 0 && wave.size > 0 && !wave.accepted ? 'samples' : null;
}

export function haltOf(at: Pick<Halt, 'rule' | 'wave' | 'time_ms'>, spec: RolloutSpec, wave: WaveState, reason?: string): Halt {
  const { failed, samples, possible } = tallyOf(wave);
  const name = `wave ${at.wave + 1} (${nameOfWave(spec, at.wave)})`;
  const codes = Object.entries(wave.codes).sort(([, a], [, b]) => b - a).map(([code, n]) => `${code} on ${devicesText(n)}`).join(', ');
  const names = wave.failures.slice(0, 5).map(({ device }) => device).join(', ');
  const which = `${codes}: ${names}${wave.counts.failed > 5 ? `, and ${wave.counts.failed - 5} more` : ''}`;
  const share = samples === 0 ? 0 : Math.round((failed * 1000) / samples) / 10;
  const accepted = wave.forgiven === 0 ? '' : `, apart from ${wave.forgiven} that an operator accepted`;
  const texts: Record<Halt['rule'], string> = {
    errors: `${failed} of ${samples} results of ${name} are failures (${share} %), and at most ${spec.max_error_percent} % may be${accepted}. ${which}`,
    success: `Only ${possible - failed} of ${possible} devices of ${name} can still succeed, and ${needed(spec, possible)} must (${spec.min_success_percent} %)${accepted}. ${which}`,
    samples: `No device of ${name} gave a result: all of them are away or run another package`,
    unpublishable: `The fleet side cannot tell the devices of ${name} to run the package: ${reason ?? ''}`,
  };
  return { ...at, failed, samples, codes: wave.codes, devices: wave.failures, text: texts[at.rule] };
}
