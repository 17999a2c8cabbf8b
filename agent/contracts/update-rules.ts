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

const share = z.number().min(0).max(1);

/** Of the shadow: the candidate runs beside the package that serves, and nobody acts on what it finds. */
export const shadowFields = {
  /** One in so many of the frames that the serving package looks at is given to the candidate as well; 0: candidates are not compared. */
  every: z.number().int().min(0).max(10_000),
  /** So many samples decide. */
  min_samples: z.number().int().min(1).max(10_000),
  /** The comparison ends after this time. */
  max_ms: z.number().int().positive().max(86_400_000),
  /** What becomes of a candidate when the time is over and there were too few samples: it goes on to its probation, or is refused. */
  undecided: z.enum(['commit', 'reject']),
  /** Smallest share of the boxes, and of the classes and sounds, that either package found and both did. 0: any. */
  agreement: share,
  /** Smallest share of the people whom the serving package knew that the candidate takes for the same ones. 0: any. */
  identity_agreement: share,
  /** Most that the candidate's median time for a frame may be, in multiples of that of the serving package. */
  latency_ratio: z.number().positive().max(1000),
};

/** Of the probation after the switch. A broken rule leads back to the package before. */
export const probationFields = {
  /** Largest share of the last 100 frames that may fail. */
  error_share: share,
  /** Most that the median time of a frame in full may be, in multiples of the p99 that the package promises or the device allows. */
  latency_ratio: z.number().positive().max(1000),
  /** Largest miss rate of the gates that the audit may show, by its lower bound. */
  miss_rate: share,
  /** Heat may slow the processor down for so long without a break, if it did not before the switch. */
  throttled_ms: z.number().int().positive().max(86_400_000),
};

/** What settings may say of the rules; what is absent is as in the configuration. */
export const updateSettingsSchema = z.object({
  /** A limit here can only tighten that of the configuration: the smaller one holds. */
  gate: z.object(gateFields).partial().optional(),
  shadow: z.object(shadowFields).partial().optional(),
  probation: z.object(probationFields).partial().optional(),
});
export type UpdateSettings = z.infer<typeof updateSettingsSchema>;
