/** The entry of the process that runs a candidate beside the serving package. `shadow-process.ts` starts it, with the lowest priority. */
import { z } from 'zod';
import { isSound, type AnySample } from '../../runtime/frame.js';
import type { Gallery } from '../../runtime/pipeline/types.js';
import type { RuntimePort, ShadowRequest } from '../ground/runtime.js';
import { engineSchema } from './candidate-entry.js';
import { beginModestly } from './modest.js';
import { budgetOf, runtimePort } from './runtime-port.js';
import { serveShadow } from './shadow-protocol.js';
import { StretchListener } from './shadow-sound.js';

const requestSchema = z.object({
  path: z.string(),
  engine: engineSchema,
  request: z.custom<ShadowRequest>((value) => typeof value === 'object' && value !== null),
});

/** Null when the gallery cannot be read now. The daemon has raised a fault for that, and the candidate is compared without names. */
function openGallery(port: RuntimePort, gallery: ShadowRequest['gallery']): Gallery | null {
  try {
    return gallery === null ? null : port.openGallery(gallery.path, { ...gallery.key, create: false });
  } catch {
    return null;
  }
}

beginModestly();

serveShadow(async (message) => {
  const { path, engine, request } = requestSchema.parse(message);
  const port = runtimePort({ ...engine, pipeline: { ...engine.pipeline, threads: 1 } }, () => undefined);
  const gallery = openGallery(port, request.gallery);
  const model = await port.openModel(path, gallery ?? port.openGallery(':memory:', null), { ...request.overrides, gates: false, tracking: false }, request.rules);
  const listener = new StretchListener(model.pipeline);
  const { kind = '', labels = [], embeddingSpaceId = null } = model.vocabulary ?? {};
  return {
    vocabulary: { kind, labels, embeddingSpaceId: gallery === null ? null : embeddingSpaceId },
    budget: await budgetOf(path),
    sound: model.pipeline.sound === undefined ? null : { rate: model.pipeline.sound.rate, step: model.pipeline.sound.step },
    process: async (sample: AnySample) => {
      const [before, started] = [process.cpuUsage(), performance.now()];
      const { findings, chunks } = isSound(sample) ? await listener.hear(sample) : { ...await model.pipeline.process(sample), chunks: 1 };
      const totalMs = (performance.now() - started) / chunks;
      const { user, system } = process.cpuUsage(before);
      const cpuMs = (user + system) / 1000 / chunks;
      return { findings, totalMs, cpuMs, joules: (cpuMs / 1000) * engine.energy.watts_per_core };
    },
  };
});
