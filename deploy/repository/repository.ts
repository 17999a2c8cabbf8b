/**
 * A repository of packages as TUF metadata in a folder. Changes are staged, signed by whatever keys are at hand, and published when a role has its
 * threshold of signatures; a snapshot and a timestamp follow what was published. So the same commands serve one person with all keys and several
 * who carry the folder from one to the next.
 */
import { ALL_FLEETS, chunkListOf, MAX_METADATA_BYTES, requireId, SIGNED_FIELDS, type TargetCustom } from '../../agent/contracts/index.js';
import { DeployError } from '../errors.js';
import type { HeldPackage } from '../publish/packages.js';
import type { HeldSettings } from '../publish/settings.js';
import { documentText, fieldsOf, isSigned, listing, newDocument, parseDocument, roleKeys, signDocument, type Document, type RoleKeys } from './document.js';
import { defaultLifetimes, RepositoryFolder, type RepositoryName, type RepositorySettings } from './folder.js';
import { openSigner, readKey, type Passphrase, type PublicKey, type Signer } from './keys.js';
import { changed, commandPath, commandRolesOf, delegationsOf, firstRoles, fleetRole, requireThreshold, rootKeys, rootRoles, withRole, type Delegations, type InitKeys, type RoleChange, type RoleKeysInput } from './roles.js';

export interface TargetEntry {
  length: number;
  hashes: { sha256: string };
  custom: TargetCustom;
}

export interface FoundTarget {
  path: string;
  entry: TargetEntry;
  role: string;
}

/** A staged file that still needs signatures. */
export interface Pending {
  repository: RepositoryName;
  role: string;
  version: number;
  signatures: number;
  threshold: number;
  /** Ids of keys that may sign and have not. */
  missing: string[];
}

export interface Published {
  repository: RepositoryName;
  role: string;
  version: number;
}

export interface Progress {
  published: Published[];
  pending: Pending[];
}

export interface RepositoryOptions {
  /** Of encrypted key files. */
  passphrase?: Passphrase;
  /** Key files besides those in `keys/`. */
  keyFiles?: readonly string[];
  now?: () => number;
}

const DAY_MS = 86_400_000;
const IMAGE_ROLES = ['targets', 'snapshot', 'timestamp'] as const;

export class Repository {
  readonly folder: RepositoryFolder;
  readonly settings: RepositorySettings;
  readonly #options: RepositoryOptions;
  readonly #signers = new Map<string, Signer | null>();

  private constructor(folder: RepositoryFolder, options: RepositoryOptions) {
    this.folder = folder;
    this.settings = folder.settings();
    this.#options = options;
  }

  /** @throws DeployError E_REPOSITORY */
  static open(path: string, options: RepositoryOptions = {}): Repository {
    return new Repository(new RepositoryFolder(path), options);
  }

