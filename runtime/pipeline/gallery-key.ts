/** The key of an encrypted gallery: where it is kept, and how a record is sealed with it (AES-256-GCM, NIST SP 800-38D). */
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { RuntimeError } from '../errors.js';

const KEY_BYTES = 32;
const ID_BYTES = 8;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Seals and opens the records of a gallery. `record` identifies the record: sealed bytes can be opened only for the record for which they were sealed. */
export interface GalleryKey {
  /** 16 hexadecimal digits that distinguish keys and reveal nothing about the key. The gallery's file stores the id of the key that it needs. */
  readonly id: string;
  /** @returns nonce, ciphertext and tag: 28 bytes more than `plain` */
  seal(record: string, plain: Uint8Array): Uint8Array;
  /** @throws RuntimeError E_GALLERY_TAMPERED when the bytes were changed, or belong to another record or key */
  open(record: string, sealed: Uint8Array): Uint8Array;
}

/**
 * A key from 32 secret random bytes.
 * @throws RuntimeError E_GALLERY_KEY for another length
 */
export function galleryKey(secret: Uint8Array): GalleryKey {
  if (secret.byteLength !== KEY_BYTES) throw new RuntimeError('E_GALLERY_KEY', `Expected a gallery key of ${KEY_BYTES} bytes but received ${secret.byteLength}`);
  return new AesKey(secret);
}

/**
 * The key in a file: 64 hexadecimal digits, as `openssl rand -hex 32` prints them.
 * @throws RuntimeError E_GALLERY_KEY when the file is not there, cannot be read, or holds something else
 */
export function readGalleryKey(path: string): GalleryKey {
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (cause) {
    throw new RuntimeError('E_GALLERY_KEY', `The gallery key ${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  // Says nothing about what was found: it may be most of a key.
  if (!/^[0-9a-f]{64}$/i.test(text)) throw new RuntimeError('E_GALLERY_KEY', `The gallery key ${path} is malformed: expected 64 hexadecimal digits, as "openssl rand -hex 32" prints them`);
  return new AesKey(Buffer.from(text, 'hex'));
}

/**
 * Makes a key file of mode 0600 with a new key. It is on the disk, name and content, before this returns: a record must never be
 * sealed with a key that a power cut can take away.
 * @throws RuntimeError E_GALLERY_KEY when there is a file already, or it cannot be written
 */
export function createGalleryKey(path: string): GalleryKey {
  if (existsSync(path)) throw new RuntimeError('E_GALLERY_KEY', `The gallery key ${path} exists already; a key is never overwritten`);
  const secret = randomBytes(KEY_BYTES);
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    const file = openSync(temporary, 'w', 0o600);
    try {
      writeSync(file, `${secret.toString('hex')}\n`);
      fsyncSync(file);
    } catch (error) {
      rmSync(temporary);
      throw error;
    } finally {
      closeSync(file);
    }
    renameSync(temporary, path);
    syncFolder(dirname(path));
  } catch (cause) {
    throw new RuntimeError('E_GALLERY_KEY', `The gallery key ${path} cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  return new AesKey(secret);
}

class AesKey implements GalleryKey {
  readonly id: string;
  readonly #cipherKey: Buffer;

  constructor(secret: Uint8Array) {
    this.id = derive(secret, 'key id', ID_BYTES).toString('hex');
    this.#cipherKey = derive(secret, 'records', KEY_BYTES);
  }

  seal(record: string, plain: Uint8Array): Buffer {
    // Random nonces are sound for 2^32 records of one key (SP 800-38D, section 8.3); a gallery has some thousands.
    const nonce = randomBytes(NONCE_BYTES);
    const cipher = createCipheriv('aes-256-gcm', this.#cipherKey, nonce).setAAD(Buffer.from(record));
    return Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
  }

  open(record: string, sealed: Uint8Array): Buffer {
    try {
      const tagAt = sealed.byteLength - TAG_BYTES;
      const decipher = createDecipheriv('aes-256-gcm', this.#cipherKey, sealed.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
        .setAAD(Buffer.from(record)).setAuthTag(sealed.subarray(tagAt));
      return Buffer.concat([decipher.update(sealed.subarray(NONCE_BYTES, tagAt)), decipher.final()]);
    } catch (cause) {
      throw new RuntimeError('E_GALLERY_TAMPERED', `The record ${record} of the gallery was changed or moved by something other than Sterna`, { cause });
    }
  }
}

/** One secret, separate keys for separate uses: HKDF-SHA256 (RFC 5869). */
function derive(secret: Uint8Array, use: string, bytes: number): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, Buffer.alloc(0), `sterna gallery 1, ${use}`, bytes));
}

function syncFolder(path: string): void {
  const folder = openSync(path, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}
