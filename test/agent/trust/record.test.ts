/** What a device remembers: written as a whole, and only when everything was verified. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { initialOtaState, type OtaState } from '../../../agent/ota/state.js';
import { openJournal } from '../../../agent/ota/open-journal.js';
import { Trust, type TrustParts } from '../../../agent/trust/trust.js';
import type { TrustJournal } from '../../../agent/ota/trust-journal.js';
import type { CodedError } from '../../../agent/errors.js';
import { temporaryFolder } from '../../support/folder.js';
import { ADDRESS, digestOf, HARDWARE, item, SignedFleet, START_MS, wanted } from './fleet.js';

const one = item('faces', '1.0.0', 1);
const two = item('faces', '2.0.0', 2);

interface Opened { trust: Trust; faults: CodedError[]; journal: TrustJournal; close: () => void }

function open(fleet: SignedFleet, folder: string, over: Partial<TrustParts> = {}): Opened {
  const faults: CodedError[] = [];
  const { journal, close } = openJournal(folder, null, (error) => faults.push(error));
  const clock = { nowMs: () => START_MS, monotonicMs: () => performance.now(), synchronized: () => true };
  const roots = { image: join(fleet.folder, 'image', '1.root.json'), director: join(fleet.folder, 'director', '1.root.json') };
  const trust = Trust.open({ identity: { ...ADDRESS, hardwareId: HARDWARE }, roots, unsigned: false, settingsRule: 'both' }, { journal: journal.trust, clock, onFault: (error) => faults.push(error), ...over });
  return { trust, faults, journal: journal.trust, close };
}

/** A package that runs, within its probation or after it. */
function runs(what: typeof one, generation: number, probation: boolean): OtaState {
  const { name, version, digest, size_bytes } = wanted(what);
  return { ...initialOtaState, phase: 'committed', generation_seen: generation, generation_applied: generation, active: { name, version, digest, size_bytes, since_ms: 0 }, probation: probation ? { digest, crashes: 0 } : null };
}

describe('the record of what was verified', () => {
  it('OTA-060: is complete after a power cut, or as it was before', () => {
    const fleet = new SignedFleet();
    fleet.add(one);
    const folder = temporaryFolder();
    const first = open(fleet, folder);
    expect(first.trust.accept('main', fleet.desired(1, one), initialOtaState)).toBe(true);
    const saved = first.journal.load();
    first.close();
    const full = open(fleet, folder);
    const failing = open(fleet, temporaryFolder(), { journal: { load: () => saved, save: () => { throw new Error('no space'); }, spend: () => 'new' } });
    fleet.add(two);
    const next = fleet.desired(2, two);
    expect(() => failing.trust.accept('main', next, initialOtaState)).toThrow('no space');
    // What could not be saved is not trusted in memory either: the older message is no rollback.
    expect(() => failing.trust.accept('main', fleet.desired(1, one), initialOtaState)).toThrow('no space');
    expect(full.journal.load()).toEqual(saved);
    for (const { close } of [full, failing]) close();
  });

  it('OTA-061: that cannot be read is replaced by the pinned roots, and the device says so', () => {
    const fleet = new SignedFleet();
    fleet.add(one);
    const saved = (name: 'image' | 'director', damaged: string): object => {
      const root = fleet.root(name);
      return { pinned_sha256: digestOf(Buffer.from(root)), root: name === damaged ? root.replace('ed25519', 'ed25518') : root };
    };
    const damaged = ['image', 'director'].map((name) => ({ version: 1, image: saved('image', name), director: saved('director', name), pipelines: {} }));
    for (const stored of [{ version: 99 }, undefined, { version: 1, image: 5 }, 'text', ...damaged]) {
      const { trust, faults, close } = open(fleet, temporaryFolder(), { journal: { load: () => stored, save: () => undefined, spend: () => 'new' } });
      expect(faults.map(({ code }) => code)).toEqual(['E_STATE_CORRUPT']);
      expect(trust.report().mode).toBe('signed');
      expect(trust.accept('main', fleet.desired(1, one), initialOtaState)).toBe(true);
      close();
    }
  });

  it('OTA-062: raises the smallest release counter only when a package has passed its probation', () => {
    const fleet = new SignedFleet();
    fleet.add(one);
    fleet.add(two);
    const { trust, close } = open(fleet, temporaryFolder());
    trust.accept('main', fleet.desired(1, one), initialOtaState);
    trust.settle('main', runs(one, 1, false));
    trust.accept('main', fleet.desired(2, two), runs(one, 1, false));
    trust.settle('main', runs(two, 2, true));
    // While it runs it is the smallest; rolled back, it is not.
    expect(() => trust.accept('main', fleet.desired(3, one), runs(two, 2, true))).toThrow('it does not go back');
    expect(trust.accept('main', fleet.desired(4, one), { ...runs(one, 1, false), generation_seen: 2 })).toBe(true);
    trust.accept('main', fleet.desired(5, two), runs(one, 4, false));
    trust.settle('main', runs(two, 5, false));
    expect(() => trust.accept('main', fleet.desired(6, one), { ...runs(one, 5, false), generation_seen: 5 })).toThrow('it does not go back');
    close();
  });

  it('OTA-063: another pinned root begins a new record; release counters stay', () => {
    const fleet = new SignedFleet();
    fleet.add(two);
    const folder = temporaryFolder();
    const before = open(fleet, folder);
    before.trust.accept('main', fleet.desired(5, two), initialOtaState);
    before.trust.settle('main', runs(two, 5, false));
    before.close();
    const other = new SignedFleet();
    other.add(one);
    const { trust, faults, close } = open(other, folder);
    expect(faults).toEqual([]);
    expect(() => trust.accept('main', other.desired(6, one), runs(two, 5, false))).toThrow('it does not go back');
    other.add(item('faces', '3.0.0', 3));
    expect(trust.accept('main', other.desired(6, item('faces', '3.0.0', 3)), runs(two, 5, false))).toBe(true);
    close();
  });

  it('is not made from a pinned root that nobody signed', () => {
    const fleet = new SignedFleet();
    const path = join(fleet.folder, 'image', '1.root.json');
    writeFileSync(path, fleet.root('image').replace('"threshold": 1', '"threshold": 2'));
    const { trust, faults, close } = open(fleet, temporaryFolder());
    expect(faults).toMatchObject([{ code: 'E_TRUST_ROOT', message: expect.stringContaining('sterna provision') as string }]);
    expect(trust.report().mode).toBe('unprovisioned');
    close();
  });
});
