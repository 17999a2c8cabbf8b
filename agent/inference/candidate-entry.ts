/** What both processes of a candidate are told of the engine: the one that tests it, and the one that runs it beside the serving package. */
import { z } from 'zod';
import { configSchema } from '../config/schema.js';

/** The configuration from which such a process makes its runtime port. */
export const engineSchema = z.object({ pipeline: configSchema.shape.pipeline, cache_dir: z.string(), cache_max_bytes: z.number(), energy: configSchema.shape.energy });
