import type { Detection, Finding, SoundEvent, TrackFinding } from '../../runtime/stages/finding.js';
import type { CellMask } from '../../runtime/vision/pixels.js';
import type { WireFinding } from '../contracts/index.js';

/** Whatever any type of finding may say. */
type Attributes = Pick<Finding, 'type' | 'label' | 'score'> & Partial<Pick<Detection, 'box' | 'track' | 'zones' | 'identity'> & Pick<TrackFinding, 'status' | 'ageMs' | 'velocity'> & Pick<SoundEvent, 'onsetMs' | 'durationMs'>>;

/**
 * A finding as events and live frames carry it. What a new type of finding has in common with the known ones passes without a change here.
 * @param epoch milliseconds since 1970 of a time of the samples; without it, a sound has no onset
 */
export function wireFinding(finding: Finding, epoch?: (ms: number) => number): WireFinding {
  const { type, label, score, box, track, status, ageMs, velocity, zones, identity, onsetMs, durationMs }: Attributes = finding;
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
  };
}

/** A gate's cells as live frames carry them. */
export function wireCells({ width, height, bits }: CellMask): { width: number; height: number; bits: string } {
  return { width, height, bits: Buffer.from(bits.buffer, bits.byteOffset, bits.byteLength).toString('base64') };
}
