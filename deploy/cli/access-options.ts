import { isIP } from 'node:net';
import { InvalidArgumentError, Option, type Command } from 'commander';
import type { DashboardOptions } from '../dashboard/server.js';
import { DeployError } from '../errors.js';
import { auditFile, AuditLog, DEFAULT_DAYS, LEAST_DAYS } from '../users/audit.js';
import { UserDirectory, usersFile } from '../users/users.js';
import { readSmallFile } from './files.js';
import { addOidcOptions, oidcOf, type PageOidcOptions } from './oidc-options.js';
import { integer, repeated } from './options.js';

export const usersOption = (): Option => new Option('--users <file>', 'the users of the page; default: users.json in STERNA_FLEET_DIR, else in ~/.local/state/sterna/fleet');
export const auditOption = (): Option => new Option('--audit <file>', 'the audit log of the page; default: audit.db in STERNA_FLEET_DIR, else in ~/.local/state/sterna/fleet');

export interface PageAccessOptions extends PageOidcOptions {
  users?: string;
  audit?: string;
  auditDays: number;
  listen: string;
  tlsCert?: string;
  tlsKey?: string;
  allowHost: string[];
  metricsTokenFile?: string;
}

function address(text: string): string {
  if (isIP(text) === 0) throw new InvalidArgumentError(`Expected an IP address but received ${text}`);
  return text;
}

/** Adds who may use the page, and from where. */
export function addAccessOptions(command: Command): Command {
  return addOidcOptions(command
    .addOption(usersOption())
    .addOption(auditOption())
    .option('--audit-days <n>', 'how long entries of the audit log are kept', integer(LEAST_DAYS), DEFAULT_DAYS)
    .option('--listen <address>', 'address of the page; others than loopback need --tls-cert, --tls-key and a user or --oidc-issuer', address, '127.0.0.1')
    .option('--tls-cert <file>', 'certificate (chain) of the page, PEM')
    .option('--tls-key <file>', 'private key of the certificate, PEM')
    .option('--allow-host <name>', 'host name under which browsers ask for the page, beside loopback and --listen; may be repeated', repeated, [])
    .option('--metrics-token-file <file>', 'where there is a login: the token with which Prometheus reads /metrics'));
}

/** What of these the page takes. @throws DeployError E_USAGE, E_TLS, E_USERS, E_AUDIT, E_FILE, and RuntimeError E_DEPENDENCY */
export async function accessOf(options: PageAccessOptions): Promise<Pick<DashboardOptions, 'listen' | 'tls' | 'hosts' | 'access'> & { audit: AuditLog }> {
  const { tlsCert, tlsKey, metricsTokenFile } = options;
  if ((tlsCert === undefined) !== (tlsKey === undefined)) throw new DeployError('E_USAGE', 'Expected both --tls-cert and --tls-key, or neither');
  const tls = tlsCert === undefined || tlsKey === undefined ? {} : { tls: { cert: readSmallFile(tlsCert, 'E_TLS'), key: readSmallFile(tlsKey, 'E_TLS') } };
  const token = metricsTokenFile === undefined ? undefined : readSmallFile(metricsTokenFile).toString('utf8').trim();
  if (token !== undefined && token.length < 16) throw new DeployError('E_FILE', `Expected a token of at least 16 characters in ${metricsTokenFile ?? ''}: openssl rand -hex 32 makes one`);
  const oidc = oidcOf(options, tlsCert !== undefined);
  await oidc?.load();
  const users = new UserDirectory(options.users ?? usersFile());
  const audit = new AuditLog(options.audit ?? auditFile(), options.auditDays);
  const hosts = [...options.allowHost, ...(oidc === null ? [] : [oidc.publicUrl.hostname])];
  return { listen: options.listen, hosts, ...tls, audit, access: { users, audit, ...(oidc === null ? {} : { oidc }), ...(token === undefined ? {} : { metricsToken: token }) } };
}
