import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  deviceSubscriptions, deviceTopic, digest8, MAX_TOPIC_SLASHES, MAX_TOPICS_PER_SUBSCRIBE, parseTopic, upstreamSubscriptions, type DeviceTopic,
} from '../../../agent/contracts/index.js';

const idArbitrary = fc.stringMatching(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/);
const topicArbitrary: fc.Arbitrary<DeviceTopic> = fc.oneof(
  fc.constantFrom('status', 'caps', 'reported', 'telemetry', 'ota_get').map((kind) => ({ kind } as DeviceTopic)),
  idArbitrary.map((pipeline) => ({ kind: 'desired' as const, pipeline })),
  idArbitrary.map((type) => ({ kind: 'event' as const, type })),
  idArbitrary.map((name) => ({ kind: 'cmd' as const, name })),
  idArbitrary.map((id) => ({ kind: 'res' as const, id })),
  fc.record({ kind: fc.constant('ota_block' as const), digest8: fc.stringMatching(/^[0-9a-f]{8}$/), index: fc.integer({ min: 0, max: 999_999_999 }) }),
);

describe('topics', () => {
  it('parses what it builds, within the slash limit', () => {
    fc.assert(fc.property(idArbitrary, idArbitrary, topicArbitrary, (fleet, device, topic) => {
      const text = deviceTopic({ fleet, device }, topic);
      expect(parseTopic(text)).toEqual({ fleet, device, topic });
      expect(text.split('/').length - 1).toBeLessThanOrEqual(MAX_TOPIC_SLASHES);
    }));
  });

  it.each(['', 'a/b', 'a+', '#', '-x', 'x'.repeat(65), 'a b', 'a\u0000b', 'é'])('refuses the id %j', (device) => {
    expect(() => deviceTopic({ fleet: 'f', device }, { kind: 'status' })).toThrow(expect.objectContaining({ code: 'E_ID' }));
  });

  it('returns null, and does not throw, for any other text', () => {
    fc.assert(fc.property(fc.oneof(fc.string(), fc.array(fc.string(), { maxLength: 10 }).map((p) => `sterna/v2/${p.join('/')}`)), (text) => {
      const parsed = parseTopic(text);
      if (parsed !== null) expect(deviceTopic(parsed, parsed.topic)).toBe(text);
    }));
  });

  it('subscribes within one SUBSCRIBE at both ends', () => {
    expect(deviceSubscriptions({ fleet: 'f', device: 'd' })).toEqual(['sterna/v2/f/d/desired/+', 'sterna/v2/f/d/cmd/+', 'sterna/v2/f/d/ota/block/+/+']);
    expect(upstreamSubscriptions().length).toBeLessThanOrEqual(MAX_TOPICS_PER_SUBSCRIBE);
    expect(upstreamSubscriptions('f')[0]).toBe('sterna/v2/f/+/status');
    expect(() => upstreamSubscriptions('#')).toThrow(expect.objectContaining({ code: 'E_ID' }));
  });

  it('shortens digests and refuses what is none', () => {
    expect(digest8('0123456789abcdef'.repeat(4))).toBe('01234567');
    expect(() => digest8('0123')).toThrow(expect.objectContaining({ code: 'E_ID' }));
  });
});
