/**
 * From what is heard in chunks to "a siren began", "the siren ended". Pure: (state, chunk) -> {state, events}. The pipeline decides with hysteresis when a
 * sound begins and ends, so that nothing is debounced here: that would cost the time in which a siren has to be told.
 */
import type { Finding, SoundEvent } from '../../runtime/stages/finding.js';
import type { PresenceEvent } from './presence.js';

/** What is heard, by its label. */
export type HearingState = ReadonlyMap<string, SoundEvent>;

export const emptyHearing: HearingState = new Map();

const ended = (sound: SoundEvent): PresenceEvent => ({ action: 'left', identity: undefined, finding: sound, visibleMs: sound.durationMs });

export function stepHearing(state: HearingState, findings: readonly Finding[]): { state: HearingState; events: PresenceEvent[] } {
  const next = new Map(findings.flatMap((finding) => (finding.type === 'sound' ? [[finding.label, finding] as const] : [])));
  const events: PresenceEvent[] = [];
  // The same label with another onset is another sound.
  for (const [label, sound] of state) if (next.get(label)?.onsetMs !== sound.onsetMs) events.push(ended(sound));
  for (const [label, sound] of next) if (state.get(label)?.onsetMs !== sound.onsetMs) events.push({ action: 'appeared', identity: undefined, finding: sound });
  return { state: next, events };
}

/** The microphone is gone: whatever was heard has ended. */
export function endAll(state: HearingState): PresenceEvent[] {
  return [...state.values()].map(ended);
}
