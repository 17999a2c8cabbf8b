import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { IClientOptions } from 'mqtt';
import type { Config } from '../config/schema.js';
import { credentialFile } from '../platform/credentials.js';

/**
 * Reads a secret file. A file that only root may read, such as a key in /etc/sterna, is also handed to this service as a systemd credential with the
 * same name (systemd/sternad.service).
 */
function readSecret(path: string, env: NodeJS.ProcessEnv): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    const credential = error instanceof Error && 'code' in error && error.code === 'EACCES' ? credentialFile(env, basename(path)) : null;
    if (credential === null) throw error;
    return readFileSync(credential);
  }
}

/**
 * The name and secrets with which this device logs in to the broker, and the certificates that it trusts, in the form that MQTT.js takes. The files
 * are read at each call, so that a renewed certificate is used at the next connection.
 * @throws errors of the file system
 */
export function loginOf({ username, password_file: passwordFile, tls }: Config['broker'], env: NodeJS.ProcessEnv = process.env): IClientOptions {
  return {
    ...(username === undefined ? {} : { username }),
    ...(passwordFile === undefined ? {} : { password: readSecret(passwordFile, env).toString('utf8').trimEnd() }),
    ...(tls?.ca === undefined ? {} : { ca: readFileSync(tls.ca) }),
    ...(tls?.cert === undefined ? {} : { cert: readFileSync(tls.cert) }),
    ...(tls?.key === undefined ? {} : { key: readSecret(tls.key, env) }),
  };
}
