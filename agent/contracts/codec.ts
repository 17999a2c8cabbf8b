/** JSON payloads: UTF-8, bounded, versioned. Unknown fields are ignored, unknown schema versions refused. */
import { z } from 'zod';
import { ContractError } from './errors.js';
import { DIGEST_PATTERN, ID_PATTERN, MAX_MESSAGE_BYTES } from './topics.js';

/** Of every payload. Version 1 knew one pipeline a device and closed sets of words. A change that an old reader would misread takes the next number. */
export const SCHEMA_VERSION = 2 as const;

export const schemaVersion = z.literal(SCHEMA_VERSION);
/** Milliseconds since 1970 UTC, by the sender's clock; `clock_synchronized` says whether that clock can be believed. */
export const epochMs = z.number().nonnegative();
export const milliseconds = z.number().nonnegative();
export const bytes = z.number().int().nonnegative();
export const count = z.number().int().nonnegative();
export const shortText = z.string().max(256);
export const longText = z.string().max(4096);
export const id = z.string().regex(ID_PATTERN);
export const digest = z.string().regex(DIGEST_PATTERN);
/** Random, new at every start of the agent. */
export const bootId = z.string().min(8).max(64);

/** How a message that is kept begins: whose life it belongs to, and when it was made. */
export const stamp = { schema_version: schemaVersion, boot_id: bootId, time_ms: epochMs, clock_synchronized: z.boolean() };

/** Any other word of an open set: it keeps the type of the known ones from collapsing to `string`. */
export type OtherWord = string & Record<never, never>;

/**
 * A word of an open set. The examples are those that this version knows and sends. A reader passes any other on, so that an old
 * fleet side takes what a newer device says.
 */
export function openSet<const Known extends readonly string[]>(known: Known): z.ZodType<Known[number] | OtherWord, string> {
  return z.string().regex(ID_PATTERN).meta({ examples: [...known] });
}

/** What both slots, `desired` and `reported` mean by a package. */
export const packageRef = z.object({
  name: shortText,
  version: shortText,
  /** SHA-256 of the package file, lower-case hex. */
  digest,
  size_bytes: bytes,
});
export type PackageRef = z.infer<typeof packageRef>;

export const codedError = z.object({ code: shortText, message: longText });

const versionProbe = z.object({ schema_version: z.unknown() });

/**
 * Bytes of a message to a checked value.
 * @throws ContractError E_PAYLOAD_SIZE, E_PAYLOAD, E_PAYLOAD_VERSION
 */
export function decodePayload<T>(schema: z.ZodType<T>, payload: Uint8Array, limitBytes = MAX_MESSAGE_BYTES): T {
  if (payload.byteLength > limitBytes) {
    throw new ContractError('E_PAYLOAD_SIZE', `Expected a payload of at most ${limitBytes} bytes but received ${payload.byteLength}`);
  }
  const value = parseJson(payload);
  const probe = versionProbe.safeParse(value);
  if (probe.success && typeof probe.data.schema_version === 'number' && probe.data.schema_version !== SCHEMA_VERSION) {
    throw new ContractError('E_PAYLOAD_VERSION', `Expected schema_version ${SCHEMA_VERSION} but received ${probe.data.schema_version}; update ${probe.data.schema_version < SCHEMA_VERSION ? 'the side that sent it' : 'this side'}`, {
      details: { schema_version: probe.data.schema_version },
    });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const field = issue === undefined || issue.path.length === 0 ? 'payload' : issue.path.join('.');
  throw new ContractError('E_PAYLOAD', `Field "${field}": ${issue?.message ?? 'invalid'}`, { details: { field }, cause: result.error });
}

/** One for all payloads: without `stream` it keeps nothing between them. */
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** @throws ContractError E_PAYLOAD */
export function parseJson(payload: Uint8Array): unknown {
  try {
    return JSON.parse(utf8.decode(payload));
  } catch (cause) {
    throw new ContractError('E_PAYLOAD', `Expected UTF-8 JSON but received ${payload.byteLength} bytes that are not`, { cause });
  }
}

/**
 * A value to bytes, checked against its own schema: what this side would refuse, it does not send.
 * @throws ContractError E_PAYLOAD, E_PAYLOAD_SIZE
 */
export function encodePayload<T>(schema: z.ZodType<T>, value: T): Buffer {
  const encoded = Buffer.from(JSON.stringify(value), 'utf8');
  decodePayload(schema, encoded);
  return encoded;
}
