import { createPrivateKey, generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { privateClientId, randomClientId } from '../../../agent/contracts/index.js';

const url = 'mqtts://broker.example.org';
const keyOf = (): Buffer => Buffer.from(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }));

describe('a client id that nobody else can tell', () => {
  it('follows from the key, however that is written, and from what the client is', () => {
    const key = keyOf();
    const id = privateClientId('sterna-test-door', { url, key });
    expect(id).toMatch(/^sterna-test-door-[0-9a-f]{16}$/);
    const rewritten = Buffer.from(createPrivateKey(key).export({ type: 'sec1', format: 'pem' }));
    expect(privateClientId('sterna-test-door', { url, key: rewritten, password: 'other' })).toBe(id);
    expect(privateClientId('sterna-test-door', { url, key: keyOf() })).not.toBe(id);
    expect(privateClientId('sterna-test-gate', { url, key }).slice(-16)).not.toBe(id.slice(-16));
  });

  it('follows from the password of a login without a key, also from that in the address', () => {
    const id = privateClientId('sterna-collect-ours-a', { url, password: 'secret' });
    expect(id).toMatch(/^sterna-collect-ours-a-[0-9a-f]{16}$/);
    expect(privateClientId('sterna-collect-ours-a', { url: 'mqtts://user:secret@broker.example.org' })).toBe(id);
    expect(privateClientId('sterna-collect-ours-a', { url, password: 'other' })).not.toBe(id);
  });

  it('is the plain name where nobody logs in', () => {
    expect(privateClientId('sterna-test-door', { url })).toBe('sterna-test-door');
  });

  it('is left to TLS when the key is none', () => {
    expect(privateClientId('a', { url, key: Buffer.from('no key') })).toMatch(/^a-[0-9a-f]{16}$/);
  });

  it('is another one for each connection that needs no session', () => {
    const ids = Array.from({ length: 100 }, () => randomClientId('sterna-publisher'));
    expect(new Set(ids).size).toBe(100);
    for (const id of ids) expect(id).toMatch(/^sterna-publisher-[0-9a-f]{16}$/);
  });
});
