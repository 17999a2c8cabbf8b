/** `cmd/{name}`, down, and `res/{id}`, up. Correlation is in the payload, so that MQTT 3.1.1 is enough. */
import { z } from 'zod';
import { bootId, epochMs, id, longText, schemaVersion, shortText } from './codec.js';
import { MAX_METADATA_BYTES } from './signed.js';

export const commandNames = ['rebirth', 'self-test', 'bench', 'rollback', 'log-tail'] as const;
export type CommandName = (typeof commandNames)[number];

export const commandSchema = z.object({
  schema_version: schemaVersion,
  /** If the same id arrives again, the device sends the same result and does not execute the command again. */
  id,
  /** After this time the command is refused. Absent: it does not expire. */
  expires_ms: epochMs.optional(),
  /** The pipeline that it concerns; absent: the first of the device. */
  pipeline: id.optional(),
  args: z.record(z.string().max(64), z.unknown()).default({}),
  /** Signed metadata (`command` of SIGNED_FIELDS) that states all of the above, for this device. Required, unless the device runs in the unsigned mode. */
  signed: z.string().max(MAX_METADATA_BYTES).optional(),
});
export type Command = z.infer<typeof commandSchema>;

export const responseSchema = z.object({
  schema_version: schemaVersion,
  id,
  command: shortText,
  boot_id: bootId,
  time_ms: epochMs,
  ok: z.boolean(),
  /** Of the error, when not ok. */
  code: shortText.optional(),
  message: longText.optional(),
  result: z.record(z.string(), z.unknown()).optional(),
});
export type Response = z.infer<typeof responseSchema>;
