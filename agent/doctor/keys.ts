/** Checks what this device trusts and what proves who it is: pinned roots, certificates, keys. */
import { X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '../../runtime/errors.js';
import type { Config } from '../config/schema.js';
import { rootFiles } from '../config/root-files.js';
import { readReportKey } from '../report/signer.js';
import type { Decoded, RepositoryName } from '../trust/metadata.js';
import { decodePinnedRoot, isDirectorRoot } from '../trust/repository.js';
import { checksOf, type Check } from './check.js';

const DAY_MS = 86_400_000;
const EXPIRES_SOON_DAYS = 30;

function checkRoots(config: Config): Check[] {
  const [image, director] = (['image', 'director'] as const).map((name) => checkRoot(config, name));
  if (image === undefined || director === undefined) return [];
  const both = [image.root, director.root].flatMap((root) => (root === null ? [] : [root]));
  const [keys, others] = both.map((root) => root.signed.roles['targets']?.keyIDs ?? []);
  const shared = keys?.filter((key) => others?.includes(key) === true) ?? [];
  return [image.check, director.check, ...(shared.length === 0 ? [] : [checksOf('trust').warning('both roots trust the same key to name packages, so whoever has it decides alone', {
    details: { shared_keys: shared }, remedy: 'pin the image root and the director root of one repository (sterna provision); if they are, give one of them a key of its own (sterna repository rotate)',
  })])];
}

/** Null as the root: it cannot be used. */
function checkRoot(config: Config, name: RepositoryName): { check: Check; root: Decoded<'root'> | null } {
  const report = checksOf('trust');
  const path = rootFiles(config.state_dir, config.trust)[name];
  try {
    const root = decodePinnedRoot(name, readFileSync(path, 'utf8'));
    const { signed, expiresMs } = root;
    const details = { path, version: signed.version, expires_ms: expiresMs };
    const until = new Date(expiresMs).toISOString().slice(0, 10);
    if (expiresMs < Date.now()) return { root, check: report.warning(`the pinned ${name} root expired on ${until}`, { details, remedy: 'newer roots come with the next publication; if none does, rotate the root (sterna repository rotate)' }) };
    if (name === 'director' && !isDirectorRoot(root)) return { root, check: report.warning(`${path} lets nobody give commands: it may be the image root in the place of the director root`, { details, remedy: 'put the director-root.json there that sterna provision wrote' }) };
    return { root, check: report.ok(`${name} root, version ${signed.version}, until ${until}`, { details }) };
  } catch (error) {
    return { root: null, check: report.failed(`no usable ${name} root: ${messageOf(error)}`, { details: { path }, remedy: `the device installs nothing without it: put the ${name}-root.json that sterna provision wrote to ${path}` }) };
  }
}

/** The certificates of this device for the broker and for the web server, which may be the same. */
function checkCertificates({ broker, ota }: Config): Check[] {
  return [...new Set([broker.tls?.cert, ota.web?.cert])].flatMap((path) => (path === undefined ? [] : checkCertificate(path)));
}

function checkCertificate(path: string): Check[] {
  const report = checksOf('certificate');
  try {
    const certificate = new X509Certificate(readFileSync(path));
    const days = Math.floor((Date.parse(certificate.validTo) - Date.now()) / DAY_MS);
    const details = { path, subject: certificate.subject, days_left: days };
    const remedy = 'make a new one (sterna provision) and put it in its place; the daemon reads it at the next connection';
    if (days < 0) return [report.failed(`${certificate.subject} expired ${-days} days ago`, { details, remedy })];
    return [days < EXPIRES_SOON_DAYS ? report.warning(`${certificate.subject} expires in ${days} days`, { details, remedy }) : report.ok(`${certificate.subject}, ${days} days left`, { details })];
  } catch (error) {
    return [report.failed(`${path}: ${messageOf(error)}`, { remedy: 'expected the certificate of this device as PEM' })];
  }
}

/** Checks whether other users may read a secret. */
function checkSecret(path: string): Check[] {
  const report = checksOf('secrets');
  if (!existsSync(path)) return [];
  const mode = statSync(path).mode & 0o777;
  return [(mode & 0o077) === 0 ? report.ok(`${path} is its owner's alone`) : report.warning(`others may read ${path} (mode ${mode.toString(8)})`, { remedy: `chmod 600 ${path}` })];
}

/** Whether the fleet side can believe this device: it verifies reports by the certificate of the device, or by the public key that was put in its place. */
function checkReportKey({ broker, trust, fleet, device_id: device }: Config, env: NodeJS.ProcessEnv): Check[] {
  const report = checksOf('reports');
  const path = trust.report_key ?? broker.tls?.key;
  if (broker.url === null) return [];
  if (path === undefined) return [report.none('reports are not signed: a hostile broker could invent them', { remedy: 'log in with a certificate (sterna provision), or set trust.report_key' })];
  const remedy = trust.report_key === undefined ? 'make key and certificate together (sterna provision)' : 'set trust.report_key to a private key as PEM, or leave it out: then reports are signed with the key of broker.tls';
  try {
    const { keyId, privateKey } = readReportKey(path, env);
    const details = { path, key_id: keyId };
    const certificate = broker.tls?.cert === undefined ? null : new X509Certificate(readFileSync(broker.tls.cert));
    if (certificate?.checkPrivateKey(privateKey) !== true) {
      const elsewhere = `devices/${fleet}/${device}/device.pem of the folder that the fleet side reads (--access)`;
      if (trust.report_key !== undefined) return [report.warning(`reports are signed with ${path}, which is not the key of ${broker.tls?.cert ?? 'a certificate'}`, { details, remedy: `put its public key into ${elsewhere}: openssl pkey -in ${path} -pubout` })];
      return [report.failed(`${path} is not the key of ${broker.tls?.cert ?? 'a certificate'}: neither login nor reports can be verified`, { details, remedy })];
    }
    const names = certificate.subject.split('\n').filter((line) => line.startsWith('CN='));
    if (names.join() !== `CN=${fleet}/${device}`) return [report.warning(`the certificate says ${names.join(', ') || 'no name'}; by it the fleet side believes reports of ${fleet}/${device} only with CN=${fleet}/${device}`, { details, remedy: 'issue it for that name (sterna provision), or put the public key in its place on the fleet side' })];
    return [report.ok(`reports are signed with ${path}, the key of ${names.join()}`, { details })];
  } catch (error) {
    return [report.failed(messageOf(error), { details: { path }, remedy })];
  }
}

/** @param env where systemd's credentials are found */
export function checkKeys(config: Config, env: NodeJS.ProcessEnv = process.env): Check[] {
  const trust = config.broker.url === null ? [] : config.trust.unsigned
    ? [checksOf('trust').warning('the unsigned mode of development is on: whoever may publish to this device decides what it runs', { remedy: 'pin both roots (sterna provision), and remove trust.unsigned' })]
    : checkRoots(config);
  const secrets = [join(config.state_dir, 'gallery.key'), config.gallery.key_file, config.broker.tls?.key, config.ota.web?.key, config.trust.report_key, config.broker.password_file].filter((path) => path !== undefined);
  return [...trust, ...checkCertificates(config), ...checkReportKey(config, env), ...[...new Set(secrets)].flatMap(checkSecret)];
}
