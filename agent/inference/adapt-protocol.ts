/** The messages between the daemon and the process that adapts a package. One request is under way at a time. */
import { z } from 'zod';
import type { Frame } from '../../runtime/frame.js';
import { failedSchema } from './candidate-protocol.js';

/** What the daemon asks after the first message, which names the package. */
export type AdaptAsk = { gather: Frame } | { step: true } | { judge: Frame } | { verdict: true };

const cpuMs = z.number().nonnegative();
const reason = z.string().nullable();

export const adaptOpened = z.union([z.object({ opened: z.object({ cpuMs }) }), failedSchema]);
export const adaptTaken = z.union([z.object({ taken: z.object({ cpuMs }) }), failedSchema]);
export const adaptStepped = z.union([z.object({ stepped: z.object({ cpuMs, tuned: z.object({ reason, gain: z.number().nullable() }).nullable() }) }), failedSchema]);
export const adaptVerdict = z.union([z.object({ verdict: z.object({ cpuMs, reason, overlay: z.instanceof(Uint8Array).nullable() }) }), failedSchema]);
