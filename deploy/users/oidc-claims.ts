/** What the page takes from the claims of a provider of OpenID Connect. */
import { DeployError } from '../errors.js';
import type { Role } from './users.js';

export interface RoleRule {
  /** Name of the claim with a user's groups or roles; `a.b` is `b` within `a`, unless there is a claim of that whole name. */
  rolesClaim: string;
  /** Whoever has one of these is an operator. */
  operators: readonly string[];
  /** Whoever has one of these is a viewer. Everybody else is refused. */
  viewers: readonly string[];
}

type Claims = Readonly<Record<string, unknown>>;

const NAME_LENGTH = 64;
/** OpenID Connect Core 1.0, section 2: at most 255 characters of ASCII. */
const SUBJECT = /^[\x21-\x7e]{1,255}$/;

/** The least that the values of the claim allow; null: nothing. */
export function roleOf(claims: Claims, { rolesClaim, operators, viewers }: RoleRule): Role | null {
  const values = valuesOf(claims, rolesClaim) ?? [];
  if (values.some((value) => operators.includes(value))) return 'operator';
  return values.some((value) => viewers.includes(value)) ? 'viewer' : null;
}

/** The texts of a claim, which is one text or a list; null when there is no such claim. */
export function valuesOf(claims: Claims, name: string): readonly string[] | null {
  const value = Object.hasOwn(claims, name) ? claims[name] : name.split('.').reduce<unknown>((inner, part) => (isRecord(inner) && Object.hasOwn(inner, part) ? inner[part] : undefined), claims);
  if (value === undefined) return null;
  return (Array.isArray(value) ? value as unknown[] : [value]).filter((one) => typeof one === 'string');
}

const isRecord = (value: unknown): value is Claims => typeof value === 'object' && value !== null && !Array.isArray(value);

/** `issuer#subject`; an issuer has no fragment of its own. @throws DeployError E_OIDC_REFUSED */
export function identityOf({ iss, sub }: Claims): string {
  if (typeof iss !== 'string' || typeof sub !== 'string' || !SUBJECT.test(sub)) throw new DeployError('E_OIDC_REFUSED', 'The provider names its user by something else than 1 to 255 characters of ASCII without spaces');
  return `${iss}#${sub}`;
}

/** For people to read, without what would reach terminals. */
export function nameOf(claims: Claims): string {
  const name = ['preferred_username', 'email', 'name', 'sub'].map((claim) => claims[claim]).find((value) => typeof value === 'string' && value.trim() !== '');
  return String(name ?? '').replaceAll(/\p{C}/gu, '?').slice(0, NAME_LENGTH);
}
