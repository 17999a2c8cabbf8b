/** Logs in with a provider of OpenID Connect: the authorization code flow with PKCE, state and nonce, by the library openid-client. */
import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { AuthorizationResponseError, ClientError, Configuration, IDToken, ResponseBodyError } from 'openid-client';
import { messageOf } from '../../runtime/errors.js';
import { asMissingPackage } from '../../runtime/optional-package.js';
import { DeployError } from '../errors.js';
import { identityOf, nameOf, roleOf, valuesOf, type RoleRule } from './oidc-claims.js';
import type { Role } from './users.js';

export interface OidcOptions extends RoleRule {
  /** As the provider calls itself, for example https://sso.example/realms/fleet. `http:` on loopback alone. */
  issuer: URL;
  clientId: string;
  /** Absent: a public client, which PKCE alone protects. */
  clientSecret?: string;
  /** Where browsers find the page. The provider sends them back to `callbackPath` below it. */
  publicUrl: URL;
  /** What the form of the login calls the provider. */
  name: string;
  /** Separated by spaces, with `openid`. */
  scopes: string;
  /** How long a session lasts. The provider is not asked again meanwhile. */
  sessionMs: number;
}

/** Whom a provider vouches for. */
export interface OidcUser {
  /** `issuer#subject`: the only pair that a provider never gives to somebody else (OpenID Connect Core 1.0, 5.7). */
  id: string;
  /** For people to read. A provider may give it to somebody else, and users may choose it. */
  name: string;
  role: Role;
  /** Tells the provider at the log out whose session ends. */
  idToken: string;
}

export const callbackPath = '/api/oidc/callback';
/** How long a user may take at the provider. */
const LOGIN_MS = 600_000;
const PROVIDER_TIMEOUT_S = 10;
/** The provider's metadata is read again after this time. Its keys are read again whenever a token names one that is not known. */
const METADATA_MS = 3_600_000;
/** Answers of logins that have been used; more than can come within `LOGIN_MS` from people. */
const REMEMBERED = 10_000;
/** Answers that wait for the provider. */
const WAITING = 16;

/** Errors of openid-client that are ours to tell apart: the provider was not reached, or answered something else than it should. */
const AWAY: readonly unknown[] = ['OAUTH_TIMEOUT', 'OAUTH_RESPONSE_IS_NOT_CONFORM', 'OAUTH_RESPONSE_IS_NOT_JSON'];

/**
 * A provider, and the logins that are on their way. They have no state here: state, nonce and PKCE verifier follow from a cookie of the browser and a key of this process, so
 * that nobody can fill a memory, and an answer is good in the browser alone that began it.
 */
export class OidcLogin {
  readonly name: string;
  readonly publicUrl: URL;
  readonly sessionMs: number;
  readonly #options: OidcOptions;
  readonly #key = randomBytes(32);
  readonly #used = new Map<string, number>();
  #metadata: { at: number; config: Promise<Configuration> } | null = null;
  #waiting = 0;

  constructor(options: OidcOptions) {
    this.#options = options;
    this.name = options.name;
    this.publicUrl = options.publicUrl;
    this.sessionMs = options.sessionMs;
  }

  /** Loads the library. @throws RuntimeError E_DEPENDENCY when it is not installed */
  async load(): Promise<void> {
    await library();
  }

