/** A repository with keys at hand, and messages that it signs, for tests. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { Desired, DesiredPackage, Signed } from '../../../agent/contracts/index.js';
import { Director } from '../../../deploy/repository/director.js';
import { compactText, listing, signDocument, type Document } from '../../../deploy/repository/document.js';
import { createKey, openSigner, type PublicKey } from '../../../deploy/repository/keys.js';
import { Repository } from '../../../deploy/repository/repository.js';
import type { RoleKeysInput } from '../../../deploy/repository/roles.js';
import { temporaryFolder } from '../../support/folder.js';
import { chunksOf } from '../support/publisher.js';

export const ADDRESS = { fleet: 'test', device: 'door' } as const;
export const HARDWARE = 'x64';
export const DAY_MS = 86_400_000;
/** A day in 2030: not the present one, so that nothing here depends on it. */
export const START_MS = Date.UTC(2030, 0, 15);

export interface Item {
  name: string;
  version: string;
  counter: number;
  bytes: Buffer;
}

export function item(name: string, version: string, counter: number, contents = `${name} ${version}`): Item {
  return { name, version, counter, bytes: Buffer.from(contents) };
}

export const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

export function wanted({ name, version, bytes }: Item, blockBytes = 256): DesiredPackage {
  return { name, version, digest: digestOf(bytes), size_bytes: bytes.length, block_bytes: blockBytes, ...chunksOf(bytes) };
}

/** The whole of a fleet's trust, with a clock of its own. */
export class SignedFleet {
  readonly folder: string;
  readonly repository: Repository;
  readonly director: Director;
  nowMs = START_MS;

  constructor({ rootKeys = 1, rootThreshold = 1, folder = temporaryFolder(), nowMs = START_MS }: { rootKeys?: number; rootThreshold?: number; folder?: string; nowMs?: number } = {}) {
    this.folder = folder;
    this.nowMs = nowMs;
    const keys = (role: string, count = 1, threshold = 1): RoleKeysInput => ({ keys: Array.from({ length: count }, (_, i) => this.key(`${role}-${i + 1}`)), threshold });
    const options = { now: () => this.nowMs };
    this.repository = Repository.init(this.folder, {
      root: keys('root', rootKeys, rootThreshold), targets: keys('targets'), snapshot: keys('snapshot'), timestamp: keys('timestamp'), director: keys('director'), operator: keys('operator'),
    }, options).repository;
    this.director = new Director(this.repository, () => this.nowMs);
  }

  /** A new key in the repository's folder. */
  key(name: string): PublicKey {
    return createKey(join(this.folder, 'keys', `${name}.json`));
  }

  root(name: 'image' | 'director'): string {
    return this.repository.folder.rootText(name) ?? '';
  }

  get rootFiles(): { image: string; director: string } {
    return { image: join(this.folder, 'image', 'root.json'), director: join(this.folder, 'director', 'root.json') };
  }

  add(added: Item, options: { fleet?: string; hardwareIds?: string[] } = {}): string {
    return this.repository.add({ ...added, digest: digestOf(added.bytes) }, { hardwareIds: options.hardwareIds ?? [HARDWARE], releaseCounter: added.counter, ...(options.fleet === undefined ? {} : { fleet: options.fleet }) }).path;
  }

  desired(generation: number, what: Item | null, over: Partial<Pick<Desired, 'settings'>> & { device?: string; pipeline?: string; fleet?: string; blockBytes?: number } = {}): Desired & { signed: Signed } {
    const { settings = {}, device = ADDRESS.device, fleet = ADDRESS.fleet, pipeline = 'main', blockBytes } = over;
    const desired: Desired = { schema_version: 2, generation, package: what === null ? null : wanted(what, blockBytes), settings };
    return { ...desired, signed: this.director.sign({ fleet, device, pipeline }, desired, { image: 0, director: 0 }) };
  }
}

/** Signs metadata again after a change, with the keys that an attacker has: by default those that signed it, or (none) as it is with its old signatures. */
export function forge(fleet: SignedFleet, text: string, change: (signed: Record<string, unknown>) => void, keys: readonly string[]): string {
  const document = JSON.parse(text) as Document;
  change(document.signed);
  const signers = keys.map((name) => openSigner(join(fleet.folder, 'keys', `${name}.json`), () => undefined));
  return compactText(signDocument({ ...document, signatures: [] }, signers));
}

/** A timestamp over this snapshot, or a snapshot over this targets metadata, as `forge` signs it. */
export function listed(text: string): ReturnType<typeof listing> {
  return listing(text, (JSON.parse(text) as Document).signed.version);
}

export type SignedDesired = Desired & { signed: Signed };
export const DIRECTOR = ['director-1'];

/** The same message with a director's chain in which one file was changed by somebody who has these keys; the files above it follow. */
export function directed(fleet: SignedFleet, desired: SignedDesired, change: (targets: Record<string, unknown>) => void, keys = DIRECTOR): SignedDesired {
  const targets = forge(fleet, desired.signed.director.targets, change, keys);
  const snapshot = forge(fleet, desired.signed.director.snapshot, (signed) => { signed['meta'] = { 'targets.json': listed(targets) }; }, keys);
  const timestamp = forge(fleet, desired.signed.director.timestamp, (signed) => { signed['meta'] = { 'snapshot.json': listed(snapshot) }; }, keys);
  return { ...desired, signed: { ...desired.signed, director: { ...desired.signed.director, targets, snapshot, timestamp } } };
}
