/** The director: signs what one pipeline of one device should run now, and commands; adds the metadata of the image repository that proves the package. */
import { createHash } from 'node:crypto';
import {
  commandStatementSchema, desiredText, settingsText, SIGNED_FIELDS, statementSchema, type ChunkListRef, type CommandStatement, type Desired, type DeviceAddress, type RepositoryFiles, type Settings, type Signed, type Statement,
} from '../../agent/contracts/index.js';
import { DeployError } from '../errors.js';
import { compactText, isSigned, listing, newDocument, roleKeys, signDocument, tufTime, type Document, type DocumentKind } from './document.js';
import type { FoundTarget, Repository } from './repository.js';
import { commandRolesOf, fleetRole, mayGive } from './roles.js';

/** What a device has reported. */
export interface KnownRoots {
  /** Versions of the roots; null: unknown, so all of them are sent. */
  image: number | null;
  director: number | null;
  /** Its settings, which need no proof of the image repository; absent: unknown. */
  settings?: Settings;
}

/** Signs for devices. What a publisher needs of a repository. */
export interface DesiredSigner {
  /** @throws DeployError E_REPOSITORY, E_REPOSITORY_TARGET, E_KEY */
  sign(address: DeviceAddress & { pipeline: string }, desired: Omit<Desired, 'signed'>, known: KnownRoots): Signed;
  /** The list of chunks of a package as it is signed for this fleet; undefined when there is none. */
  chunks(digest: string, fleet: string): ChunkListRef | undefined;
}

const DAY_MS = 86_400_000;
const NOT_EXPIRED_MS = 60_000;

export class Director implements DesiredSigner {
  readonly #repository: Repository;
  readonly #now: () => number;

  constructor(repository: Repository, now: () => number = Date.now) {
    this.#repository = repository;
    this.#now = now;
  }

  chunks(digest: string, fleet: string): ChunkListRef | undefined {
    return this.#repository.find(digest, fleet)?.entry.custom.chunks;
  }

  /** The version of settings that this fleet may have. @throws DeployError E_REPOSITORY_TARGET */
  settingsVersion({ name, digest }: { name: string; digest: string }, fleet: string): string {
    const found = this.#repository.find(digest, fleet);
    if (found !== null) return found.entry.custom.version;
    throw new DeployError('E_REPOSITORY_TARGET', `The settings ${name} are not in the repository ${this.#repository.folder.path}, or not for fleet ${fleet}. Add them: sterna repository add ${name}.json`);
  }

