import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { parseConfig } from '../../../agent/config/load.js';
import type { Config } from '../../../agent/config/schema.js';
import type { Check } from '../../../agent/doctor/check.js';
import { checkKeys as checkAllKeys } from '../../../agent/doctor/keys.js';
import { Authority } from '../../../deploy/repository/certificates.js';
import { certificates, opensslMissing } from '../support/certificates.js';
import { temporaryFolder } from '../support/tools.js';
import { SignedFleet } from '../trust/fleet.js';

const only = (checks: readonly Check[]): Check => { expect(checks).toHaveLength(1); return checks[0] as Check; };
const config = (tree: Record<string, unknown>): Config => parseConfig({ device_id: 'door', fleet: 'demo', state_dir: temporaryFolder(), api: { enabled: false }, ...tree });
/** Without what is said of reports, which has tests of its own. */
const checkKeys = (settings: Config): Check[] => checkAllKeys(settings, {}).filter(({ area }) => area !== 'reports');
const checkReports = (settings: Config): Check => only(checkAllKeys(settings, {}).filter(({ area }) => area === 'reports'));

describe('keys and roots', () => {
  it('misses roots of trust, and warns of the unsigned mode and of secrets that others can read', () => {
    const broker = { url: 'mqtt://127.0.0.1:1' };
    expect(checkKeys(config({ broker }))).toMatchObject([{ area: 'trust', status: 'failed' }, { area: 'trust', status: 'failed' }]);
    expect(only(checkKeys(config({ broker, trust: { unsigned: true } })))).toMatchObject({ status: 'warning' });
    const settings = config({});
    writeFileSync(join(settings.state_dir, 'gallery.key'), 'x', { mode: 0o644 });
    expect(only(checkKeys(settings))).toMatchObject({ status: 'warning', remedy: `chmod 600 ${join(settings.state_dir, 'gallery.key')}` });
  });

  it('reads the pinned roots, and says when they expire or are not whole', () => {
    const fleet = new SignedFleet({ nowMs: Date.now() });
    const settings = config({ broker: { url: 'mqtt://127.0.0.1:1' } });
    const folder = join(settings.state_dir, 'trust');
    mkdirSync(folder);
    for (const name of ['image', 'director'] as const) writeFileSync(join(folder, `${name}-root.json`), fleet.root(name));
    expect(checkKeys(settings)).toMatchObject([
      { area: 'trust', status: 'ok', text: expect.stringMatching(/^image root, version 1, until \d{4}-/) as string }, { area: 'trust', status: 'ok', text: expect.stringMatching(/^director root/) as string },
    ]);
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 100 * 365 * 86_400_000 });
    onTestFinished(() => void vi.useRealTimers());
    expect(checkKeys(settings)).toMatchObject([
      { status: 'warning', text: expect.stringMatching(/^the pinned image root expired on /) as string, remedy: expect.stringContaining('sterna repository rotate') as string }, { status: 'warning' },
    ]);
    vi.useRealTimers();
    const [path, cut] = [join(folder, 'image-root.json'), fleet.root('image').slice(0, -20)];
    writeFileSync(path, cut);
    expect(checkKeys(settings)).toMatchObject([{ status: 'failed', text: expect.stringMatching(/^no usable image root: /) as string, remedy: expect.stringContaining(path) as string }, { status: 'ok' }]);
    writeFileSync(path, fleet.root('director').replace(/"sig": ?"[0-9a-f]{4}/, '"sig":"0000'));
    expect(checkKeys(settings)).toMatchObject([{ status: 'failed' }, { status: 'ok' }]);
    const elsewhere = config({ broker: { url: 'mqtt://127.0.0.1:1' }, trust: { image_root: join(folder, 'moved.json'), director_root: '/nowhere/root.json' } });
    writeFileSync(join(folder, 'moved.json'), fleet.root('image'));
    expect(checkKeys(elsewhere)).toMatchObject([{ status: 'ok', details: { path: join(folder, 'moved.json') } }, { status: 'failed', text: expect.stringContaining('ENOENT') as string, details: { path: '/nowhere/root.json' } }]);
  });

  it.skipIf(opensslMissing)(`checks certificate and key for the web server of packages${opensslMissing ? ' (skipped: openssl is not installed)' : ''}`, () => {
    const { of, ca } = certificates({ door: 'DNS:door', packages: 'DNS:packages' });
    const [door, own] = [of('door'), of('packages')];
    const trust = { unsigned: true };
    const broker = { url: 'mqtts://127.0.0.1:1', tls: { ca, ...door } };
    const checksOfKeys = (web: Record<string, string>): Check[] => checkKeys(config({ broker, trust, ota: { web: { url: 'https://packages', ...web } } })).filter(({ area }) => area !== 'trust');
    const subjects = (web: Record<string, string>): unknown[] => checksOfKeys(web).filter(({ area }) => area === 'certificate').map(({ details }) => (details as { subject?: string }).subject);
    expect(subjects(own)).toEqual(['CN=door', 'CN=packages']);
    expect(subjects(door)).toEqual(['CN=door']); // of broker and web server: said once
    chmodSync(own.key, 0o640);
    expect(checksOfKeys(own)).toContainEqual(expect.objectContaining({ area: 'secrets', status: 'warning', remedy: `chmod 600 ${own.key}` }));
    writeFileSync(own.cert, 'no certificate');
    expect(checksOfKeys(own)).toContainEqual(expect.objectContaining({ area: 'certificate', status: 'failed', text: expect.stringContaining(own.cert) as string, remedy: 'expected the certificate of this device as PEM' }));
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 10 * 86_400_000 });
    onTestFinished(() => void vi.useRealTimers());
    expect(checksOfKeys({})).toContainEqual(expect.objectContaining({ area: 'certificate', status: 'failed', text: expect.stringMatching(/^CN=door expired \d+ days ago$/) as string, remedy: expect.stringContaining('sterna provision') as string }));
  });

  it.skipIf(opensslMissing)(`tells how long the certificate is valid${opensslMissing ? ' (skipped: openssl is not installed)' : ''}`, () => {
    const { of, ca } = certificates({ door: 'DNS:door' });
    const checks = checkKeys(config({ broker: { url: 'mqtts://127.0.0.1:1', tls: { ca, ...of('door') } }, trust: { unsigned: true } }));
    expect(checks.find(({ area }) => area === 'certificate')).toMatchObject({ status: 'warning', text: 'CN=door expires in 1 days' });
  });

  it('tells the director root from the image root, wherever they were put', () => {
    const fleet = new SignedFleet({ nowMs: Date.now() });
    const settings = config({ broker: { url: 'mqtt://127.0.0.1:1' } });
    const folder = join(settings.state_dir, 'trust');
    mkdirSync(folder);
    const pin = (image: 'image' | 'director', director: 'image' | 'director'): Check[] => {
      writeFileSync(join(folder, 'image-root.json'), fleet.root(image));
      writeFileSync(join(folder, 'director-root.json'), fleet.root(director));
      return checkKeys(settings);
    };
    expect(pin('image', 'director').map(({ status }) => status)).toEqual(['ok', 'ok']);
    const isDirectors = { status: 'failed', text: expect.stringContaining('it is the root of the director') as string };
    const mayBeImages = { status: 'warning', text: expect.stringContaining('it may be the image root') as string };
    expect(pin('director', 'image')).toMatchObject([isDirectors, mayBeImages]);
    expect(pin('director', 'director')).toMatchObject([isDirectors, { status: 'ok' }]);
    expect(pin('image', 'image')).toMatchObject([{ status: 'ok' }, mayBeImages, { status: 'warning', text: expect.stringContaining('the same key') as string }]);
  });
});

