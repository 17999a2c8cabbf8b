/** Client ids that nobody else can tell: whoever connects with the id of another client ends its connection, and on some brokers takes over its session. */
import type { DeviceAddress } from './topics.js';
import { createHmac, createPrivateKey, randomBytes, scryptSync, type BinaryLike } from 'node:crypto';

/** What a client proves with who it is: its private key (PEM), or else its password, which the address of the broker may carry. */
export interface LoginSecret {
  url: string;
  key?: Buffer;
  password?: string;
}

/** Characters (0-9, a-f) after the last `-` of an id. */
export const CLIENT_ID_SUFFIX = 16;
const PURPOSE = 'sterna client id';
/** 4 MB and some 10 ms: a broker's log has client ids, and must not be a quick way to guess passwords. */
const SCRYPT = { N: 4096, r: 8, p: 1 };

/** How the id of a device's daemon begins. */
export const deviceClientName = ({ fleet, device }: DeviceAddress): string => `sterna-${fleet}-${device}`;

/**
 * An id that stays the same as long as the secret does, so that a client finds its session again and replaces its own connection of before a crash. Where
 * clients log in without a secret everybody may do everything anyway, and the id is `name`.
 */
export function privateClientId(name: string, { url, key, password }: LoginSecret): string {
  const word = password ?? (URL.canParse(url) ? new URL(url).password : '');
  if (key === undefined && word === '') return name;
  const secret = key === undefined ? scryptSync(word, PURPOSE, 32, SCRYPT) : keyBytes(key);
  return `${name}-${createHmac('sha256', secret).update(`${PURPOSE}\0${name}`).digest('hex').slice(0, CLIENT_ID_SUFFIX)}`;
}

/** An id for one connection. */
export function randomClientId(name: string): string {
  return `${name}-${randomBytes(CLIENT_ID_SUFFIX / 2).toString('hex')}`;
}

/** The same for every way of writing one key. What is no key is left to TLS to refuse. */
function keyBytes(pem: Buffer): BinaryLike {
  try {
    return createPrivateKey(pem).export({ type: 'pkcs8', format: 'der' });
  } catch {
    return pem;
  }
}