  sign(address: DeviceAddress & { pipeline: string }, desired: Omit<Desired, 'signed'>, known: KnownRoots): Signed {
    const { package: wanted, generation } = desired;
    const found = wanted === null ? null : this.#repository.find(wanted.digest, address.fleet);
    if (wanted !== null && found === null) throw new DeployError('E_REPOSITORY_TARGET', `${wanted.name} ${wanted.version} is not in the repository ${this.#repository.folder.path}, or not for fleet ${address.fleet}. Add it: sterna repository add PACKAGE`);
    const settings = this.#settings(desired.settings, known.settings, address.fleet);
    const proved = [found, settings].filter((target) => target !== null);
    const statement: Statement = statementSchema.parse({
      ...address, generation, target: found?.path ?? null, settings_target: settings?.path ?? null, desired_sha256: createHash('sha256').update(desiredText(desired)).digest('hex'),
    });
    const targets = this.#director('targets', generation, { targets: found === null ? {} : { [found.path]: found.entry }, [SIGNED_FIELDS.statement]: JSON.stringify(statement) });
    const snapshot = this.#director('snapshot', generation, { meta: { 'targets.json': listing(compactText(targets), generation) } });
    const timestamp = this.#director('timestamp', generation, { meta: { 'snapshot.json': listing(compactText(snapshot), generation) } });
    return {
      image: proved.length === 0 ? null : this.#image(proved, known.image ?? 0),
      director: { roots: this.#repository.rootsAfter('director', known.director ?? 0), timestamp: compactText(timestamp), snapshot: compactText(snapshot), targets: compactText(targets), delegated: {} },
    };
  }

  /**
   * A signed command, as text of the message's `signed`. It is signed by every key at hand of one role that may give it.
   * @throws DeployError E_REPOSITORY when no role with keys at hand may give it, E_KEY
   */
  command(statement: CommandStatement): string {
    const allowed = commandRolesOf(this.#repository.root('director')).roles.filter((role) => mayGive(role, statement.command));
    for (const { keyids, threshold } of allowed) {
      const signers = this.#repository.signers(keyids);
      if (signers.length >= threshold) return signCommand(statement, signers);
    }
    throw new DeployError('E_REPOSITORY', `No key at hand may sign the command ${statement.command}: ${allowed.length === 0 ? 'no role of the repository may give it' : `one of ${allowed.map(({ name }) => name).join(', ')} must`}. See sterna repository commands`);
  }

  #director(kind: DocumentKind, version: number, fields: Record<string, unknown>): Document {
    const root = this.#repository.root('director');
    const now = this.#now();
    const document = newDocument(kind, { version, nowMs: now, expiresMs: now + this.#repository.settings.lifetime_days.director * DAY_MS }, fields);
    const signed = signDocument(document, this.#repository.signers(roleKeys(root, kind)?.keyids ?? []));
    if (!isSigned(root, kind, signed)) throw new DeployError('E_REPOSITORY', `The key of the director is not at hand: put its file into ${this.#repository.folder.keys}, or name it with --signing-key`);
    return signed;
  }

  /** The release of settings that a device does not have yet; null: it has them, or nobody has released them. */
  #settings(wanted: Settings, has: Settings | undefined, fleet: string): FoundTarget | null {
    const text = settingsText(wanted);
    return has !== undefined && text === settingsText(has) ? null : this.#repository.find(createHash('sha256').update(text).digest('hex'), fleet);
  }

  /** Published texts, as they are. @throws DeployError E_REPOSITORY when a device would refuse them */
  #image(proved: readonly FoundTarget[], known: number): RepositoryFiles {
    const text = (name: string): string => {
      const found = this.#repository.published(name);
      if (found === null) throw new DeployError('E_REPOSITORY', `The ${name} metadata of ${this.#repository.folder.path} is not signed yet: sterna repository sign`);
      const { expires } = found.document.signed;
      if (Date.parse(expires) < this.#now() + NOT_EXPIRED_MS) throw new DeployError('E_REPOSITORY', `The ${name} metadata of ${this.#repository.folder.path} expired at ${expires}. Sign it again: sterna repository refresh`);
      return found.text;
    };
    const rolesOf = ({ path, role }: FoundTarget): string[] => (role === 'targets' ? [] : [role, fleetRole(path.slice(0, path.indexOf('/')))]);
    const needed = new Set(proved.flatMap(rolesOf));
    const delegated = this.#repository.delegatedRoles().filter((name) => needed.has(name));
    return {
      roots: this.#repository.rootsAfter('image', known),
      timestamp: text('timestamp'), snapshot: text('snapshot'), targets: text('targets'), delegated: Object.fromEntries(delegated.map((name) => [name, text(name)])),
    };
  }
}

/** Signs a command with these keys. */
export function signCommand(statement: CommandStatement, signers: Parameters<typeof signDocument>[1]): string {
  const checked = commandStatementSchema.parse(statement);
  const document = newDocument('targets', { version: 1, nowMs: checked.issued_ms, expiresMs: checked.expires_ms }, { expires: tufTime(Math.ceil(checked.expires_ms / 1000) * 1000), targets: {}, [SIGNED_FIELDS.command]: JSON.stringify(checked) });
  return compactText(signDocument(document, signers));
}
