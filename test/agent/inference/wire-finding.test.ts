import { describe, expect, it } from 'vitest';
import { findingSchema } from '../../../agent/contracts/index.js';
import { wireFinding } from '../../../agent/inference/wire-finding.js';
import type { Finding } from '../../../runtime/stages/finding.js';

describe('a finding on the wire', () => {
  it.each<[string, Finding, object]>([
    ['a face of the gallery', { type: 'detection', label: 'face', score: 0.9, box: [1, 2, 3, 4], landmarks: [[1, 1]], identity: { personId: 7, name: 'Ann', similarity: 0.8 } },
      { type: 'detection', label: 'face', score: 0.9, box: [1, 2, 3, 4], identity: { person_id: 7, name: 'Ann', similarity: 0.8 } }],
    ['a stranger', { type: 'detection', label: 'face', score: 0.9, box: [1, 2, 3, 4], identity: null }, { type: 'detection', label: 'face', score: 0.9, box: [1, 2, 3, 4], identity: null }],
    ['a picture of a face', { type: 'detection', label: 'face', score: 0.9, box: [1, 2, 3, 4], identity: null, liveness: { score: -0.0001, live: false } },
      { type: 'detection', label: 'face', score: 0.9, box: [1, 2, 3, 4], identity: null, liveness: { score: 0, live: false } }],
    ['a tracked object', { type: 'detection', label: 'car', score: 0.9, box: [1, 2, 3, 4], track: 5 }, { type: 'detection', label: 'car', score: 0.9, box: [1, 2, 3, 4], track: 5 }],
    ['a track', { type: 'track', label: 'car', score: 0.9, box: [1, 2, 3, 4], track: 5, status: 'held', ageMs: 1200, velocity: [3, -4] }, { type: 'track', label: 'car', score: 0.9, box: [1, 2, 3, 4], track: 5, status: 'held', age_ms: 1200, velocity: [3, -4] }],
    ['a class', { type: 'class', label: 'rain', score: 0.5 }, { type: 'class', label: 'rain', score: 0.5 }],
    ['scores that rounding pushed over their bounds', { type: 'detection', label: 'face', score: 1.0000001, box: [0, 0, 1, 1], identity: { personId: 1, name: 'x', similarity: 1.0000001 } },
      { type: 'detection', label: 'face', score: 1, box: [0, 0, 1, 1], identity: { person_id: 1, name: 'x', similarity: 1 } }],
  ])('%s', (_, finding, expected) => {
    expect(wireFinding(finding)).toEqual(expected);
    expect(findingSchema.parse(wireFinding(finding))).toEqual(expected);
  });
});
