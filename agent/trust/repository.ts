/**
 * The client's workflow of the TUF specification (1.0.34, section 5) over files that came with a message. Pure: its inputs are what was trusted
 * before, the files, and the time; its result is what may be trusted afterwards, or an error that names the attack. So trusted state can change only
 * after the whole chain has been verified. `tuf-js` itself is not used, because its Updater writes each file as soon as that file has been verified,
 * and reads the clock itself.
 */
import type { TargetFile } from '@tufjs/models';
import { MAX_DELEGATED_ROLES, SIGNED_FIELDS, type RepositoryFiles } from '../contracts/index.js';
import { AgentError } from '../errors.js';
import { decodeMetadata, type Decoded, type Kind, type RepositoryName } from './metadata.js';

/** What a device remembers of the files that it has verified. Each part holds only under the keys that were trusted then. */
export interface TrustedVersions {
  /** Keys of the roles timestamp and snapshot. New keys end a fast-forward attack (section 5.3.11). */
  online_keys: string;
  /** Keys of the role targets. */
  targets_keys: string;
  timestamp: number;
  snapshot: number;
  /** Versions by role, as the snapshot listed them. */
  roles: Record<string, number>;
  /** The latest time that was signed. Milliseconds since 1970. */
  issued_ms: number;
}

export interface TrustedRepository {
  /** Text of the newest verified root. */
  root: string;
  /** Versions of the files; null when only the root was verified so far. */
  versions: TrustedVersions | null;
}

export interface VerifiedRepository {
  root: Decoded<'root'>;
  targets: Decoded<'targets'>;
  /** The versions to be remembered, once everything else is verified as well. */
  trusted: TrustedRepository & { versions: TrustedVersions };
  /**
   * The target of a path, from the first role that may list it and does. Null when there is none.
   * @throws AgentError E_TRUST_* of a delegated role
   */
  target(path: string): TargetFile | null;
}

/** A clock that is this far ahead of every signed time is wrong, because no metadata lives that long. */
export const MAX_CLOCK_AHEAD_MS = 3 * 366 * 86_400_000;

/** @throws AgentError E_TRUST_FORMAT, E_TRUST_SIZE */
export function decodeRoot(name: RepositoryName, text: string): Decoded<'root'> {
  const root = decodeMetadata('root', `${name} root`, text);
  requireSigned(root, 'root', root);
  return root;
}

/** Whether this is a director's root: only that one says who may give commands. */
export function isDirectorRoot({ signed }: Decoded<'root'>): boolean {
  return Object.hasOwn(signed.unrecognizedFields, SIGNED_FIELDS.commandRoles);
}

/**
 * A root that was pinned at provisioning. With the director's root in the place of the image root, the online key could sign any package by itself.
 * @throws AgentError E_TRUST_FORMAT, E_TRUST_SIZE, E_TRUST_SIGNATURE; E_TRUST_ROOT for the director's root in the place of the image root
 */
export function decodePinnedRoot(name: RepositoryName, text: string): Decoded<'root'> {
  const root = decodeRoot(name, text);
  if (name === 'image' && isDirectorRoot(root)) throw new AgentError('E_TRUST_ROOT', 'it is the root of the director, whose online key could then sign any package by itself');
  return root;
}

/**
 * Section 5.3: each new root must be signed by the root before it and by itself, and none may be left out. Roots that are known already are skipped.
 * @throws AgentError E_TRUST_*
 */
export function verifyRoots(name: RepositoryName, trusted: string, newer: readonly string[]): Decoded<'root'> {
  let root = decodeRoot(name, trusted);
  for (const text of newer) {
    const next = decodeMetadata('root', `${name} root`, text);
    const [known, version] = [root.signed.version, next.signed.version];
    if (version <= known) continue;
    if (version !== known + 1) throw new AgentError('E_TRUST_PARTIAL', `The ${name} root ${version} cannot follow root ${known}: those between are missing`);
    requireSigned(root, 'root', next);
    requireSigned(next, 'root', next);
    root = next;
  }
  return root;
}

/**
 * @param nowMs the trusted time (`time.ts`)
 * @throws AgentError E_TRUST_FORMAT, _SIZE, _SIGNATURE, _ROLLBACK, _FREEZE, _CLOCK, _MIX, _PARTIAL
 */
