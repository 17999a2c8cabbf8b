/**
 * Ed25519 keys in files. A key file says its public value, and one of: the private key encrypted with a passphrase (scrypt and AES-256-GCM), the private
 * key as it is, or a command that signs (a PKCS#11 token, a cloud key service): then the private key never comes here.
 */
import { execFileSync } from 'node:child_process';
import { createCipheriv, createDecipheriv, createHash, createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, scryptSync, sign, verify, type KeyObject } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { DeployError } from '../errors.js';

const hex = (bytes: number): z.ZodString => z.string().regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`));
const base64 = z.string().max(4096).regex(/^[A-Za-z0-9+/]*=*$/);

/** RFC 7914; memory is 128 * n * r bytes. */
const scryptSchema = z.object({ n: z.number().int().min(2 ** 14).max(2 ** 20), r: z.number().int().min(1).max(16), p: z.number().int().min(1).max(16), salt: base64 });
const SCRYPT = { n: 2 ** 17, r: 8, p: 1 } as const;

const keyFileSchema = z.strictObject({
  schema_version: z.literal(1),
  keytype: z.literal('ed25519'),
  public: hex(32),
  /** PKCS#8. */
  private: base64.optional(),
  encrypted: z.strictObject({ scrypt: scryptSchema, iv: base64, tag: base64, data: base64 }).optional(),
  /** Reads the bytes from standard input, and writes the signature (64 bytes) to standard output, raw or in hexadecimal digits. */
  command: z.array(z.string().max(4096)).min(1).max(64).optional(),
}).refine((file) => [file.private, file.encrypted, file.command].filter((part) => part !== undefined).length === 1, 'expected exactly one of private, encrypted and command');
type KeyFile = z.infer<typeof keyFileSchema>;

/** A public key as TUF metadata states it. */
export interface PublicKey {
  /** SHA-256 of the key's canonical form, as TUF recommends. */
  id: string;
  public: string;
}

export interface Signer extends PublicKey {
  /** @throws DeployError E_KEY */
  sign(bytes: Uint8Array): Buffer;
}

export type Passphrase = () => string | undefined;

function publicKey(value: string): PublicKey {
  return { id: createHash('sha256').update(JSON.stringify(keyJson(value))).digest('hex'), public: value };
}

/** In the order of canonical JSON. */
export function keyJson(value: string): { keytype: 'ed25519'; keyval: { public: string }; scheme: 'ed25519' } {
  return { keytype: 'ed25519', keyval: { public: value }, scheme: 'ed25519' };
}

/**
 * Makes a key. With a passphrase it is encrypted; without one, whoever reads the file can sign.
 * @throws DeployError E_KEY when the file exists or cannot be written
 */
export function createKey(path: string, passphrase?: string): PublicKey {
  const { privateKey } = generateKeyPairSync('ed25519');
  const der = privateKey.export({ format: 'der', type: 'pkcs8' });
  const value = publicValue(privateKey);
  write(path, { schema_version: 1, keytype: 'ed25519', public: value, ...(passphrase === undefined ? { private: der.toString('base64') } : { encrypted: encrypt(der, passphrase, value) }) });
  return publicKey(value);
}

/** A key that stays elsewhere; `command` signs with it. @throws DeployError E_KEY */
export function createCommandKey(path: string, value: string, command: readonly string[]): PublicKey {
  if (!/^[0-9a-f]{64}$/.test(value)) throw new DeployError('E_KEY', 'Expected --public with the 64 lower-case hexadecimal digits of an Ed25519 public key');
  write(path, { schema_version: 1, keytype: 'ed25519', public: value, command: [...command] });
  return publicKey(value);
}

/** What a key file says without its passphrase. @throws DeployError E_KEY */
export function readKey(path: string): PublicKey & { kept: 'plain' | 'encrypted' | 'command' } {
  const file = read(path);
  return { ...publicKey(file.public), kept: file.private !== undefined ? 'plain' : file.encrypted !== undefined ? 'encrypted' : 'command' };
}

/** @throws DeployError E_KEY for a missing or wrong passphrase, or a file that is not what it says */
export function openSigner(path: string, passphrase: Passphrase): Signer {
  const file = read(path);
  const own = publicKey(file.public);
  const { command } = file;
  if (command !== undefined) return { ...own, sign: (bytes) => checked(path, file.public, bytes, runCommand(path, command, bytes)) };
  const der = file.private === undefined ? decrypt(path, file, passphrase()) : Buffer.from(file.private, 'base64');
  const key = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
  if (publicValue(key) !== file.public) throw new DeployError('E_KEY', `${path} is damaged: its private key does not belong to its public key`);
  return { ...own, sign: (bytes) => sign(null, bytes, key) };
}

/** Encrypts a key file with another passphrase, or (undefined) leaves it unencrypted. @throws DeployError E_KEY */
export function rewriteKey(path: string, passphrase: Passphrase, next: string | undefined): PublicKey {
  const file = read(path);
  if (file.command !== undefined) throw new DeployError('E_KEY', `${path} holds no private key: a command signs with it`);
  const der = file.private === undefined ? decrypt(path, file, passphrase()) : Buffer.from(file.private, 'base64');
  const { private: _private, encrypted: _encrypted, ...rest } = file;
  write(path, { ...rest, ...(next === undefined ? { private: der.toString('base64') } : { encrypted: encrypt(der, next, file.public) }) }, 'w');
  return publicKey(file.public);
}

function publicValue(key: KeyObject): string {
  const jwk = createPublicKey(key).export({ format: 'jwk' });
  return Buffer.from(jwk.x ?? '', 'base64url').toString('hex');
}

/** The public value is bound to the ciphertext, so that no other key can be put in its place. */
function encrypt(der: Buffer, passphrase: string, value: string): NonNullable<KeyFile['encrypted']> {
  if (passphrase.length < 8) throw new DeployError('E_KEY', 'Expected a passphrase of at least 8 characters');
  const [salt, iv] = [randomBytes(16), randomBytes(12)];
  const cipher = createCipheriv('aes-256-gcm', derive(passphrase, { ...SCRYPT, salt: salt.toString('base64') }), iv).setAAD(Buffer.from(value));
  const data = Buffer.concat([cipher.update(der), cipher.final()]);
  return { scrypt: { ...SCRYPT, salt: salt.toString('base64') }, iv: iv.toString('base64'), tag: cipher.getAuthTag().toString('base64'), data: data.toString('base64') };
}

function decrypt(path: string, { encrypted, public: value }: KeyFile, passphrase: string | undefined): Buffer {
  if (encrypted === undefined) throw new DeployError('E_KEY', `${path} holds no private key`);
  if (passphrase === undefined) throw new DeployError('E_KEY', `${path} is encrypted: give its passphrase with --passphrase-file, or in STERNA_PASSPHRASE`);
  const decipher = createDecipheriv('aes-256-gcm', derive(passphrase, encrypted.scrypt), Buffer.from(encrypted.iv, 'base64'), { authTagLength: 16 }).setAAD(Buffer.from(value));
  try {
    decipher.setAuthTag(Buffer.from(encrypted.tag, 'base64'));
    return Buffer.concat([decipher.update(Buffer.from(encrypted.data, 'base64')), decipher.final()]);
  } catch (cause) {
    throw new DeployError('E_KEY', `${path} cannot be decrypted: the passphrase is wrong, or the file is damaged`, { cause });
  }
}

function derive(passphrase: string, { n, r, p, salt }: z.infer<typeof scryptSchema>): Buffer {
  return scryptSync(passphrase.normalize('NFKC'), Buffer.from(salt, 'base64'), 32, { N: n, r, p, maxmem: 256 * n * r });
}

function runCommand(path: string, [program = '', ...args]: readonly string[], bytes: Uint8Array): Buffer {
  try {
    const out = execFileSync(program, args, { input: bytes, timeout: 120_000, maxBuffer: 64 * 1024, stdio: ['pipe', 'pipe', 'inherit'] });
    const text = out.toString('latin1').trim();
    return /^[0-9a-fA-F]{128}$/.test(text) ? Buffer.from(text, 'hex') : out;
  } catch (cause) {
    throw new DeployError('E_KEY', `The command of ${path} (${program}) did not sign: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

/** A token with another key in its slot must be noticed here, not on the devices. */
function checked(path: string, value: string, bytes: Uint8Array, signature: Buffer): Buffer {
  const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(value, 'hex').toString('base64url') }, format: 'jwk' });
  if (verify(null, bytes, key, signature)) return signature;
  throw new DeployError('E_KEY', `The command of ${path} returned no valid signature of the key ${value.slice(0, 8)}: expected the 64 bytes of an Ed25519 signature, raw or in hexadecimal digits`);
}

function read(path: string): KeyFile {
  try {
    return keyFileSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (cause) {
    throw new DeployError('E_KEY', `${path} is no usable key file: ${cause instanceof z.ZodError ? cause.issues[0]?.message ?? 'invalid' : cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

function write(path: string, file: KeyFile, flag: 'w' | 'wx' = 'wx'): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    writeFileSync(path, `${JSON.stringify(file, null, 1)}\n`, { mode: 0o600, flag });
  } catch (cause) {
    const exists = cause instanceof Error && 'code' in cause && cause.code === 'EEXIST';
    throw new DeployError('E_KEY', exists ? `${path} exists already; a key is never overwritten` : `${path} cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}
