/** The public keys of devices, for whoever reads reports: the certificates that `sterna provision` has written, or those that were put beside them. */
import { createPublicKey, X509Certificate, type KeyObject } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ID_PATTERN, isReportKey, type DeviceAddress } from '../../agent/contracts/index.js';
import { messageOf } from '../../runtime/errors.js';
import { DeployError } from '../errors.js';
import { deviceUser } from './access.js';

/** What is known of the keys of one device. */
export interface DeviceKeys {
  keys: readonly KeyObject[];
  /** Why a file was not taken. */
  problems: readonly string[];
}

export interface ReportKeys {
  /** Of a device that nobody knows: no keys. Must not throw. */
  of(address: DeviceAddress): DeviceKeys;
  /** Where they come from, for messages. */
  readonly source: string;
}

/** Files are read again after this time, so that a server sees new, renewed and withdrawn certificates. */
const KEEP_MS = 10_000;
/** Devices whose keys are kept in memory, about 2 KiB each. */
const MAX_KEPT = 20_000;
const PEM = /-----BEGIN (CERTIFICATE|PUBLIC KEY)-----[\s\S]*?-----END \1-----/g;

/**
 * Keys in a folder that `sterna provision` has written (`--access`). Of a device it reads `authority/{fleet}.{device}.pem` and `devices/{fleet}/{device}/device.pem`
 * when a report of it arrives. A file may hold several certificates, such as the old and the new one during a renewal, or public keys. A certificate counts only
 * for the device that it names (common name `{fleet}/{device}`). Dates are not looked at: the broker refuses an expired certificate, and a clock that is wrong
 * must not silence a fleet. To stop believing a device, delete its certificate.
 */
export class AccessFolderKeys implements ReportKeys {
  readonly source: string;
  readonly #now: () => number;
  readonly #kept = new Map<string, { untilMs: number; known: DeviceKeys }>();

  /** @throws DeployError E_FILE when the folder has no authority and no devices */
  constructor(folder: string, now: () => number = () => performance.now()) {
    if (!AccessFolderKeys.in(folder)) throw new DeployError('E_FILE', `${folder} has neither authority/ nor devices/: expected the folder that sterna provision writes certificates to`, { details: { path: folder } });
    this.source = folder;
    this.#now = now;
  }

  /** Whether certificates of devices can be in a folder. */
  static in(folder: string): boolean {
    return ['authority', 'devices'].some((name) => existsSync(join(folder, name)));
  }

  of(address: DeviceAddress): DeviceKeys {
    if (!ID_PATTERN.test(address.fleet) || !ID_PATTERN.test(address.device)) return { keys: [], problems: [] };
    const name = `${address.fleet}/${address.device}`;
    const nowMs = this.#now();
    const kept = this.#kept.get(name);
    if (kept !== undefined && nowMs < kept.untilMs) return kept.known;
    const known = this.#read(address);
    this.#kept.delete(name);
    this.#kept.set(name, { untilMs: nowMs + KEEP_MS, known });
    for (const oldest of this.#kept.size > MAX_KEPT ? this.#kept.keys() : []) {
      this.#kept.delete(oldest);
      break;
    }
    return known;
  }

  #read(address: DeviceAddress): DeviceKeys {
    const { fleet, device } = address;
    const keys: KeyObject[] = [], problems: string[] = [];
    for (const path of [join(this.source, 'authority', `${fleet}.${device}.pem`), join(this.source, 'devices', fleet, device, 'device.pem')]) {
      try {
        if (existsSync(path)) keys.push(...keysIn(readFileSync(path, 'utf8'), address));
      } catch (error) {
        problems.push(`${path}: ${messageOf(error)}`);
      }
    }
    return { keys, problems };
  }
}

/** @throws Error for a certificate of somebody else, and for a key that reports cannot be signed with */
function keysIn(text: string, address: DeviceAddress): KeyObject[] {
  const found = [...text.matchAll(PEM)];
  if (found.length === 0) throw new Error('expected certificates or public keys as PEM');
  return found.map(([pem, kind]) => {
    const key = kind === 'CERTIFICATE' ? keyOfCertificate(pem, address) : createPublicKey(pem);
    if (!isReportKey(key)) throw new Error(`a key of type ${key.asymmetricKeyType ?? 'unknown'} cannot sign reports`);
    return key;
  });
}

function keyOfCertificate(pem: string, address: DeviceAddress): KeyObject {
  const certificate = new X509Certificate(pem);
  const names = certificate.subject.split('\n').filter((line) => line.startsWith('CN='));
  const expected = `CN=${deviceUser(address)}`;
  if (names.length !== 1 || names[0] !== expected) throw new Error(`the certificate has the subject ${JSON.stringify(certificate.subject)} where ${expected} was expected`);
  return certificate.publicKey;
}
