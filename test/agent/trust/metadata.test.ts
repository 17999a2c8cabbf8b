/** What is refused of a metadata file before any signature counts. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { decodeMetadata } from '../../../agent/trust/metadata.js';
import { decodeRoot } from '../../../agent/trust/repository.js';
import { readKey } from '../../../deploy/repository/keys.js';
import { forge, SignedFleet } from './fleet.js';

interface RootPart { keys: Record<string, object>; roles: Record<string, { keyids: string[]; threshold: number }> }

describe('metadata', () => {
  it.each(['never', '2030-02-31', '', '2031-01-01', '2031-01-01T00:00:00', '2031-01-01T00:00:00+01:00', '2031-13-01T00:00:00Z', '+275761-01-01T00:00:00Z'])('that expires at %j is refused: only a whole time in UTC is one that surely passes', (expires) => {
    const text = JSON.stringify({ signatures: [], signed: { _type: 'targets', spec_version: '1.0.31', version: 1, expires, targets: {} } });
    expect(() => decodeMetadata('targets', 'image targets', text)).toThrow(expect.objectContaining({ code: 'E_TRUST_FORMAT', message: expect.stringContaining('malformed') as string }) as Error);
  });

  it('with an expiry that is no date is refused although its keys have signed it', () => {
    const fleet = new SignedFleet();
    const root = forge(fleet, fleet.root('image'), (signed) => { signed['expires'] = '2031-13-01T00:00:00Z'; }, ['root-1']);
    expect(() => decodeRoot('image', root)).toThrow(expect.objectContaining({ code: 'E_TRUST_FORMAT', message: expect.stringContaining('expected expires to be a time') as string }) as Error);
  });

  it('that lists one key under two ids is refused: it would count twice towards a threshold', () => {
    const fleet = new SignedFleet();
    const { id } = readKey(join(fleet.folder, 'keys', 'root-1.json'));
    const other = 'ab'.repeat(32);
    const once = forge(fleet, fleet.root('image'), () => undefined, ['root-1']);
    expect(decodeRoot('image', once).signed.version).toBe(1);
    const signed = forge(fleet, fleet.root('image'), (part) => {
      const { keys, roles } = part as unknown as RootPart;
      keys[other] = keys[id] ?? {};
      roles['root'] = { keyids: [id, other], threshold: 2 };
    }, ['root-1']);
    const document = JSON.parse(signed) as { signatures: { keyid: string; sig: string }[] };
    const twice = JSON.stringify({ ...document, signatures: [...document.signatures, ...document.signatures.map(({ sig }) => ({ keyid: other, sig }))] });
    expect(() => decodeRoot('image', twice)).toThrow(expect.objectContaining({ code: 'E_TRUST_FORMAT', message: expect.stringContaining('listed twice under different ids') as string }) as Error);
  });
});
