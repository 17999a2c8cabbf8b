import { describe, expect, it } from 'vitest';
import { canonicalJson, programKey, type ProgramIdentity } from '../../../runtime/cache/key.js';

const identity: ProgramIdentity = {
  model: 'ab'.repeat(32),
  runtime: { version: '1.2.3', build: ['100 5', 'installed'] },
  cpu: { isas: ['ref', 'avx2'], isa: 'avx2' },
  compile: { activation: 'uint8', pixels: { image: { mean: [1, 2], std: [3, 4] } }, symbols: { batch: 2 } },
  threads: 2,
};

describe('the key of a program', () => {
  it('is 64 hexadecimal digits, whatever the order of keys', () => {
    const turned = { ...identity, compile: { symbols: { batch: 2 }, pixels: { image: { std: [3, 4], mean: [1, 2] } }, activation: 'uint8' } };
    expect(programKey(identity)).toMatch(/^[0-9a-f]{64}$/);
    expect(programKey(turned)).toBe(programKey(identity));
  });

  it.each<[string, Partial<ProgramIdentity>]>([
    ['another model', { model: 'ac'.repeat(32) }],
    ['another version', { runtime: { ...identity.runtime, version: '1.2.4' } }],
    ['another build', { runtime: { ...identity.runtime, build: ['100 6', 'installed'] } }],
    ['another ISA', { cpu: { ...identity.cpu, isa: 'ref' } }],
    ['a masked ISA', { cpu: { ...identity.cpu, isas: ['avx2'] } }],
    ['another number of threads', { threads: 1 }],
    ['another activation type', { compile: { ...identity.compile, activation: 'int8' } }],
    ['other pixels', { compile: { ...identity.compile, pixels: { image: { mean: [2, 1], std: [3, 4] } } } }],
    ['pixels of another input', { compile: { ...identity.compile, pixels: { other: { mean: [1, 2], std: [3, 4] } } } }],
    ['another symbol', { compile: { ...identity.compile, symbols: { batch: 3 } } }],
    ['an option that is not known here', { compile: { ...identity.compile, strips: true } }],
  ])('differs for %s', (_, change) => {
    expect(programKey({ ...identity, ...change })).not.toBe(programKey(identity));
  });

  it('keeps the order of lists', () => {
    expect(canonicalJson({ b: [2, 1], a: { d: null, c: 'x' } })).toBe('{"a":{"c":"x","d":null},"b":[2,1]}');
  });
});
