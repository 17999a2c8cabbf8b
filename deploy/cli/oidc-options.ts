import { InvalidArgumentError, type Command } from 'commander';
import { isLoopback } from '../dashboard/hosts.js';
import { DeployError } from '../errors.js';
import { OidcLogin } from '../users/oidc.js';
import { defaultSessionLimits } from '../users/sessions.js';
import { readSmallFile } from './files.js';
import { integer, repeated } from './options.js';

export interface PageOidcOptions {
  oidcIssuer?: URL;
  oidcClient?: string;
  oidcSecretFile?: string;
  oidcName?: string;
  oidcScopes: string;
  oidcRolesClaim: string;
  oidcOperators: string[];
  oidcViewers: string[];
  oidcSession: number;
  publicUrl?: URL;
}

const MOST_MINUTES = defaultSessionLimits.absoluteMs / 60_000;

/** Adds the login with a provider of OpenID Connect. */
export function addOidcOptions(command: Command): Command {
  return command
    .option('--oidc-issuer <url>', 'log in with this provider of OpenID Connect, beside local users, for example https://sso.example/realms/fleet; needs the package openid-client', url)
    .option('--oidc-client <id>', 'name of the page at the provider')
    .option('--oidc-secret-file <file>', 'the secret of the page at the provider; without, it is a public client')
    .option('--public-url <url>', 'where browsers find the page; the provider sends them to api/oidc/callback below it', url)
    .option('--oidc-operators <value>', 'who has this value in the roles claim is an operator; may be repeated', repeated, [])
    .option('--oidc-viewers <value>', 'who has this value in the roles claim is a viewer, and everybody else is refused; may be repeated', repeated, [])
    .option('--oidc-roles-claim <name>', 'claim of the ID token, or of the userinfo endpoint, with groups or roles; a.b is b within a', 'groups')
    .option('--oidc-scopes <scopes>', 'what the provider is asked for, separated by spaces', 'openid profile')
    .option('--oidc-session <minutes>', `how long a session lasts, at most ${MOST_MINUTES}; until then the page does not notice that somebody lost a role at the provider`, integer(1), 60)
    .option('--oidc-name <name>', 'what the form of the login calls the provider; default: its host name');
}

/** @throws DeployError E_USAGE, E_FILE */
export function oidcOf(options: PageOidcOptions, tls: boolean): OidcLogin | null {
  const { oidcIssuer: issuer, oidcClient: clientId, publicUrl, oidcOperators: operators, oidcViewers: viewers, oidcSecretFile, oidcScopes: scopes } = options;
  const usage = (message: string): DeployError => new DeployError('E_USAGE', message);
  if (issuer === undefined) {
    const others = [clientId, publicUrl, oidcSecretFile, options.oidcName, ...operators, ...viewers];
    if (others.some((value) => value !== undefined)) throw usage('A login with OpenID Connect needs --oidc-issuer');
    return null;
  }
  if (clientId === undefined || publicUrl === undefined) throw usage('--oidc-issuer needs --oidc-client and --public-url');
  if (operators.length + viewers.length === 0) throw usage('--oidc-issuer needs --oidc-operators or --oidc-viewers: without, it would let nobody in');
  if (issuer.hash !== '' || issuer.search !== '') throw usage('Expected --oidc-issuer without ? and # (OpenID Connect Discovery 1.0, section 3)');
  if (issuer.protocol !== 'https:' && !onLoopback(issuer)) throw usage(`Expected --oidc-issuer of https:, because what it says opens the page, but received ${issuer.href}`);
  if (publicUrl.pathname !== '/' || publicUrl.search !== '' || publicUrl.hash !== '') throw usage('Expected --public-url with no path');
  if ((publicUrl.protocol === 'https:') !== tls) throw usage(tls ? 'Expected --public-url of https:, as the page has a certificate' : 'Expected --public-url of http:, or --tls-cert and --tls-key');
  if (!scopes.split(' ').includes('openid')) throw usage('Expected --oidc-scopes with openid');
  if (options.oidcSession > MOST_MINUTES) throw usage(`Expected --oidc-session of at most ${MOST_MINUTES} minutes`);
  return new OidcLogin({
    issuer, clientId, publicUrl, operators, viewers, scopes, rolesClaim: options.oidcRolesClaim, name: options.oidcName ?? issuer.hostname, sessionMs: options.oidcSession * 60_000,
    ...(oidcSecretFile === undefined ? {} : { clientSecret: secretIn(oidcSecretFile) }),
  });
}

/** @throws DeployError E_FILE */
function secretIn(file: string): string {
  const secret = readSmallFile(file).toString('utf8').trim();
  if (secret === '') throw new DeployError('E_FILE', `Expected the client's secret in ${file}, which is empty`);
  return secret;
}

function url(text: string): URL {
  const parsed = URL.canParse(text) ? new URL(text) : null;
  if (parsed === null || !['http:', 'https:'].includes(parsed.protocol) || parsed.username !== '' || parsed.password !== '') throw new InvalidArgumentError(`Expected an address of https: or http:, without a user, but received ${text}`);
  return parsed;
}

const onLoopback = ({ hostname }: URL): boolean => hostname === 'localhost' || isLoopback(hostname.replace(/^\[(.*)\]$/, '$1'));
