import { readFileSync } from 'node:fs';
import type { Config } from '../config/schema.js';
import { readSecret } from '../platform/credentials.js';

/** In the form that MQTT.js takes. */
export interface Login {
  username?: string;
  password?: string;
  ca?: Buffer;
  cert?: Buffer;
  key?: Buffer;
}

/**
 * The name and secrets with which this device logs in to the broker, and the certificates that it trusts. The files are read at each
 * call, so that a renewed certificate is used at the next connection.
 * @throws errors of the file system
 */
export function loginOf({ username, password_file: passwordFile, tls }: Config['broker'], env: NodeJS.ProcessEnv = process.env): Login {
  return {
    ...(username === undefined ? {} : { username }),
    ...(passwordFile === undefined ? {} : { password: readSecret(passwordFile, env).toString('utf8').trimEnd() }),
    ...(tls?.ca === undefined ? {} : { ca: readFileSync(tls.ca) }),
    ...(tls?.cert === undefined ? {} : { cert: readFileSync(tls.cert) }),
    ...(tls?.key === undefined ? {} : { key: readSecret(tls.key, env) }),
  };
}
