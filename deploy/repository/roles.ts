/** Who may sign what, as metadata states it: roles, their keys and thresholds, and delegations. Pure functions of documents. */
import { SIGNED_FIELDS } from '../../agent/contracts/index.js';
import { DeployError } from '../errors.js';
import type { Document, RoleKeys } from './document.js';
import { keyJson, type PublicKey } from './keys.js';

export interface RoleKeysInput {
  keys: readonly PublicKey[];
  threshold: number;
}

export interface InitKeys {
  root: RoleKeysInput;
  targets: RoleKeysInput;
  snapshot: RoleKeysInput;
  timestamp: RoleKeysInput;
  director: RoleKeysInput;
  /** May give every command. */
  operator: RoleKeysInput;
}

export interface RoleChange {
  add: readonly PublicKey[];
  /** Ids. */
  remove: readonly string[];
  threshold?: number;
}

type KeyMap = Record<string, ReturnType<typeof keyJson>>;

export interface DelegatedRole extends RoleKeys {
  name: string;
  terminating: boolean;
  paths: string[];
}

export interface Delegations {
  keys: KeyMap;
  roles: DelegatedRole[];
}

const FLEET = 'fleet-';
const ALL_COMMANDS = 'cmd/*';

/** The role that signs the packages of one fleet. */
export const fleetRole = (fleet: string): string => `${FLEET}${fleet}`;
export const isFleetRole = (role: string): boolean => role.startsWith(FLEET);

export const commandPath = (command: string): string => (command === '*' ? ALL_COMMANDS : `cmd/${command}`);
export const commandOfPath = (path: string): string => path.replace(/^cmd\//, '');
export const mayGive = ({ paths }: DelegatedRole, command: string): boolean => paths.includes(ALL_COMMANDS) || paths.includes(commandPath(command));

/** To whom targets metadata delegates. */
export function delegationsOf({ signed }: Document): Delegations {
  return (signed['delegations'] as Delegations | undefined) ?? { keys: {}, roles: [] };
}

/** Who may give commands, by a root of the director. */
export function commandRolesOf({ signed }: Document): Delegations {
  return (signed[SIGNED_FIELDS.commandRoles] as Delegations | undefined) ?? { keys: {}, roles: [] };
}

/** The roles of a root. */
export function rootRoles({ signed }: Document): Record<string, RoleKeys> {
  return signed['roles'] as Record<string, RoleKeys>;
}

/** Delegations in which a role is added, replaced, or (null) removed; keys that no role uses any more go with it. */
export function withRole({ keys, roles }: Delegations, name: string, role: (RoleKeysInput & { terminating: boolean; paths: string[] }) | null): Delegations {
  const others = roles.filter((other) => other.name !== name);
  const next = role === null ? others : [...others, { name, ...keyIds(role), terminating: role.terminating, paths: role.paths }];
  return { keys: onlyUsed({ ...keys, ...keyMap(role?.keys ?? []) }, next), roles: next };
}

/** What the first root of a repository says of its roles. @throws DeployError E_REPOSITORY */
export function firstRoles(roles: Record<string, RoleKeysInput>): { consistent_snapshot: true; keys: KeyMap; roles: Record<string, RoleKeys> } {
  const named = Object.entries(roles);
  for (const [name, { keys, threshold }] of named) requireThreshold(name, keys.length, threshold);
  return { consistent_snapshot: true, keys: keyMap(named.flatMap(([, { keys }]) => keys)), roles: Object.fromEntries(named.map(([name, role]) => [name, keyIds(role)])) };
}

/** The keys of a root that these roles use, with those that are added. */
export function rootKeys({ signed }: Document, roles: Record<string, RoleKeys>, added: readonly PublicKey[]): KeyMap {
  return onlyUsed({ ...(signed['keys'] as KeyMap), ...keyMap(added) }, Object.values(roles));
}

/** The keys of a role after a change. @throws DeployError E_REPOSITORY */
export function changed(role: string, old: RoleKeys, { add, remove, threshold }: RoleChange): RoleKeys {
  const unknown = remove.filter((id) => !old.keyids.includes(id));
  if (unknown.length > 0) throw new DeployError('E_REPOSITORY', `The role ${role} has no key ${unknown.join(', ')}; it has ${old.keyids.join(', ')}`);
  const keyids = [...new Set([...old.keyids.filter((id) => !remove.includes(id)), ...add.map(({ id }) => id)])];
  const next = { keyids, threshold: threshold ?? Math.min(old.threshold, keyids.length) };
  requireThreshold(role, keyids.length, next.threshold);
  return next;
}

/** @throws DeployError E_REPOSITORY */
export function requireThreshold(role: string, keys: number, threshold: number): void {
  if (threshold < 1 || threshold > keys) throw new DeployError('E_REPOSITORY', `Expected a threshold of ${role} from 1 to its ${keys} keys but received ${threshold}`);
}

function keyIds({ keys, threshold }: RoleKeysInput): RoleKeys {
  return { keyids: keys.map(({ id }) => id), threshold };
}

function keyMap(keys: readonly PublicKey[]): KeyMap {
  return Object.fromEntries(keys.map(({ id, public: value }) => [id, keyJson(value)]));
}

function onlyUsed(keys: KeyMap, roles: readonly RoleKeys[]): KeyMap {
  const used = new Set(roles.flatMap(({ keyids }) => keyids));
  return Object.fromEntries(Object.entries(keys).filter(([id]) => used.has(id)));
}
