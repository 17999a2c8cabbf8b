/** A certificate authority for the broker and its clients, with openssl: every machine that prepares devices has it, and a library would add eleven packages. */
import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { requireId, type DeviceAddress } from '../../agent/contracts/index.js';
import { messageOf } from '../../runtime/errors.js';
import { DeployError } from '../errors.js';
import { deviceUser, emqxAcl, mosquittoAcl, rabbitmqDefinitions } from './access.js';

/** Files of one party. */
export interface Identity {
  cert: string;
  key: string;
}

const devicesSchema = z.array(z.object({ fleet: z.string(), device: z.string() }));
const CURVE = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'] as const;

export class Authority {
  readonly folder: string;

  /** Opens the authority of a folder, or makes one. @throws DeployError E_PROVISION */
  constructor(folder: string, { days = 3650 } = {}) {
    this.folder = folder;
    if (existsSync(this.ca)) return;
    make(folder);
    this.#openssl('req', '-x509', ...CURVE, '-nodes', '-days', String(days), '-subj', '/CN=Sterna fleet authority', '-addext', 'basicConstraints=critical,CA:TRUE,pathlen:0', '-addext', 'keyUsage=critical,keyCertSign,cRLSign', '-keyout', 'ca.key', '-out', 'ca.pem');
    chmodSync(join(folder, 'ca.key'), 0o600);
  }

  get ca(): string {
    return join(this.folder, 'ca.pem');
  }

  /** A key and a certificate of a client. @throws DeployError E_PROVISION when its files exist */
  issue(name: string, file: string, days: number): Identity {
    const request = this.request(name, file);
    return { key: request.key, cert: this.sign(request.csr, file, { days, usage: 'clientAuth' }) };
  }

  /** A key, and a request for whichever authority you have. @throws DeployError E_PROVISION */
  request(name: string, file: string): { key: string; csr: string } {
    const key = join(this.folder, `${file}.key`);
    if (existsSync(key)) throw new DeployError('E_PROVISION', `${key} exists already; a key is never overwritten`);
    this.#openssl('req', ...CURVE, '-nodes', '-subj', subject(name), '-keyout', `${file}.key`, '-out', `${file}.csr`);
    chmodSync(key, 0o600);
    return { key, csr: `${file}.csr` };
  }

  /** A certificate for an operator, unless there is one. */
  ensure(name: string, days: number): void {
    if (!existsSync(join(this.folder, `${requireId('operator', name)}.pem`))) this.issue(name, name, days);
  }

  ensureServer(host: string, days: number): void {
    if (!existsSync(join(this.folder, 'broker.pem'))) this.issueServer(host, days);
  }

  /** For the broker itself. @param host its name, or an IP address */
  issueServer(host: string, days: number): Identity {
    const { key, csr } = this.request('broker', 'broker');
    const names = /^[\d.]+$|:/.test(host) ? `IP:${host}` : `DNS:${host}`;
    return { key, cert: this.sign(csr, 'broker', { days, usage: 'serverAuth', names }) };
  }

  sign(csr: string, file: string, { days, usage, names }: { days: number; usage: 'clientAuth' | 'serverAuth'; names?: string }): string {
    const extensions = ['basicConstraints=critical,CA:FALSE', 'keyUsage=critical,digitalSignature', `extendedKeyUsage=${usage}`, ...(names === undefined ? [] : [`subjectAltName=${names}`])];
    writeFileSync(join(this.folder, `${file}.ext`), extensions.join('\n'));
    this.#openssl('x509', '-req', '-in', csr, '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial', '-days', String(days), '-extfile', `${file}.ext`, '-out', `${file}.pem`);
    return join(this.folder, `${file}.pem`);
  }

  #openssl(...args: string[]): void {
    try {
      execFileSync('openssl', args, { cwd: this.folder, stdio: ['ignore', 'ignore', 'pipe'] });
    } catch (cause) {
      const missing = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT';
      throw new DeployError('E_PROVISION', missing ? 'openssl is missing; install it (apt install openssl)' : `openssl ${args[0] ?? ''} failed: ${cause instanceof Error ? cause.message.slice(0, 2000) : String(cause)}`, { cause });
    }
  }
}

