import { formatTable } from '../cli/table.js';
import { roleKeys, type Document } from './document.js';
import type { Pending, Repository } from './repository.js';
import { commandOfPath, commandRolesOf, isFleetRole } from './roles.js';

export interface RoleStatus {
  repository: 'image' | 'director';
  role: string;
  version: number;
  /** Null: each message has an expiry of its own. */
  expires: string | null;
  threshold: number;
  keys: string[];
}

export interface RepositoryStatus {
  roles: RoleStatus[];
  commands: { role: string; allow: string[]; threshold: number; keys: string[] }[];
  packages: { path: string; version: string; release_counter: number; hardware_ids: string[]; bytes: number }[];
  pending: Pending[];
  /** What somebody should do, in words. */
  attention: string[];
}

const DAY_MS = 86_400_000;

export function repositoryStatus(repository: Repository, nowMs: number, withinDays: number): RepositoryStatus {
  const roles = [...imageRoles(repository), ...directorRoles(repository)];
  const pending = repository.pending();
  const soon = roles.filter(({ expires }) => expires !== null && Date.parse(expires) < nowMs + withinDays * DAY_MS);
  return {
    roles,
    commands: commandRoles(repository.root('director')),
    packages: repository.targets().map(({ path, entry: { length, custom } }) => ({ path, version: custom.version, release_counter: custom.release_counter, hardware_ids: custom.hardware_ids, bytes: length })),
    pending,
    attention: [
      ...soon.map(({ repository: name, role, expires }) => `${name} ${role} ${Date.parse(expires ?? '') <= nowMs ? 'expired' : 'expires'} at ${expires ?? ''}: sterna repository ${role === 'root' ? 'rotate root' : 'refresh'}`),
      ...pending.map(({ repository: name, role, signatures, threshold }) => `${name} ${role} has ${signatures} of ${threshold} signatures: sterna repository sign`),
    ],
  };
}

function imageRoles(repository: Repository): RoleStatus[] {
  const root = repository.root('image');
  const targets = repository.published('targets')?.document;
  const named = ['targets', ...(targets === undefined ? [] : repository.delegatedRoles()), 'snapshot', 'timestamp'].flatMap((role) => {
    const found = repository.published(role)?.document;
    const delegator = isFleetRole(role) ? targets : root;
    return found === undefined || delegator === undefined ? [] : [roleStatus('image', role, found, delegator)];
  });
  return [roleStatus('image', 'root', root, root), ...named];
}

function directorRoles(repository: Repository): RoleStatus[] {
  const root = repository.root('director');
  const keys = roleKeys(root, 'targets');
  return [
    roleStatus('director', 'root', root, root),
    { repository: 'director', role: 'director', version: root.signed.version, expires: null, threshold: keys?.threshold ?? 0, keys: keys?.keyids ?? [] },
  ];
}

function roleStatus(repository: RoleStatus['repository'], role: string, { signed }: Document, delegator: Document): RoleStatus {
  const keys = roleKeys(delegator, role);
  return { repository, role, version: signed.version, expires: signed.expires, threshold: keys?.threshold ?? 0, keys: keys?.keyids ?? [] };
}

function commandRoles(root: Document): RepositoryStatus['commands'] {
  return commandRolesOf(root).roles.map(({ name, paths, threshold, keyids }) => ({ role: name, allow: paths.map(commandOfPath), threshold, keys: keyids }));
}

export function statusText({ roles, commands, packages, attention }: RepositoryStatus): string {
  const short = (keys: readonly string[]): string => keys.map((id) => id.slice(0, 8)).join(', ');
  const title = (titles: readonly string[]): { title: string }[] => titles.map((text) => ({ title: text }));
  return [
    formatTable(title(['role', 'version', 'expires', 'keys']), roles.map((role) => [`${role.repository} ${role.role}`, String(role.version), role.expires ?? '-', `${role.threshold} of ${short(role.keys)}`])),
    formatTable(title(['commands by', 'may give', 'keys']), commands.map(({ role, allow, threshold, keys }) => [role, allow.join(', '), `${threshold} of ${short(keys)}`])),
    packages.length === 0 ? 'no packages' : formatTable(title(['package', 'release counter', 'hardware']), packages.map((one) => [one.path, String(one.release_counter), one.hardware_ids.join(', ')])),
    ...attention,
  ].join('\n\n');
}
