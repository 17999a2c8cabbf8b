/**
 * Turns what is heard in each chunk into "a siren began" and "the siren ended". Pure: (state, chunk) -> {state, events}. The pipeline already decides
 * with hysteresis when a sound begins and ends, so nothing is debounced here: that would only delay the report of a siren.
 */
import type { Finding, SoundEvent } from '../../runtime/stages/finding.js';
import type { PresenceEvent } from './presence.js';

/** The sounds that are heard now, by their labels. */
export type HearingState = ReadonlyMap<string, SoundEvent>;

export const emptyHearing: HearingState = new Map();

const ended = (sound: SoundEvent): PresenceEvent => ({ action: 'left', identity: undefined, finding: sound, visibleMs: sound.durationMs });

export function stepHearing(state: HearingState, findings: readonly Finding[]): { state: HearingState; events: PresenceEvent[] } {
  const next = new Map(findings.flatMap((finding) => (finding.type === 'sound' ? [[finding.label, finding] as const] : [])));
  const events: PresenceEvent[] = [];
  // A sound with the same label but another onset is another sound.
  for (const [label, sound] of state) if (next.get(label)?.onsetMs !== sound.onsetMs) events.push(ended(sound));
  for (const [label, sound] of next) if (state.get(label)?.onsetMs !== sound.onsetMs) events.push({ action: 'appeared', identity: undefined, finding: sound });
  return { state: next, events };
}

/** Ends every sound that was heard, because the microphone is gone. */
export function endAll(state: HearingState): PresenceEvent[] {
  return [...state.values()].map(ended);
}
