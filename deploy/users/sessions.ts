import { createHash, randomBytes } from 'node:crypto';
import type { OidcUser } from './oidc.js';
import type { Role, User, UserDirectory } from './users.js';

export interface SessionLimits {
  /** Without any request. A page that is open asks every few seconds. */
  idleMs: number;
  /** However busy it is. */
  absoluteMs: number;
}
export const defaultSessionLimits: SessionLimits = { idleMs: 30 * 60_000, absoluteMs: 12 * 3_600_000 };
/** The oldest ones of a user end beyond this. */
const SESSIONS_PER_USER = 16;

export interface Session {
  /** The name of a local user, or `issuer#subject` of a provider of OpenID Connect. No local name has a `#`. */
  readonly user: string;
  /** What the page calls a provider's user. */
  readonly shown?: string;
  readonly role: Role;
  /** Of a provider's user: what the provider is told at the log out. */
  readonly idToken?: string;
  /** Aborted when the session ends: streams end with it. */
  readonly ended: AbortSignal;
}

interface Entry extends Session {
  readonly controller: AbortController;
  /** The user's record at login: another password or role makes another one. Null for a provider's user, of whom there is none here. */
  readonly record: string | null;
  readonly beganMs: number;
  readonly absoluteMs: number;
  usedMs: number;
}

/** Sessions in memory, by the hash of their ids: what is in memory does not let anybody in. They end with the server. */
export class Sessions {
  readonly #entries = new Map<string, Entry>();
  readonly #users: UserDirectory | null;
  readonly #limits: SessionLimits;

  constructor(users: UserDirectory | null, limits: SessionLimits = defaultSessionLimits) {
    this.#users = users;
    this.#limits = limits;
  }

  /** @returns the new session's id, 256 random bits in base64url */
  begin(user: User, nowMs: number): string {
    return this.#begin({ user: user.name, role: user.role, record: JSON.stringify(user), absoluteMs: this.#limits.absoluteMs }, nowMs);
  }

  /** A session of a provider's user. @param mostMs how long it lasts, unless the limit of all sessions is less. @returns the new session's id */
  beginOidc({ id: user, name: shown, role, idToken }: OidcUser, mostMs: number, nowMs: number): string {
    return this.#begin({ user, shown, role, idToken, record: null, absoluteMs: Math.min(mostMs, this.#limits.absoluteMs) }, nowMs);
  }

  #begin(session: Omit<Entry, 'ended' | 'controller' | 'beganMs' | 'usedMs'>, nowMs: number): string {
    this.sweep(nowMs);
    const own = [...this.#entries].filter(([, entry]) => entry.user === session.user);
    for (const [key] of own.slice(0, Math.max(0, own.length - SESSIONS_PER_USER + 1))) this.#end(key);
    const id = randomBytes(32).toString('base64url');
    const controller = new AbortController();
    this.#entries.set(keyOf(id), { ...session, ended: controller.signal, controller, beganMs: nowMs, usedMs: nowMs });
    return id;
  }

  /** The session of an id, which counts as used; null if there is none (any more). */
  find(id: string, nowMs: number): Session | null {
    const key = keyOf(id);
    const entry = this.#entries.get(key);
    if (entry === undefined || !this.#lives(key, entry, nowMs)) return null;
    entry.usedMs = nowMs;
    return entry;
  }

  end(id: string): void {
    this.#end(keyOf(id));
  }

  /** Ends those whose time is over, or whose user is not what it was. */
  sweep(nowMs: number): void {
    for (const [key, entry] of this.#entries) this.#lives(key, entry, nowMs);
  }

  endAll(): void {
    for (const key of [...this.#entries.keys()]) this.#end(key);
  }

  #lives(key: string, { user, record, beganMs, usedMs, absoluteMs }: Entry, nowMs: number): boolean {
    const over = nowMs - beganMs >= absoluteMs || nowMs - usedMs >= this.#limits.idleMs;
    if (!over && (record === null || JSON.stringify(this.#users?.find(user)) === record)) return true;
    this.#end(key);
    return false;
  }

  #end(key: string): void {
    this.#entries.get(key)?.controller.abort();
    this.#entries.delete(key);
  }
}

const keyOf = (id: string): string => createHash('sha256').update(id).digest('hex');