export function verifyRepository(name: RepositoryName, trusted: TrustedRepository, files: RepositoryFiles, nowMs: number): VerifiedRepository {
  const root = verifyRoots(name, trusted.root, files.roots);
  const before = versionsUnder(root, trusted.versions);
  const timestamp = decodeMetadata('timestamp', `${name} timestamp`, files.timestamp);
  requireSigned(root, 'timestamp', timestamp);
  const fresh = freshness(nowMs, [root.issuedMs, timestamp.issuedMs, before.issued_ms]);
  fresh(root);
  const { snapshotMeta } = timestamp.signed;
  requireNewer(timestamp.label, timestamp.signed.version, before.timestamp);
  requireNewer(`${name} snapshot (by its timestamp)`, snapshotMeta.version, before.snapshot);
  fresh(timestamp);
  const snapshot = decodeMetadata('snapshot', `${name} snapshot`, files.snapshot);
  requireListed(snapshot, snapshotMeta);
  requireSigned(root, 'snapshot', snapshot);
  requireVersion(snapshot, snapshotMeta.version);
  const roles = rolesOf(snapshot, before.roles);
  fresh(snapshot);
  const targets = decodeTargets({ name, files, snapshot, fresh }, 'targets', root, files.targets);
  const versions: TrustedVersions = {
    online_keys: keysOf(root, ['timestamp', 'snapshot']), targets_keys: keysOf(root, ['targets']),
    timestamp: timestamp.signed.version, snapshot: snapshot.signed.version, roles,
    issued_ms: Math.max(before.issued_ms, root.issuedMs ?? 0, timestamp.issuedMs ?? 0),
  };
  return { root, targets, trusted: { root: root.text, versions }, target: (path) => findTarget({ name, files, snapshot, fresh }, targets, path) };
}

interface Walk {
  name: RepositoryName;
  files: RepositoryFiles;
  snapshot: Decoded<'snapshot'>;
  fresh: (decoded: Decoded<Kind>) => void;
}

function decodeTargets({ name, snapshot, fresh }: Walk, role: string, delegator: Decoded<'root'> | Decoded<'targets'>, text: string): Decoded<'targets'> {
  const targets = decodeMetadata('targets', `${name} ${role}`, text);
  const listed = snapshot.signed.meta[`${role}.json`];
  if (listed === undefined) throw new AgentError('E_TRUST_MIX', `The ${snapshot.label} metadata does not list ${role}`);
  requireListed(targets, listed);
  requireSigned(delegator, role, targets);
  requireVersion(targets, listed.version);
  fresh(targets);
  return targets;
}

/** Section 5.6.7: searches delegations depth first, in their order, and visits each role once. */
function findTarget(walk: Walk, top: Decoded<'targets'>, path: string): TargetFile | null {
  const visited = new Set<string>();
  const waiting: { role: string; delegator: Decoded<'targets'> }[] = [];
  for (let found: Decoded<'targets'> | null = top; found !== null; found = nextRole(walk, waiting, visited)) {
    const target = Object.hasOwn(found.signed.targets, path) ? found.signed.targets[path] : undefined;
    if (target !== undefined) return target;
    const children: { role: string; delegator: Decoded<'targets'> }[] = [];
    for (const { role, terminating } of found.signed.delegations?.rolesForTarget(path) ?? []) {
      children.push({ role, delegator: found });
      if (terminating) waiting.length = 0;
      if (terminating) break;
    }
    waiting.unshift(...children);
  }
  return null;
}

function nextRole(walk: Walk, waiting: { role: string; delegator: Decoded<'targets'> }[], visited: Set<string>): Decoded<'targets'> | null {
  for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
    if (visited.has(next.role)) continue;
    if (visited.size >= MAX_DELEGATED_ROLES) return null;
    visited.add(next.role);
    const text = Object.hasOwn(walk.files.delegated, next.role) ? walk.files.delegated[next.role] : undefined;
    if (text === undefined) throw new AgentError('E_TRUST_PARTIAL', `The ${walk.name} metadata of the delegated role ${next.role} is missing`);
    return decodeTargets(walk, next.role, next.delegator, text);
  }
  return null;
}

