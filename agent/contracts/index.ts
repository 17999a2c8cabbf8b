/** The wire contracts: everything that the two ends of the broker share. */
import { z } from 'zod';
import { capsSchema } from './caps.js';
import { commandSchema, responseSchema } from './command.js';
import { desiredSchema } from './desired.js';
import { eventSchema } from './event.js';
import { otaGetSchema } from './ota-get.js';
import { reportedSchema } from './reported.js';
import { statusSchema } from './status.js';
import { telemetrySchema } from './telemetry.js';

export * from './block.js';
export * from './caps.js';
export * from './chunk-list.js';
export * from './client-id.js';
export { decodePayload, encodePayload, SCHEMA_VERSION, type PackageRef } from './codec.js';
export * from './command.js';
export * from './crc32c.js';
export * from './desired.js';
export * from './errors.js';
export * from './event.js';
export * from './finding.js';
export * from './histogram.js';
export * from './ota-get.js';
export * from './packet-guard.js';
export * from './pipeline.js';
export * from './reported.js';
export * from './report-signature.js';
export * from './signed.js';
export * from './status.js';
export * from './telemetry.js';
export * from './topics.js';
export * from './transport.js';
export * from './update-rules.js';

/** Every JSON payload by the name of its topic. */
export const payloadSchemas = {
  status: statusSchema,
  caps: capsSchema,
  desired: desiredSchema,
  reported: reportedSchema,
  telemetry: telemetrySchema,
  event: eventSchema,
  cmd: commandSchema,
  res: responseSchema,
  ota_get: otaGetSchema,
} as const;
export type PayloadName = keyof typeof payloadSchemas;

/** JSON Schema (2020-12) of a payload, as a sender must write it. */
export function jsonSchema(name: PayloadName): Record<string, unknown> {
  return { title: `sterna/v2 ${name}`, ...z.toJSONSchema(payloadSchemas[name], { io: 'input' }) };
}
