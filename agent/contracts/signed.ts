/**
 * What makes a message trustworthy that changes a device: TUF metadata (The Update Framework, specification 1.0) in Uptane's arrangement. The image
 * repository says which packages exist at all; the director says what this device should run. Both travel inside `desired`, so that a message is complete
 * or refused. Metadata is passed as text: signatures and hashes are of these very bytes.
 */
import { z } from 'zod';
import { chunkListRef } from './chunk-list.js';
import { count, epochMs, id, shortText } from './codec.js';
import { ID_PATTERN } from './topics.js';

/** No metadata file may be larger, whatever its role. */
export const MAX_METADATA_BYTES = 96 * 1024;
/** New roots in one message: a device that is further behind needs several. */
export const MAX_NEW_ROOTS = 32;
/** Delegated roles in one message. */
export const MAX_DELEGATED_ROLES = 32;
/** A package's target path begins with this, or with the name of the only fleet that may run it. */
export const ALL_FLEETS = 'all';
/** Longest life of a command, from its signature to its expiry. */
export const MAX_COMMAND_LIFE_MS = 15 * 60_000;

const metadataText = z.string().max(MAX_METADATA_BYTES);

/** Of one repository, as much as the device needs for its target. */
export const repositoryFilesSchema = z.object({
  /** Root metadata that the device may not have yet, oldest first. */
  roots: z.array(metadataText).max(MAX_NEW_ROOTS).default([]),
  timestamp: metadataText,
  snapshot: metadataText,
  targets: metadataText,
  /** Delegated targets metadata by the name of its role. */
  delegated: z.record(z.string().regex(ID_PATTERN), metadataText).default({}),
});
export type RepositoryFiles = z.infer<typeof repositoryFilesSchema>;

export const signedSchema = z.object({
  /** Null when no package is wanted. */
  image: repositoryFilesSchema.nullable(),
  director: repositoryFilesSchema,
});
export type Signed = z.infer<typeof signedSchema>;

/**
 * Fields that Sterna adds to TUF metadata, inside what is signed. TUF's canonical JSON has no fractions, so statements are JSON in a text.
 * `issued`: of every timestamp and root, when it was signed (ISO 8601): a lower bound of the time. `statement`: of the director's targets, what it says.
 * `command`: of a command. `command_roles`: of the director's root, TUF delegations whose paths are `cmd/{name}`.
 */
export const SIGNED_FIELDS = { issued: 'issued', statement: 'statement', command: 'command', commandRoles: 'command_roles' } as const;

/** `custom` of a target: of a package in both repositories, which must agree, and of a release of settings in the image repository. */
export const targetCustomSchema = z.object({
  /** Absent: a package. */
  kind: z.literal('settings').optional(),
  name: shortText,
  version: shortText,
  /** Grows with each release of a package of this name; a device never installs a smaller one than it has run. */
  release_counter: count,
  /** What the package is for: `x64`, `arm64`, or names of your own boards. */
  hardware_ids: z.array(id).min(1).max(32),
  /** List of its chunks. Absent in metadata of earlier versions. */
  chunks: chunkListRef.optional(),
});
export type TargetCustom = z.infer<typeof targetCustomSchema>;

/** To whom the director speaks, and the parts of `desired` that matter, as text that must equal those of the message. */
export const statementSchema = z.object({
  fleet: id,
  device: id,
  pipeline: id,
  generation: count,
  /** Path of the package in both repositories; null: none is wanted. */
  target: z.string().max(256).nullable(),
  /** Path of the release of settings in the image repository, whose bytes are the `settings` of the message; null: they are those that the device has. */
  settings_target: z.string().max(256).nullable().default(null),
  /** SHA-256 of the canonical form (`desiredText`) of `generation`, `package` and `settings`. */
  desired_sha256: z.string().length(64),
});
export type Statement = z.infer<typeof statementSchema>;

/** What an operator signs. */
export const commandStatementSchema = z.object({
  fleet: id,
  device: id,
  /** Name of the command, as in its topic. */
  command: id,
  /** Never used twice: it is the command's id and its nonce. */
  id,
  pipeline: id.nullable(),
  args: z.record(z.string().max(64), z.unknown()),
  issued_ms: epochMs,
  expires_ms: epochMs,
});
export type CommandStatement = z.infer<typeof commandStatementSchema>;
