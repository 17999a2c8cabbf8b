/**
 * Decodes one file of TUF metadata. Formats, canonical JSON, signatures and thresholds are those of `@tufjs/models`. This checks what that library
 * leaves to its caller: sizes, that versions are whole numbers, that expiries are dates (an invalid date would never expire), and that there is one
 * key per key id (a key with two ids would count twice towards a threshold).
 */
import { Metadata, MetadataKind, type Root, type Snapshot, type Targets, type Timestamp } from '@tufjs/models';
import { SIGNED_FIELDS } from '../contracts/index.js';
import { AgentError } from '../errors.js';

export type RepositoryName = 'image' | 'director';

interface Kinds {
  root: Root;
  timestamp: Timestamp;
  snapshot: Snapshot;
  targets: Targets;
}
export type Kind = keyof Kinds;

export interface Decoded<K extends Kind> {
  /** Name of the file in messages, such as `image snapshot` or `image fleet-demo`. */
  label: string;
  text: string;
  metadata: Metadata<Kinds[K]>;
  signed: Kinds[K];
  expiresMs: number;
  /** When the file was signed, milliseconds since 1970; null when it does not say so. */
  issuedMs: number | null;
}

const LIMIT_BYTES: Readonly<Record<Kind, number>> = { root: 64 * 1024, timestamp: 16 * 1024, snapshot: 64 * 1024, targets: 96 * 1024 };
const ISO_TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{3})?Z$/;
const PUBLIC_KEY = /^[0-9a-f]{64}$/;

const parsers: { [K in Kind]: (value: Parameters<typeof Metadata.fromJSON>[1]) => Metadata<Kinds[K]> } = {
  root: (value) => Metadata.fromJSON(MetadataKind.Root, value),
  timestamp: (value) => Metadata.fromJSON(MetadataKind.Timestamp, value),
  snapshot: (value) => Metadata.fromJSON(MetadataKind.Snapshot, value),
  targets: (value) => Metadata.fromJSON(MetadataKind.Targets, value),
};

/** @throws AgentError E_TRUST_SIZE, E_TRUST_FORMAT; no text causes any other error */
export function decodeMetadata<K extends Kind>(kind: K, label: string, text: string): Decoded<K> {
  const size = Buffer.byteLength(text);
  if (size > LIMIT_BYTES[kind]) throw new AgentError('E_TRUST_SIZE', `The ${label} metadata has ${size} bytes; at most ${LIMIT_BYTES[kind]} are read`);
  try {
    const metadata = parsers[kind](parseObject(text));
    const signed: Kinds[K] = metadata.signed;
    requireVersion(signed.version);
    for (const keys of keyMaps(signed)) requireKeys(keys);
    const issued = signed.unrecognizedFields[SIGNED_FIELDS.issued];
    return {
      label, text, metadata, signed,
      expiresMs: timeOf('expires', signed.expires),
      issuedMs: issued === undefined ? null : timeOf(SIGNED_FIELDS.issued, issued),
    };
  } catch (cause) {
    throw new AgentError('E_TRUST_FORMAT', `The ${label} metadata is malformed: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

type JsonObject = Parameters<typeof Metadata.fromJSON>[1];

function parseObject(text: string): JsonObject {
  const value: unknown = JSON.parse(text);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('expected a JSON object');
  return value as JsonObject;
}

function requireVersion(version: number): void {
  if (!Number.isSafeInteger(version) || version < 1) throw new Error(`expected a version of at least 1 but received ${version}`);
}

function timeOf(field: string, value: unknown): number {
  const time = typeof value === 'string' && ISO_TIME.test(value) ? Date.parse(value) : NaN;
  if (Number.isNaN(time)) throw new Error(`expected ${field} to be a time such as 2030-01-31T12:00:00Z but received ${JSON.stringify(value)}`);
  return time;
}

type Keys = Root['keys'];

function keyMaps(signed: Kinds[Kind]): Keys[] {
  if ('keys' in signed) return [signed.keys];
  return 'targets' in signed && signed.delegations !== undefined ? [signed.delegations.keys] : [];
}

/** Accepts only Ed25519, so that there is only one algorithm to trust. */
function requireKeys(keys: Keys): void {
  const seen = new Set<string>();
  for (const { keyID, keyType, scheme, keyVal } of Object.values(keys)) {
    const key = keyVal['public'];
    if (keyType !== 'ed25519' || scheme !== 'ed25519' || key === undefined || !PUBLIC_KEY.test(key)) {
      throw new Error(`expected key ${keyID} to be ed25519, with a public value of 64 lower-case hexadecimal digits`);
    }
    if (seen.has(key)) throw new Error(`key ${keyID} is listed twice under different ids`);
    seen.add(key);
  }
}