  /** Makes both roots and an empty image repository. @throws DeployError E_REPOSITORY when there is one */
  static init(path: string, keys: InitKeys, options: RepositoryOptions & { lifetimeDays?: Partial<RepositorySettings['lifetime_days']> } = {}): { repository: Repository; progress: Progress } {
    const folder = new RepositoryFolder(path);
    if (folder.exists()) throw new DeployError('E_REPOSITORY', `${path} is a repository already`);
    folder.writeSettings({ schema_version: 1, lifetime_days: { ...defaultLifetimes, ...options.lifetimeDays } });
    const repository = new Repository(folder, options);
    const { root, targets, snapshot, timestamp, director, operator } = keys;
    const commands = withRole({ keys: {}, roles: [] }, 'operator', { ...operator, terminating: false, paths: [commandPath('*')] });
    folder.stage('image', 'root', repository.#document('root', 1, firstRoles({ root, targets, snapshot, timestamp })));
    folder.stage('director', 'root', repository.#document('root', 1, { ...firstRoles({ root, targets: director, snapshot: director, timestamp: director }), [SIGNED_FIELDS.commandRoles]: commands }));
    folder.stage('image', 'targets', repository.#document('targets', 1, { targets: {} }));
    return { repository, progress: repository.sign() };
  }

  /** The newest published root. @throws DeployError E_REPOSITORY */
  root(repository: RepositoryName): Document {
    const text = this.folder.rootText(repository);
    if (text === null) throw new DeployError('E_REPOSITORY', `The ${repository} root of ${this.folder.path} is not signed yet: sterna repository sign`);
    return parseDocument(text, `${repository}/root.json`);
  }

  /** Texts of the published roots after `known`, oldest first. */
  rootsAfter(repository: RepositoryName, known: number): string[] {
    const newest = this.root(repository).signed.version;
    return Array.from({ length: Math.max(0, newest - known) }, (_, i) => this.folder.rootText(repository, known + 1 + i)).flatMap((text) => (text === null ? [] : [text]));
  }

  /** Image metadata as a client sees it now, with its text: what the timestamp leads to. Null before it is published. */
  published(role: string): { document: Document; text: string } | null {
    return this.#file(role, role === 'timestamp' ? undefined : this.#listed(role));
  }

  /** Names of the delegated roles, in their order. */
  delegatedRoles(): string[] {
    return delegationsOf(this.#latest('targets')).roles.map(({ name }) => name);
  }

  /**
   * Adds a package for one fleet, or for all. It is signed by the fleet's own role where there is one.
   * @throws DeployError E_REPOSITORY
   */
  add(held: Pick<HeldPackage, 'name' | 'version' | 'digest' | 'bytes'>, { fleet, hardwareIds, releaseCounter }: { fleet?: string; hardwareIds: readonly string[]; releaseCounter: number }): { path: string; progress: Progress } {
    const { owner, role, document } = this.#ownerOf(fleet);
    const path = `${owner}/${held.name}-${held.version}.sterna`;
    const list = chunkListOf(held.bytes);
    const custom: TargetCustom = { name: held.name, version: held.version, release_counter: releaseCounter, hardware_ids: hardwareIds.map((name) => requireId('hardware id', name)), ...(list === null ? {} : { chunks: { digest: list.digest, size_bytes: list.size_bytes } }) };
    const entry: TargetEntry = { length: held.bytes.byteLength, hashes: { sha256: held.digest }, custom };
    const known = targetsOf(document);
    const newest = Math.max(-1, ...Object.entries(known).filter(([other, target]) => other !== path && target.custom.kind === undefined && target.custom.name === held.name).map(([, target]) => target.custom.release_counter));
    if (releaseCounter < newest) throw new DeployError('E_REPOSITORY', `${held.name} ${held.version} has the release counter ${releaseCounter}, and ${newest} is in the repository already: devices would refuse to go back. Package it again with --release-counter ${newest + 1}`);
    if (JSON.stringify(known[path]) === JSON.stringify(entry)) return { path, progress: this.sign() };
    this.folder.writeTarget(path, held.digest, held.bytes);
    if (list !== null) this.folder.writeChunks(list.digest, list.bytes);
    this.#stageTargets(role, { ...document.signed, targets: { ...known, [path]: entry } });
    return { path, progress: this.sign() };
  }

  /**
   * Adds a release of settings for one fleet, or for all. Its counter is one more than that of the newest release of this name; what is the newest one already stays.
   * @throws DeployError E_REPOSITORY
   */
  addSettings({ name, text, digest }: Pick<HeldSettings, 'name' | 'text' | 'digest'>, fleet?: string): { path: string; progress: Progress } {
    const { owner, role, document } = this.#ownerOf(fleet);
    const known = targetsOf(document);
    const pathOf = (counter: number): string => `${owner}/${name}-${counter}.settings.json`;
    // Of all owners together: a device refuses a smaller counter of the name, whoever signed it.
    const newest = Math.max(0, ...this.targets().flatMap(({ entry: { custom } }) => (custom.kind === 'settings' && custom.name === name ? [custom.release_counter] : [])));
    if (known[pathOf(newest)]?.hashes.sha256 === digest) return { path: pathOf(newest), progress: this.sign() };
    const [counter, path] = [newest + 1, pathOf(newest + 1)];
    const bytes = Buffer.from(text);
    const custom: TargetCustom = { kind: 'settings', name, version: String(counter), release_counter: counter, hardware_ids: [ALL_FLEETS] };
    this.folder.writeTarget(path, digest, bytes);
    this.#stageTargets(role, { ...document.signed, targets: { ...known, [path]: { length: bytes.byteLength, hashes: { sha256: digest }, custom } } });
    return { path, progress: this.sign() };
  }

  /** Who signs for a fleet, and how the paths of its targets begin. */
  #ownerOf(fleet: string | undefined): { owner: string; role: string; document: Document } {
    const owner = fleet === undefined ? ALL_FLEETS : requireId('fleet', fleet);
    const role = fleet !== undefined && this.delegatedRoles().includes(fleetRole(fleet)) ? fleetRole(fleet) : 'targets';
    return { owner, role, document: this.#latest(role) };
  }

  /** Takes a package or settings out. Devices that have it keep it. @throws DeployError E_REPOSITORY */
  remove(path: string): Progress {
    for (const role of ['targets', ...this.delegatedRoles()]) {
      const document = this.#latest(role);
      const { [path]: found, ...others } = targetsOf(document);
      if (found === undefined) continue;
      this.#stageTargets(role, { ...document.signed, targets: others });
      return this.sign();
    }
    throw new DeployError('E_REPOSITORY', `No role lists ${path}: sterna repository status shows what there is`);
  }

  /** Keys of its own for the packages of one fleet. @throws DeployError E_REPOSITORY */
  delegate(fleet: string, { keys, threshold }: RoleKeysInput): Progress {
    const name = fleetRole(requireId('fleet', fleet));
    requireThreshold(name, keys.length, threshold);
    const document = this.#latest('targets');
    const delegations = withRole(delegationsOf(document), name, { keys, threshold, terminating: true, paths: [`${fleet}/*`] });
    this.#stageTargets('targets', { ...document.signed, delegations });
    if (this.#newest(name) === null && this.#staged('image', name) === undefined) this.folder.stage('image', name, this.#document('targets', 1, { targets: {} }));
    return this.sign();
  }

  /**
   * A new root in which a role has other keys or another threshold. The new root needs the signatures of the old root keys and of the new ones.
   * @param role root, targets, snapshot, timestamp of the image repository; root or director of the director
   * @throws DeployError E_REPOSITORY
   */
  rotate(repository: RepositoryName, role: string, change: RoleChange): Progress {
    const root = this.#latestRoot(repository);
    const roles = rootRoles(root);
    const names = role === 'director' ? ['targets', 'snapshot', 'timestamp'] : [role];
    const next = { ...roles };
    for (const name of names) {
      const old = Object.hasOwn(roles, name) ? roles[name] : undefined;
      if (old === undefined || (repository === 'director' && role !== 'director' && role !== 'root')) throw new DeployError('E_REPOSITORY', `The ${repository} repository has no role ${role}: expected ${repository === 'image' ? 'root, targets, snapshot or timestamp' : 'root or director'}`);
      next[name] = changed(role, old, change);
    }
    this.#stageNextRoot(repository, root, next, change.add);
    return this.sign();
  }

  /** A role that may give commands to devices. No keys: the role is removed. @throws DeployError E_REPOSITORY */
  commandRole(name: string, { keys, threshold, commands }: RoleKeysInput & { commands: readonly string[] }): Progress {
    requireId('role', name);
    if (keys.length > 0) requireThreshold(name, keys.length, threshold);
    const root = this.#latestRoot('director');
    const role = keys.length === 0 ? null : { keys, threshold, terminating: false, paths: commands.map((command) => commandPath(command === '*' ? command : requireId('command', command))) };
    this.#stageNextRoot('director', root, rootRoles(root), [], withRole(commandRolesOf(root), name, role));
    return this.sign();
  }

  /** Signs again what expires within half of its lifetime, with the keys at hand; the timestamp always. @throws DeployError E_KEY */
  refresh(): Progress {
    const now = this.#now();
    for (const role of ['targets', ...this.delegatedRoles(), 'snapshot', 'timestamp']) {
      const current = this.#newest(role)?.document;
      if (current === undefined) continue;
      const lifetime = this.#lifetimeMs(lifetimeOf(role));
      if (role === 'timestamp' || Date.parse(current.signed.expires) - now < lifetime / 2) this.#restage(role, current);
    }
    return this.sign();
  }

  /** Signs everything that is staged, with the keys at hand, and publishes what has enough signatures. @throws DeployError E_KEY */
  sign(): Progress {
    const published: Published[] = [];
    for (let moved = true; moved;) {
      moved = false;
      for (const { repository, role, document } of this.#ordered()) {
        const signed = this.#signed(repository, role, document);
        if (!this.#complete(repository, role, signed)) {
          if (signed.signatures.length > document.signatures.length) this.folder.stage(repository, role, signed);
          continue;
        }
        this.folder.publish(repository, role, signed);
        published.push({ repository, role, version: signed.signed.version });
        this.#follow(repository, role);
        moved = true;
        break; // what follows may have changed
      }
    }
    return { published, pending: this.pending() };
  }

  pending(): Pending[] {
    return this.folder.staged().map(({ repository, role, document }) => {
      const sets = this.#delegators(repository, role, document).map((delegator) => roleKeys(delegator, role));
      const keyids = [...new Set(sets.flatMap((set) => set?.keyids ?? []))];
      const have = document.signatures.map(({ keyid }) => keyid);
      return { repository, role, version: document.signed.version, signatures: have.length, threshold: Math.max(0, ...sets.map((set) => set?.threshold ?? 0)), missing: keyids.filter((id) => !have.includes(id)) };
    });
  }

  /** The newest release of a package, or of settings, that a device of this fleet may have. Null: it is in no published role. */
  find(digest: string, fleet: string): FoundTarget | null {
    let found: FoundTarget | null = null;
    for (const role of ['targets', ...this.delegatedRoles()]) {
      const published = this.published(role);
      for (const [path, entry] of published === null ? [] : Object.entries(targetsOf(published.document))) {
        const fits = entry.hashes.sha256 === digest && (path.startsWith(`${fleet}/`) || path.startsWith(`${ALL_FLEETS}/`));
        // The same settings may have been released several times.
        if (fits && (found === null || entry.custom.release_counter > found.entry.custom.release_counter)) found = { path, entry, role };
      }
    }
    return found;
  }

  /** Packages by path, published or staged. */
  targets(): FoundTarget[] {
    return ['targets', ...this.delegatedRoles()].flatMap((role) => Object.entries(targetsOf(this.#latest(role))).map(([path, entry]) => ({ path, entry, role })));
  }

  /** Signers at hand for these keys. @throws DeployError E_KEY */
  signers(ids: readonly string[]): Signer[] {
    return ids.flatMap((id) => this.#signer(id) ?? []);
  }

  #now(): number {
    return (this.#options.now ?? Date.now)();
  }

  #lifetimeMs(role: keyof RepositorySettings['lifetime_days']): number {
    return this.settings.lifetime_days[role] * DAY_MS;
  }

  #document(role: string, version: number, fields: Record<string, unknown>): Document {
    const kind = role === 'root' || role === 'snapshot' || role === 'timestamp' ? role : 'targets';
    const now = this.#now();
    return newDocument(kind, { version, nowMs: now, expiresMs: now + this.#lifetimeMs(lifetimeOf(role)) }, fields);
  }

  #stageNextRoot(repository: RepositoryName, root: Document, roles: Record<string, RoleKeys>, added: readonly PublicKey[], commands?: Delegations): void {
    const version = this.root(repository).signed.version + 1;
    this.folder.stage(repository, 'root', this.#document('root', version, { ...fieldsOf(root), keys: rootKeys(root, roles, added), roles, ...(commands === undefined ? {} : { [SIGNED_FIELDS.commandRoles]: commands }) }));
  }

  #stageTargets(role: string, signed: Document['signed']): void {
    const document = this.#document(role, (this.#newest(role)?.document.signed.version ?? 0) + 1, fieldsOf({ signed }));
    const size = Buffer.byteLength(documentText(document));
    if (size > MAX_METADATA_BYTES / 2) throw new DeployError('E_REPOSITORY', `The metadata of ${role} would have ${size} bytes, more than fits into a message to a device. Remove old packages (sterna repository remove), or give each fleet a role of its own (sterna repository delegate)`);
    this.folder.stage('image', role, document);
  }

  /** The same contents with the next version and a new expiry. */
  #restage(role: string, document: Document): void {
    if (this.#staged('image', role) !== undefined) return;
    this.folder.stage('image', role, this.#document(role, document.signed.version + 1, fieldsOf(document)));
  }

  /** After a publication: snapshot and timestamp, and roles whose keys the new root no longer trusts. */
  #follow(repository: RepositoryName, role: string): void {
    if (repository === 'director') return;
    if (role === 'root') {
      const root = this.root('image');
      for (const name of IMAGE_ROLES) {
        const current = this.#newest(name);
        if (current !== null && !isSigned(root, name, current.document)) this.#restage(name, current.document);
      }
    } else if (role === 'snapshot') {
      const snapshot = this.#newest('snapshot');
      if (snapshot === null) return;
      const version = (this.#file('timestamp')?.document.signed.version ?? 0) + 1;
      this.folder.stage('image', 'timestamp', this.#document('timestamp', version, { meta: { 'snapshot.json': listing(snapshot.text, snapshot.document.signed.version) } }));
    } else if (role !== 'timestamp') this.#stageSnapshot(role);
  }

  #stageSnapshot(published: string): void {
    const before = this.#newest('snapshot')?.document;
    const staged = this.#staged('image', 'snapshot');
    const newest = this.#newest(published);
    if (newest === null) return;
    const meta = { ...((staged ?? before)?.signed['meta'] as Record<string, unknown> | undefined), [`${published}.json`]: listing(newest.text, newest.document.signed.version) };
    this.folder.stage('image', 'snapshot', this.#document('snapshot', (before?.signed.version ?? 0) + 1, { meta }));
  }

  /** The newest that has all its signatures; a snapshot that lists it may still lack some. */
  #newest(role: string): { document: Document; text: string } | null {
    if (role === 'timestamp') return this.#file(role);
    let version = this.#listed(role);
    while (this.folder.imageText(role, version + 1) !== null) version += 1;
    return this.#file(role, version);
  }

  #file(role: string, version?: number): { document: Document; text: string } | null {
    const text = version === 0 ? null : this.folder.imageText(role, version);
    return text === null ? null : { document: parseDocument(text, role), text };
  }

  /** 0: it is not listed. */
  #listed(role: string): number {
    const versionIn = (found: { document: Document } | null, file: string): number => (found?.document.signed['meta'] as Record<string, { version: number }> | undefined)?.[file]?.version ?? 0;
    const snapshot = versionIn(this.#file('timestamp'), 'snapshot.json');
    return role === 'snapshot' ? snapshot : versionIn(this.#file('snapshot', snapshot), `${role}.json`);
  }

  #staged(repository: RepositoryName, role: string): Document | undefined {
    return this.folder.staged().find((file) => file.repository === repository && file.role === role)?.document;
  }

  /** What is staged, else what is published. @throws DeployError E_REPOSITORY */
  #latest(role: string): Document {
    const document = this.#staged('image', role) ?? this.#newest(role)?.document;
    if (document === undefined) throw new DeployError('E_REPOSITORY', `The role ${role} of ${this.folder.path} has no metadata`);
    return document;
  }

  #latestRoot(repository: RepositoryName): Document {
    return this.#staged(repository, 'root') ?? this.root(repository);
  }

  /** Roots first, then targets, then those that it delegates to. */
  #ordered(): { repository: RepositoryName; role: string; document: Document }[] {
    const rank = (role: string): number => ({ root: 0, targets: 1, snapshot: 3, timestamp: 4 })[role] ?? 2;
    return this.folder.staged().sort((a, b) => rank(a.role) - rank(b.role));
  }

  /** Whose keys must have signed: of a root the one before it and itself. */
  #delegators(repository: RepositoryName, role: string, document: Document): Document[] {
    if (role === 'root') {
      const before = this.folder.rootText(repository);
      return before === null ? [document] : [parseDocument(before, 'root'), document];
    }
    const root = this.folder.rootText(repository);
    if (root === null) return [];
    if (role === 'targets' || role === 'snapshot' || role === 'timestamp') return [parseDocument(root, 'root')];
    return [this.#latest('targets')];
  }

  #complete(repository: RepositoryName, role: string, document: Document): boolean {
    const delegators = this.#delegators(repository, role, document);
    return delegators.length > 0 && delegators.every((delegator) => isSigned(delegator, role, document));
  }

  #signed(repository: RepositoryName, role: string, document: Document): Document {
    const ids = this.#delegators(repository, role, document).flatMap((delegator) => roleKeys(delegator, role)?.keyids ?? []);
    return signDocument(document, this.signers([...new Set(ids)]));
  }

  #signer(id: string): Signer | null {
    if (!this.#signers.has(id)) {
      const path = [...(this.#options.keyFiles ?? []), ...this.folder.keyFiles()].find((file) => readKey(file).id === id);
      this.#signers.set(id, path === undefined ? null : openSigner(path, this.#options.passphrase ?? (() => undefined)));
    }
    return this.#signers.get(id) ?? null;
  }
}

function targetsOf({ signed }: Document): Record<string, TargetEntry> {
  return (signed['targets'] ?? {}) as Record<string, TargetEntry>;
}

function lifetimeOf(role: string): keyof RepositorySettings['lifetime_days'] {
  return role === 'root' || role === 'snapshot' || role === 'timestamp' ? role : 'targets';
}
