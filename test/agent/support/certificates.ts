import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporaryFolder } from './tools.js';

export const opensslMissing = spawnSync('openssl', ['version']).error !== undefined;

export interface Certificates {
  ca: string;
  /** Certificate and key of each name. */
  of: (name: string) => { cert: string; key: string };
}

/** A throw-away authority, and a certificate for each name with its subjectAltName. */
export function certificates(names: Readonly<Record<string, string>>): Certificates {
  const folder = temporaryFolder();
  const openssl = (...args: string[]): void => { execFileSync('openssl', args, { cwd: folder, stdio: 'ignore' }); };
  openssl('req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=ca', '-keyout', 'ca.key', '-out', 'ca.pem');
  for (const [name, subject] of Object.entries(names)) {
    openssl('req', '-newkey', 'rsa:2048', '-nodes', '-subj', `/CN=${name}`, '-keyout', `${name}.key`, '-out', `${name}.csr`);
    writeFileSync(join(folder, `${name}.ext`), `subjectAltName=${subject}`);
    openssl('x509', '-req', '-in', `${name}.csr`, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2', '-extfile', `${name}.ext`, '-out', `${name}.pem`);
  }
  return { ca: join(folder, 'ca.pem'), of: (name) => ({ cert: join(folder, `${name}.pem`), key: join(folder, `${name}.key`) }) };
}