export interface Provisioned {
  /** What the device needs, in one folder. */
  folder: string;
  csr: string | null;
  devices: DeviceAddress[];
}

export interface ProvisionOptions {
  /** Texts of the pinned roots. */
  roots: { image: string; director: string };
  broker: string;
  days: number;
  /** A certificate request instead of a certificate. */
  request: boolean;
  operators: readonly string[];
  labels?: Readonly<Record<string, string>>;
}

/**
 * Makes the folder of one device: key, certificate (or a request for one), authority, pinned roots, and its part of the configuration; and writes the ACLs of all devices that were provisioned here.
 * @throws DeployError E_PROVISION
 */
export function provision(access: string, address: DeviceAddress, { roots, broker, days, request, operators, labels }: ProvisionOptions): Provisioned {
  requireId('fleet', address.fleet);
  const known = knownDevices(access);
  const authority = new Authority(join(access, 'authority'));
  const folder = join(access, 'devices', address.fleet, requireId('device', address.device));
  const file = `${address.fleet}.${address.device}`;
  const own = request ? { ...authority.request(deviceUser(address), file), cert: null } : { ...authority.issue(deviceUser(address), file, days), csr: null };
  make(folder);
  copyFileSync(authority.ca, join(folder, 'ca.pem'));
  copyFileSync(own.key, join(folder, 'device.key'));
  chmodSync(join(folder, 'device.key'), 0o600);
  if (own.cert !== null) copyFileSync(own.cert, join(folder, 'device.pem'));
  if (own.csr !== null) copyFileSync(join(authority.folder, own.csr), join(folder, 'device.csr'));
  writeFileSync(join(folder, 'image-root.json'), roots.image);
  writeFileSync(join(folder, 'director-root.json'), roots.director);
  writeFileSync(join(folder, 'sterna.yaml'), configText(address, broker, labels));
  const devices = remember(access, known, address);
  writeFileSync(join(access, 'mosquitto.acl'), mosquittoAcl(devices, operators));
  writeFileSync(join(access, 'emqx-acl.conf'), emqxAcl(devices, operators));
  writeFileSync(join(access, 'rabbitmq-definitions.json'), rabbitmqDefinitions(devices, operators));
  return { folder, csr: own.csr === null ? null : join(folder, 'device.csr'), devices };
}

function configText({ fleet, device }: DeviceAddress, broker: string, labels: Readonly<Record<string, string>> = {}): string {
  return [
    '# Written by sterna provision: put this folder on the device, for example as /etc/sterna.', `device_id: ${device}`, `fleet: ${fleet}`,
    ...(Object.keys(labels).length === 0 ? [] : [`labels: ${JSON.stringify(labels)}`]),
    'broker:', `  url: ${JSON.stringify(broker)}`, '  tls: { ca: ca.pem, cert: device.pem, key: device.key }', 'trust: { image_root: image-root.json, director_root: director-root.json }', '',
  ].join('\n');
}

const devicesFile = (access: string): string => join(access, 'devices.json');

/** The devices of the ACLs. @throws DeployError E_PROVISION: without them, the ACLs would lock out every device but the new one */
function knownDevices(access: string): DeviceAddress[] {
  const path = devicesFile(access);
  if (!existsSync(path)) return [];
  try {
    return devicesSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (cause) {
    throw new DeployError('E_PROVISION', `${path} is damaged: ${messageOf(cause)}. Restore it from a copy, or write the devices that mosquitto.acl names into it as [{"fleet": "...", "device": "..."}]`, { cause });
  }
}

function remember(access: string, known: readonly DeviceAddress[], { fleet, device }: DeviceAddress): DeviceAddress[] {
  const devices = [...known.filter((other) => other.fleet !== fleet || other.device !== device), { fleet, device }];
  writeFileSync(devicesFile(access), `${JSON.stringify(devices, null, 1)}\n`);
  return devices;
}

/** OpenSSL separates the parts of a subject by "/", so the one in the name is escaped. */
const subject = (name: string): string => `/CN=${name.replaceAll('/', '\\/')}`;

function make(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
}
