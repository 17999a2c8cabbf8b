import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto';
import { isReportKey, reportKeyId, signReport, type DeviceAddress, type Reported } from '../contracts/index.js';
import { AgentError, toCodedError } from '../errors.js';
import { messageOf } from '../../runtime/errors.js';
import type { FaultPort } from '../ground/faults.js';
import { readSecret } from '../platform/credentials.js';

export interface ReportSignerParts {
  address: DeviceAddress;
  /** PEM file of the private key; undefined: reports go out without a signature. */
  keyFile: string | undefined;
  env: NodeJS.ProcessEnv;
  faults: FaultPort;
}

export interface ReportKey { privateKey: KeyObject; keyId: string }

/** Signs reports with the key of this device. A key that cannot be used is a fault, and does not keep the device from reporting. */
export class ReportSigner {
  readonly #parts: ReportSignerParts;
  #key: ReportKey | null = null;
  #connection: number | null = null;

  constructor(parts: ReportSignerParts) {
    this.#parts = parts;
  }

  /**
   * @param connection number of the connection: the key is read again at each, as that of TLS is, so that both are renewed together
   * @param build makes the report when the key has been read, so that it shows whether that failed
   */
  sign(connection: number, build: () => Reported): Reported {
    const { keyFile, faults, address, env } = this.#parts;
    if (keyFile === undefined) return build();
    try {
      if (this.#connection !== connection) this.#key = null;
      this.#key ??= readReportKey(keyFile, env);
      this.#connection = connection;
      faults.clear('agent', 'E_REPORT_KEY');
    } catch (error) {
      faults.raise('agent', toCodedError(error), 'warning');
    }
    const report = build();
    return this.#key === null ? report : signReport(address, report, this.#key);
  }
}

/** @throws AgentError E_REPORT_KEY for a file that cannot be read, and for a key that reports cannot be signed with */
export function readReportKey(path: string, env: NodeJS.ProcessEnv): ReportKey {
  const privateKey = parseKey(path, env);
  if (!isReportKey(privateKey)) throw new AgentError('E_REPORT_KEY', `${path}: reports cannot be signed with a key of type ${privateKey.asymmetricKeyType ?? 'unknown'}; use Ed25519, ECDSA with P-256, or RSA of at least 2048 bits. Reports are not signed`);
  return { privateKey, keyId: reportKeyId(createPublicKey(privateKey)) };
}

function parseKey(path: string, env: NodeJS.ProcessEnv): KeyObject {
  try {
    return createPrivateKey(readSecret(path, env));
  } catch (cause) {
    throw new AgentError('E_REPORT_KEY', `${path} cannot be read as a private key: ${messageOf(cause)}. Reports are not signed`, { cause });
  }
}