  /** @returns where the browser goes, and the cookie that it keeps meanwhile. @throws DeployError E_OIDC_AWAY */
  async begin(nowMs: number): Promise<{ url: string; cookie: string; maxAgeSeconds: number }> {
    const [{ buildAuthorizationUrl }, config] = await Promise.all([library(), this.#config(nowMs)]);
    const cookie = `${(nowMs + LOGIN_MS).toString(36)}.${randomBytes(32).toString('base64url')}`;
    const url = buildAuthorizationUrl(config, {
      redirect_uri: this.#callback().href, scope: this.#options.scopes, state: this.#derive('state', cookie), nonce: this.#derive('nonce', cookie),
      code_challenge: createHash('sha256').update(this.#derive('verifier', cookie)).digest('base64url'), code_challenge_method: 'S256',
    });
    return { url: url.href, cookie, maxAgeSeconds: LOGIN_MS / 1000 };
  }

  /**
   * Takes the provider's answer, once.
   * @param cookie what `begin` gave to the browser that brings the answer
   * @throws DeployError E_OIDC_STATE, E_OIDC_EXPIRED, E_OIDC_REFUSED, E_OIDC_AWAY, E_OIDC_ROLE (`details.user` says whom the provider vouched for), E_LOGIN_LIMIT
   */
  async finish(cookie: string | undefined, answer: URLSearchParams, nowMs: number): Promise<OidcUser> {
    const state = this.#take(cookie ?? '', answer.get('state') ?? '', nowMs);
    if (this.#waiting >= WAITING) throw new DeployError('E_LOGIN_LIMIT', 'Too many logins wait for the provider');
    this.#waiting += 1;
    try {
      return await this.#exchange(cookie ?? '', state, answer, nowMs);
    } finally {
      this.#waiting -= 1;
    }
  }

  /** Where the provider ends its own session; null when it has no such place, or cannot be asked. */
  async endSessionUrl(idToken: string, nowMs: number): Promise<string | null> {
    try {
      const [{ buildEndSessionUrl }, config] = await Promise.all([library(), this.#config(nowMs)]);
      return config.serverMetadata().end_session_endpoint === undefined ? null : buildEndSessionUrl(config, { id_token_hint: idToken }).href;
    } catch {
      return null;
    }
  }

  #callback(): URL {
    return new URL(callbackPath, this.publicUrl);
  }

  /** 43 characters of base64url, as PKCE wants them (RFC 7636, 4.1). */
  #derive(purpose: 'state' | 'nonce' | 'verifier', cookie: string): string {
    return createHmac('sha256', this.#key).update(`${purpose} ${cookie}`).digest('base64url');
  }

  /** That this browser began the login a short while ago, and brings its answer for the first time. @throws DeployError E_OIDC_STATE, E_OIDC_EXPIRED */
  #take(cookie: string, given: string, nowMs: number): string {
    const state = this.#derive('state', cookie);
    // The state is right for a cookie of ours alone, so that the time in it is ours, too.
    if (given.length !== state.length || !timingSafeEqual(Buffer.from(given), Buffer.from(state))) throw new DeployError('E_OIDC_STATE', 'This browser did not begin this login, or the server has begun anew since');
    const expiresMs = parseInt(cookie, 36);
    if (!(nowMs < expiresMs)) throw new DeployError('E_OIDC_EXPIRED', `The login took longer than ${LOGIN_MS / 60_000} minutes`);
    if (this.#used.has(state)) throw new DeployError('E_OIDC_STATE', 'This answer has been used');
    for (const [used, until] of this.#used) if (until <= nowMs || this.#used.size >= REMEMBERED) this.#used.delete(used);
    this.#used.set(state, expiresMs);
    return state;
  }

  async #exchange(cookie: string, state: string, answer: URLSearchParams, nowMs: number): Promise<OidcUser> {
    const [{ authorizationCodeGrant, fetchUserInfo }, config] = await Promise.all([library(), this.#config(nowMs)]);
    const url = this.#callback();
    url.search = answer.toString();
    try {
      const tokens = await authorizationCodeGrant(config, url, { expectedState: state, expectedNonce: this.#derive('nonce', cookie), pkceCodeVerifier: this.#derive('verifier', cookie), idTokenExpected: true });
      const claims = tokens.claims();
      if (claims === undefined || tokens.id_token === undefined) throw new DeployError('E_OIDC_REFUSED', 'The provider gave no ID token');
      // Some providers put groups into the answer of the userinfo endpoint alone.
      const more = valuesOf(claims, this.#options.rolesClaim) === null && config.serverMetadata().userinfo_endpoint !== undefined ? await fetchUserInfo(config, tokens.access_token, claims.sub) : {};
      return this.#userOf({ ...more, ...claims }, tokens.id_token);
    } catch (error) {
      throw refusalOf(error, this.name);
    }
  }

  /** @throws DeployError E_OIDC_ROLE, E_OIDC_REFUSED */
  #userOf(claims: IDToken & Record<string, unknown>, idToken: string): OidcUser {
    const id = identityOf(claims);
    const role = roleOf(claims, this.#options);
    if (role === null) throw new DeployError('E_OIDC_ROLE', `${this.name} knows you as ${nameOf(claims)}, but none of your ${this.#options.rolesClaim} may use this page`, { details: { user: id } });
    return { id, name: nameOf(claims), role, idToken };
  }

  /** Read when it is needed first: the page begins, and lets local users in, while the provider is away. @throws DeployError E_OIDC_AWAY */
  #config(nowMs: number): Promise<Configuration> {
    const known = this.#metadata;
    if (known !== null && nowMs - known.at < METADATA_MS) return known.config;
    const config = discover(this.#options);
    this.#metadata = { at: nowMs, config };
    config.catch(() => { if (this.#metadata?.config === config) this.#metadata = null; });
    return config;
  }
}

async function discover({ issuer, clientId, clientSecret, name }: OidcOptions): Promise<Configuration> {
  const { discovery, allowInsecureRequests, ClientSecretBasic, enableNonRepudiationChecks, None } = await library();
  try {
    return await discovery(issuer, clientId, undefined, clientSecret === undefined ? None() : ClientSecretBasic(clientSecret), {
      timeout: PROVIDER_TIMEOUT_S,
      // Signatures of ID tokens are checked, although they come from the provider by TLS. Plain HTTP is for loopback, which the command line has checked.
      execute: issuer.protocol === 'http:' ? [enableNonRepudiationChecks, allowInsecureRequests] : [enableNonRepudiationChecks],
    });
  } catch (cause) {
    throw new DeployError('E_OIDC_AWAY', `${name} cannot be used now: ${reasonOf(cause)}`, { cause });
  }
}

async function library(): Promise<typeof import('openid-client')> {
  try {
    return await import('openid-client');
  } catch (error) {
    throw asMissingPackage(error, 'The login with OpenID Connect') ?? error;
  }
}

/** `fetch failed` says nothing; its cause does. */
function reasonOf(error: unknown): string {
  const { cause } = error as { cause?: unknown };
  const reason = cause instanceof Error && cause.message !== '' ? cause.message : codeOf(cause);
  return typeof reason === 'string' && reason !== '' ? `${messageOf(error)} (${reason})` : messageOf(error);
}

const codeOf = (error: unknown): unknown => (typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined);

function refusalOf(error: unknown, name: string): unknown {
  if (error instanceof DeployError) return error;
  const { error: told, error_description: described } = error as Partial<AuthorizationResponseError & ResponseBodyError>;
  if (typeof told === 'string') return new DeployError('E_OIDC_REFUSED', `${name} refuses the login: ${described ?? told}`, { cause: error, details: { error: told } });
  // A TypeError is what fetch() throws when nobody answers.
  if ((error instanceof TypeError && error.message === 'fetch failed') || AWAY.includes((error as Partial<ClientError>).code)) return new DeployError('E_OIDC_AWAY', `${name} cannot be used now: ${reasonOf(error)}`, { cause: error });
  return new DeployError('E_OIDC_REFUSED', `The answer of ${name} cannot be believed: ${reasonOf(error)}`, { cause: error });
}
