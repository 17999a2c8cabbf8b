/** TUF metadata as this side writes it: plain JSON until it is signed; `@tufjs/models` makes the canonical bytes and checks signatures. */
import { Metadata, MetadataKind, Signature, type Root, type Snapshot, type Targets, type Timestamp } from '@tufjs/models';
import { createHash } from 'node:crypto';
import { SIGNED_FIELDS } from '../../agent/contracts/index.js';
import { DeployError } from '../errors.js';
import type { Signer } from './keys.js';

type JsonObject = Parameters<typeof Metadata.fromJSON>[1];
type AnyMetadata = Metadata<Root> | Metadata<Timestamp> | Metadata<Snapshot> | Metadata<Targets>;
export type DocumentKind = 'root' | 'timestamp' | 'snapshot' | 'targets';

/** The signed part, with the fields that all kinds have. */
export interface SignedPart {
  _type: DocumentKind;
  spec_version: string;
  version: number;
  expires: string;
  [field: string]: unknown;
}

export interface Document {
  signed: SignedPart;
  signatures: { keyid: string; sig: string }[];
}

export interface RoleKeys {
  keyids: string[];
  threshold: number;
}

const SPEC_VERSION = '1.0.31';

/** ISO 8601 without fractions, as TUF wants it. */
export function tufTime(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d{3}Z$/, 'Z');
}

export function newDocument(kind: DocumentKind, { version, expiresMs, nowMs }: { version: number; expiresMs: number; nowMs: number }, fields: Record<string, unknown>): Document {
  const issued = kind === 'root' || kind === 'timestamp' ? { [SIGNED_FIELDS.issued]: tufTime(nowMs) } : {};
  return { signed: { _type: kind, spec_version: SPEC_VERSION, version, expires: tufTime(expiresMs), ...issued, ...fields }, signatures: [] };
}

/** What a document says besides what `newDocument` fills in: for the next version of it. */
export function fieldsOf({ signed }: Pick<Document, 'signed'>): Record<string, unknown> {
  const { version: _version, expires: _expires, _type: _kind, spec_version: _spec, [SIGNED_FIELDS.issued]: _issued, ...fields } = signed;
  return fields;
}

export function documentText(document: Document): string {
  return `${JSON.stringify(document, null, 1)}\n`;
}

/** Compact, for messages. */
export function compactText(document: Document): string {
  return JSON.stringify(document);
}

/** @throws DeployError E_REPOSITORY */
export function parseDocument(text: string, label: string): Document {
  try {
    const document = JSON.parse(text) as Document;
    metadataOf(document);
    return document;
  } catch (cause) {
    throw new DeployError('E_REPOSITORY', `${label} is no usable TUF metadata: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

function metadataOf(document: Document): AnyMetadata {
  const json = document as unknown as JsonObject;
  switch (document.signed._type) {
    case 'root': return Metadata.fromJSON(MetadataKind.Root, json);
    case 'timestamp': return Metadata.fromJSON(MetadataKind.Timestamp, json);
    case 'snapshot': return Metadata.fromJSON(MetadataKind.Snapshot, json);
    default: return Metadata.fromJSON(MetadataKind.Targets, json);
  }
}

/** Adds the signatures of these keys; one that is there already stays. */
export function signDocument(document: Document, signers: readonly Signer[]): Document {
  const metadata = metadataOf(document);
  for (const signer of signers) {
    if (!document.signatures.some(({ keyid }) => keyid === signer.id)) metadata.sign((bytes) => new Signature({ keyID: signer.id, sig: signer.sign(bytes).toString('hex') }));
  }
  return { ...document, signatures: Object.values(metadata.signatures).map(({ keyID, sig }) => ({ keyid: keyID, sig })) };
}

/** Whether enough trusted keys of `role` have signed, by the metadata that trusts them. */
export function isSigned(delegator: Document, role: string, document: Document): boolean {
  try {
    metadataOf(delegator).verifyDelegate(role, metadataOf(document));
    return true;
  } catch {
    return false;
  }
}

/** How a snapshot or timestamp lists a file. */
export function listing(text: string, version: number): { version: number; length: number; hashes: { sha256: string } } {
  return { version, length: Buffer.byteLength(text), hashes: { sha256: createHash('sha256').update(text).digest('hex') } };
}

/** Keys and threshold of a role, by the metadata that trusts it; null when it does not know the role. */
export function roleKeys(delegator: Document, role: string): RoleKeys | null {
  const { signed } = delegator;
  const roles = signed._type === 'root' ? (signed['roles'] as Record<string, RoleKeys>) : undefined;
  if (roles !== undefined) return Object.hasOwn(roles, role) ? roles[role] ?? null : null;
  const delegations = signed['delegations'] as { roles?: (RoleKeys & { name: string })[] } | undefined;
  return delegations?.roles?.find(({ name }) => name === role) ?? null;
}
