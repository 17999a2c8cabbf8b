import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { HeldPackage } from '../publish/packages.js';
import { Director } from '../repository/director.js';
import { createKey } from '../repository/keys.js';
import type { DeviceKeys, ReportKeys } from '../repository/report-keys.js';
import { Repository } from '../repository/repository.js';
import type { RoleKeysInput } from '../repository/roles.js';

/** The demonstration's keys and repository, kept with its state. On one machine the keys lie unencrypted side by side; for real devices they must not. */
export class DemoTrust implements ReportKeys {
  readonly source = 'the demonstration';
  readonly repository: Repository;
  readonly director: Director;
  #reportKey: KeyObject | null = null;

  /** Opens the repository of an earlier run, or makes one. @throws DeployError E_KEY, E_REPOSITORY */
  constructor(folder: string) {
    const path = join(folder, 'repository');
    this.repository = existing(path) ?? make(path);
    this.repository.refresh();
    this.director = new Director(this.repository);
  }

  /** The key of the only device, once it is provisioned. */
  of(): DeviceKeys {
    return { keys: this.#reportKey === null ? [] : [this.#reportKey], problems: [] };
  }

  /** Signs a package for machines like this one. */
  add(held: HeldPackage): void {
    this.repository.add(held, { hardwareIds: [process.arch], releaseCounter: held.releaseCounter });
  }

  /**
   * What `sterna provision` does for a real device: gives it the roots that it trusts from then on, and a key for its reports. The broker of the demonstration
   * has no TLS, so this key is not that of a certificate.
   */
  async provision(folder: string): Promise<{ image_root: string; director_root: string; report_key: string }> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const files = { image_root: join(folder, 'image-root.json'), director_root: join(folder, 'director-root.json'), report_key: join(folder, 'report.key') };
    this.#reportKey = reportKey(files.report_key);
    await copyFile(join(this.repository.folder.path, 'image', '1.root.json'), files.image_root);
    await copyFile(join(this.repository.folder.path, 'director', '1.root.json'), files.director_root);
    return files;
  }
}

/** The public half of the key in a file, which is made if it is not there. */
function reportKey(path: string): KeyObject {
  if (!existsSync(path)) writeFileSync(path, generateKeyPairSync('ec', { namedCurve: 'P-256', privateKeyEncoding: { type: 'pkcs8', format: 'pem' }, publicKeyEncoding: { type: 'spki', format: 'pem' } }).privateKey, { mode: 0o600 });
  return createPublicKey(createPrivateKey(readFileSync(path)));
}

function existing(path: string): Repository | null {
  try {
    const repository = Repository.open(path);
    repository.root('director');
    return repository;
  } catch {
    return null; // none yet, or one that was cut off while it was made
  }
}

function make(path: string): Repository {
  rmSync(path, { recursive: true, force: true });
  const key = (role: string): RoleKeysInput => ({ keys: [createKey(join(path, 'keys', `${role}.json`))], threshold: 1 });
  return Repository.init(path, { root: key('root'), targets: key('targets'), snapshot: key('snapshot'), timestamp: key('timestamp'), director: key('director'), operator: key('operator') }).repository;
}
