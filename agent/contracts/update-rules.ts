/** Rules by which a device judges a package before it runs it. The configuration has them, and settings of `desired` go before those. */
import { z } from 'zod';

/** Of the gate: what this device allows, beside the budget of the package's own manifest. */
export const gateFields = {
  /** Largest p99 of the self-test, all stages together, milliseconds. */
  p99_ms: z.number().positive().max(600_000),
  /** Most memory of all models of the package. */
  ram_bytes: z.number().int().positive(),
  /** Most energy of one inference of all stages, where the device can measure or model it. */
  joules: z.number().positive().max(10_000),
  /** True: a package without golden vectors may be installed. Then nothing shows that it computes the right results on this processor. */
  allow_without_golden: z.boolean(),
};

/** What settings may say of the rules; what is absent is as in the configuration. */
export const updateSettingsSchema = z.object({
  /** A limit here can only tighten that of the configuration: the smaller one holds. */
  gate: z.object(gateFields).partial().optional(),
});
export type UpdateSettings = z.infer<typeof updateSettingsSchema>;
