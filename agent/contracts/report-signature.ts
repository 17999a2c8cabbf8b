/**
 * How a device signs its reports. What is signed is a text: a first line that names this use of the key, a second one with the fleet and the device, and the
 * report without its signature in canonical JSON (RFC 8785). The reader takes it from the JSON that arrived, before unknown fields are dropped, so an old
 * reader can verify the report of a newer device.
 */
import { createHash, sign, verify, type KeyObject } from 'node:crypto';
import { z } from 'zod';
import { decodePayload, parseJson } from './codec.js';
import { ContractError } from './errors.js';
import { reportedSchema, type Reported } from './reported.js';
import type { DeviceAddress } from './topics.js';

/** Nothing that a device sends is nested so deeply. */
const MAX_DEPTH = 64;
const USE = 'sterna report 1';
/** Readers look at the same keys again and again, and exporting one takes as long as verifying. */
const ids = new WeakMap<KeyObject, string>();
const fields = z.record(z.string(), z.unknown());

/** A key that reports can be signed with, public or private: Ed25519, ECDSA (P-256, P-384, P-521) or RSA of at least 2048 bits. */
export function isReportKey({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject): boolean {
  if (type === 'ec') return ['prime256v1', 'secp384r1', 'secp521r1'].includes(details?.namedCurve ?? '');
  return type === 'ed25519' || (type === 'rsa' && (details?.modulusLength ?? 0) >= 2048);
}

/** SHA-256 of a public key (SubjectPublicKeyInfo, DER), lower-case hex: how a signature names it. */
export function reportKeyId(publicKey: KeyObject): string {
  const known = ids.get(publicKey) ?? createHash('sha256').update(publicKey.export({ type: 'spki', format: 'der' })).digest('hex');
  ids.set(publicKey, known);
  return known;
}

/** The report with its signature. @param keyId `reportKeyId` of the public half @throws errors of node:crypto for a key that cannot sign */
export function signReport(address: DeviceAddress, report: Reported, { privateKey, keyId }: { privateKey: KeyObject; keyId: string }): Reported {
  return { ...report, signature: { key: keyId, value: sign(hashOf(privateKey), signedText(address, report), privateKey).toString('base64') } };
}

/**
 * Whether one of these keys has signed the report that is in the payload. The kind of a signature follows from the key that the reader has, never from the message.
 * @throws ContractError E_PAYLOAD for what is no JSON object, or nested too deeply
 */
export function isSignedBy(keys: readonly KeyObject[], address: DeviceAddress, payload: Uint8Array): boolean {
  const value = fields.safeParse(parseJson(payload));
  if (!value.success) throw new ContractError('E_PAYLOAD', 'Expected a report to be a JSON object');
  const signature = reportedSchema.shape.signature.safeParse(value.data['signature']).data;
  if (signature === undefined) return false;
  const text = signedText(address, value.data);
  return keys.some((key) => isReportKey(key) && reportKeyId(key) === signature.key && verify(hashOf(key), text, key, Buffer.from(signature.value, 'base64')));
}

/**
 * Reads a report that nobody verifies: its signature, which proves nothing then, is left out.
 * @throws ContractError for a payload that is no report
 */
export function decodeUnverified(payload: Uint8Array): Reported {
  const { signature: _, ...report } = decodePayload(reportedSchema, payload);
  return report;
}

/** Ed25519 hashes by itself. */
const hashOf = ({ asymmetricKeyType }: KeyObject): 'sha256' | null => (asymmetricKeyType === 'ed25519' ? null : 'sha256');

function signedText({ fleet, device }: DeviceAddress, { signature: _, ...report }: Record<string, unknown>): Buffer {
  return Buffer.from(`${USE}\n${fleet}/${device}\n${canonicalJson(report)}`, 'utf8');
}

/**
 * JSON of one form (RFC 8785): keys by UTF-16 code units, no spaces, numbers as ECMAScript writes them. Fields without a value are left out, as in JSON.stringify.
 * @throws ContractError E_PAYLOAD deeper than 64 levels
 */
export function canonicalJson(value: unknown, depth = 0): string {
  if (depth > MAX_DEPTH) throw new ContractError('E_PAYLOAD', `Expected JSON of at most ${MAX_DEPTH} levels`);
  if (Array.isArray(value)) return `[${value.map((item: unknown) => canonicalJson(item ?? null, depth + 1)).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).filter(([, member]) => member !== undefined).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member, depth + 1)}`).join(',')}}`;
}