describe('the key of reports', () => {
  const broker = { url: 'mqtt://127.0.0.1:1' };
  const trust = { unsigned: true };

  it('is named when there is none, and not missed without a broker', () => {
    expect(checkReports(config({ broker, trust }))).toMatchObject({ status: 'none', text: expect.stringContaining('not signed') as string });
    expect(checkAllKeys(config({}), {})).toEqual([]);
  });

  it('has to be a private key that can sign reports, and its owner\'s alone', () => {
    const path = join(temporaryFolder(), 'report.key');
    const settings = config({ broker, trust: { ...trust, report_key: path } });
    expect(checkReports(settings)).toMatchObject({ status: 'failed', text: expect.stringContaining('ENOENT') as string });
    writeFileSync(path, 'no key', { mode: 0o600 });
    expect(checkReports(settings)).toMatchObject({ status: 'failed', text: expect.stringContaining('cannot be read as a private key') as string });
    writeFileSync(path, generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey.export({ type: 'pkcs8', format: 'pem' }));
    expect(checkReports(settings)).toMatchObject({ status: 'failed', text: expect.stringContaining('cannot be signed with a key of type ec') as string });
    writeFileSync(path, generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }));
    expect(checkReports(settings)).toMatchObject({ status: 'warning', remedy: expect.stringContaining(`devices/demo/door/device.pem`) as string });
    expect(checkKeys(settings)).toContainEqual(expect.objectContaining({ area: 'secrets', status: 'ok', text: `${path} is its owner's alone` }));
    chmodSync(path, 0o644);
    expect(checkKeys(settings)).toContainEqual(expect.objectContaining({ area: 'secrets', status: 'warning', remedy: `chmod 600 ${path}` }));
  });

  it.skipIf(opensslMissing)(`has to be that of the certificate, in the name of the device${opensslMissing ? ' (skipped: openssl is not installed)' : ''}`, () => {
    const authority = new Authority(join(temporaryFolder(), 'authority'));
    const at = (cert: string, key: string): Check => checkReports(config({ broker: { url: 'mqtts://127.0.0.1:1', tls: { ca: authority.ca, cert, key } }, trust }));
    const [own, other] = [authority.issue('demo/door', 'demo.door', 30), authority.issue('door', 'door', 30)];
    expect(at(own.cert, own.key)).toMatchObject({ status: 'ok', text: `reports are signed with ${own.key}, the key of CN=demo/door` });
    expect(at(own.cert, other.key)).toMatchObject({ status: 'failed', text: expect.stringContaining(`${other.key} is not the key of ${own.cert}`) as string });
    expect(at(other.cert, other.key)).toMatchObject({ status: 'warning', text: expect.stringMatching(/^the certificate says CN=door/) as string });
  });
});
