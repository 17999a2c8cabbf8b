/**
 * The messages between the daemon and the process of a shadow. The process opens a package, and answers each sample with its findings. One request is
 * under way at a time.
 */
import { z } from 'zod';
import type { AnySample } from '../../runtime/frame.js';
import type { Finding } from '../../runtime/stages/types.js';
import { toCodedError } from '../errors.js';
import type { ShadowCandidate, ShadowSample } from '../ground/shadow.js';
import { failedSchema, obeyDaemonAlone } from './candidate-protocol.js';

/** What the process answers to its first message. */
export type ShadowOpened = Pick<ShadowCandidate, 'vocabulary' | 'budget' | 'sound'>;

const number4 = z.tuple([z.number(), z.number(), z.number(), z.number()]);
/** The fields of a finding that are compared. */
const comparedFinding = z.union([
  z.object({ type: z.enum(['detection', 'track']), label: z.string(), box: number4, identity: z.object({ personId: z.number() }).nullish() }),
  z.object({ type: z.enum(['class', 'sound']), label: z.string() }),
]);
const finding = z.custom<Finding>((value) => comparedFinding.safeParse(value).success);

const openedSchema: z.ZodType<ShadowOpened> = z.object({
  vocabulary: z.object({ kind: z.string(), labels: z.array(z.string()), embeddingSpaceId: z.string().nullable() }),
  budget: z.object({ p99_ms: z.number(), joules: z.number().optional() }),
  sound: z.object({ rate: z.number(), step: z.number() }).nullable(),
});
const sampleSchema: z.ZodType<ShadowSample> = z.object({ findings: z.array(finding), totalMs: z.number(), cpuMs: z.number(), joules: z.number() });

export const openedAnswer = z.union([z.object({ opened: openedSchema }), failedSchema]);
export const sampleAnswer = z.union([z.object({ sample: sampleSchema }), failedSchema]);

/** A sample, in the form in which it is sent between the processes. */
export interface SampleMessage {
  sample: AnySample;
}

/** A package that the process has opened for the first message. */
export interface Shadow extends ShadowOpened {
  process(sample: AnySample): Promise<ShadowSample>;
}

/** The child's side: it opens the package that the first message names, and answers each later message with what the package finds. */
export function serveShadow(open: (request: unknown) => Promise<Shadow>): void {
  obeyDaemonAlone();
  let shadow: Shadow | null = null;
  const answer = async (message: unknown): Promise<object> => {
    if (shadow === null) {
      shadow = await open(message);
      return { opened: { vocabulary: shadow.vocabulary, budget: shadow.budget, sound: shadow.sound } };
    }
    return { sample: await shadow.process((message as SampleMessage).sample) };
  };
  process.on('message', (message) => {
    void answer(message).catch((error: unknown) => ({ error: toCodedError(error) })).then((said) => process.send?.(said));
  });
}
