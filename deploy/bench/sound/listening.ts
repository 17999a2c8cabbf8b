/** What the siren student costs: one decision, and listening all the time. */
import type { AudioChunk } from '../../../runtime/frame.js';
import { noise } from '../../../runtime/noise.js';
import { openPackage } from '../../../runtime/package/package.js';
import { createPipeline, type Pipeline } from '../../../runtime/pipeline/index.js';
import { uniform } from '../../compress/random.js';
import { decisionStep } from '../../sound/siren/decide.js';
import { buildSirenPackage } from '../../sound/siren/package.js';
import { rate, siren } from '../../sound/synthesize.js';
import type { Bar } from '../bars.js';
import { leastCpuMs } from './features.js';

const decisionsARound = 100;

/** The student's pipeline on one thread. */
export async function ears(gate: object): Promise<Pipeline> {
  const { bytes } = await buildSirenPackage({ settings: { gate } });
  return createPipeline(await openPackage(bytes), { threads: 1 });
}

/** CPU time of a decision over chunks that are played again and again, milliseconds. */
export async function decisionMs(pipeline: Pipeline, chunks: readonly Float32Array[], exit: string): Promise<number> {
  let sequence = 0;
  const next = async (): Promise<string> => {
    const samples = chunks[sequence % chunks.length] ?? new Float32Array(decisionStep);
    const mediaMs = sequence * 100;
    const chunk: AudioChunk = { samples, rate, sequence: sequence++, capturedMs: performance.now() + 1e6, mediaMs };
    return (await pipeline.process(chunk)).exit;
  };
  for (let i = 0; i < decisionsARound; i++) await next();
  const exits = [await next(), await next(), await next()];
  if (!exits.includes(exit)) throw new Error(`Expected the exit ${exit} but the pipeline gave ${exits.join(', ')}`);
  const value = await leastCpuMs(decisionsARound, next);
  await pipeline.close();
  return value;
}

/** A recording in the steps between two decisions. */
export const chunksOf = (samples: Float32Array): Float32Array[] => Array.from({ length: samples.length / decisionStep }, (_, i) => samples.slice(i * decisionStep, (i + 1) * decisionStep));

export async function listeningBars(): Promise<Bar[]> {
  const sound = siren('wail', 2, uniform(1));
  const grain = noise();
  const silence = Float32Array.from({ length: 2 * rate }, () => 4e-4 * (grain() / 2 ** 32 - 0.5));
  const decision = await decisionMs(await ears({ enabled: false }), chunksOf(sound), 'full');
  // Forced passes and audits are part of what silence costs.
  const quiet = await decisionMs(await ears({}), chunksOf(silence), 'silence');
  // Ten decisions a second: so many percent of a core.
  const [busy, idle] = [decision, quiet];
  return [
    { id: 'sound.decision', what: 'one decision of the int8 student, features and all, CPU time', value: decision, unit: 'ms', bar: '<= 1', met: decision <= 1 },
    { id: 'sound.listening', what: 'a core, by listening with 10 decisions a second', value: busy, unit: '%', bar: '<= 1.5', met: busy <= 1.5 },
    { id: 'sound.silence', what: 'a core, in silence', value: idle, unit: '%', bar: '<= 0.2', met: idle <= 0.2 },
  ];
}
