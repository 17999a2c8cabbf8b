import type { Detection, Finding, SoundEvent, TrackFinding } from '../../runtime/stages/finding.js';
import type { CellMask } from '../../runtime/vision/pixels.js';
import type { WireFinding } from '../contracts/index.js';

/** Every attribute that some type of finding may have. */
type Attributes = Pick<Finding, 'type' | 'label' | 'score'> & Partial<Pick<Detection, 'box' | 'track' | 'zones' | 'identity' | 'liveness'> & Pick<TrackFinding, 'status' | 'ageMs' | 'velocity'> & Pick<SoundEvent, 'onsetMs' | 'durationMs'>>;

/**
 * Converts a finding to the form in which events and live frames carry it. Attributes that a new type of finding shares with the known ones need no
 * change here.
 * @param epoch converts a time of the samples to milliseconds since 1970; without it, a sound has no onset
 */
export function wireFinding(finding: Finding, epoch?: (ms: number) => number): WireFinding {
  const { type, label, score, box, track, status, ageMs, velocity, zones, identity, liveness, onsetMs, durationMs }: Attributes = finding;
  return {
    type, label: label.slice(0, 256), score: Math.min(1, Math.max(0, score)),
    ...(box === undefined ? {} : { box: [...box] as [number, number, number, number] }),
    ...(track === undefined ? {} : { track }),
    ...(status === undefined ? {} : { status }),
    ...(ageMs === undefined ? {} : { age_ms: Math.max(0, ageMs) }),
    ...(velocity === undefined ? {} : { velocity: [...velocity] as [number, number] }),
    ...(zones === undefined ? {} : { zones: [...zones] }),
    ...(onsetMs === undefined || epoch === undefined ? {} : { onset_ms: Math.max(0, epoch(onsetMs)) }),
    ...(durationMs === undefined ? {} : { duration_ms: Math.max(0, durationMs) }),
    ...(identity === undefined ? {} : {
      identity: identity === null ? null : { person_id: identity.personId, name: identity.name.slice(0, 256), similarity: Math.min(1, Math.max(-1, identity.similarity)) },
    }),
    ...(liveness === undefined ? {} : { liveness: { score: Math.min(1, Math.max(0, liveness.score)), live: liveness.live } }),
  };
}

/** Converts a gate's cells to the form in which live frames carry them. */
export function wireCells({ width, height, bits }: CellMask): { width: number; height: number; bits: string } {
  return { width, height, bits: Buffer.from(bits.buffer, bits.byteOffset, bits.byteLength).toString('base64') };
}