/** @throws AgentError E_TRUST_SIGNATURE */
export function requireSigned(delegator: Decoded<'root'> | Decoded<'targets'>, role: string, decoded: Decoded<Kind>): void {
  try {
    delegator.metadata.verifyDelegate(role, decoded.metadata);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new AgentError('E_TRUST_SIGNATURE', `The ${decoded.label} metadata is not trusted: ${why}`, { cause });
  }
}

function requireNewer(label: string, version: number, known: number): void {
  if (version < known) throw new AgentError('E_TRUST_ROLLBACK', `The ${label} has version ${version}, but this device has verified version ${known} before`);
}

/** Requires that the file one level up lists this file. The list must have a hash, because otherwise files of different moments could be combined. */
function requireListed(decoded: Decoded<'snapshot'> | Decoded<'targets'>, listed: { hashes?: Record<string, string>; verify(data: Buffer): void }): void {
  if (listed.hashes?.['sha256'] === undefined) throw new AgentError('E_TRUST_FORMAT', `The file that lists the ${decoded.label} metadata states no SHA-256 for it`);
  try {
    listed.verify(Buffer.from(decoded.text));
  } catch (cause) {
    throw new AgentError('E_TRUST_MIX', `The ${decoded.label} metadata is not the one that is listed: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

function requireVersion(decoded: Decoded<'snapshot'> | Decoded<'targets'>, listed: number): void {
  const { version } = decoded.signed;
  if (version !== listed) throw new AgentError('E_TRUST_MIX', `The ${decoded.label} metadata has version ${version}, but version ${listed} is listed`);
}

/** Section 5.5.5: no file that was listed may vanish or become older. */
function rolesOf(snapshot: Decoded<'snapshot'>, before: Readonly<Record<string, number>>): Record<string, number> {
  const { meta } = snapshot.signed;
  for (const [file, version] of Object.entries(before)) {
    const now = Object.hasOwn(meta, file) ? meta[file] : undefined;
    if (now === undefined) throw new AgentError('E_TRUST_ROLLBACK', `The ${snapshot.label} metadata no longer lists ${file}, which this device has verified before`);
    requireNewer(`${file} (by its ${snapshot.label})`, now.version, version);
  }
  return Object.fromEntries(Object.entries(meta).map(([file, { version }]) => [file, version]));
}

/** Checks expiry at the trusted time. If a signed time is later than the clock, the signed time is used. */
function freshness(nowMs: number, signedTimes: readonly (number | null)[]): (decoded: Decoded<Kind>) => void {
  const signedMs = Math.max(0, ...signedTimes.map((time) => time ?? 0));
  const timeMs = Math.max(nowMs, signedMs);
  return ({ label, expiresMs, signed }) => {
    if (timeMs < expiresMs) return;
    if (expiresMs > signedMs && timeMs - signedMs > MAX_CLOCK_AHEAD_MS) {
      throw new AgentError('E_TRUST_CLOCK', `The clock says ${isoTime(timeMs)}, more than three years after the newest signed time ${isoTime(signedMs)}. Set the clock; until then nothing is installed`);
    }
    throw new AgentError('E_TRUST_FREEZE', `The ${label} metadata (version ${signed.version}) expired at ${isoTime(expiresMs)}, and it is ${isoTime(timeMs)}. Refresh the repository and publish again`);
  };
}

function isoTime(ms: number): string {
  return ms <= 8.64e15 ? new Date(ms).toISOString() : `${ms} ms`;
}

const noVersions: Omit<TrustedVersions, 'online_keys' | 'targets_keys'> = { timestamp: 0, snapshot: 0, roles: {}, issued_ms: 0 };

/**
 * The remembered versions that hold under this root. When keys have changed, the versions of their roles are forgotten, because a thief of the old
 * keys may have driven them up.
 */
function versionsUnder(root: Decoded<'root'>, versions: TrustedVersions | null): Omit<TrustedVersions, 'online_keys' | 'targets_keys'> {
  if (versions === null || versions.online_keys !== keysOf(root, ['timestamp', 'snapshot'])) return noVersions;
  return versions.targets_keys === keysOf(root, ['targets']) ? versions : { ...versions, roles: {} };
}

function keysOf(root: Decoded<'root'>, roles: readonly string[]): string {
  return roles.map((role) => [...(root.signed.roles[role]?.keyIDs ?? [])].sort().join('+')).join('/');
}
