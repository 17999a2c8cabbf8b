import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { calibrationFeeds, recordPictures } from '../../../deploy/package/record.js';
import { describePipeline } from '../../../deploy/package/describe.js';
import type { Image } from '../../../runtime/frame.js';
import { readImage } from '../../../runtime/media/index.js';
import { clips, faceModels, frames, photos } from '../recognition.js';
import { cosine, everyNth, type AccuracyTask } from './task.js';

async function* pictures(): AsyncGenerator<Image> {
  for (const name of readdirSync(photos).filter((file) => file.endsWith('.jpg')).sort()) yield await readImage(join(photos, name));
  for (const clip of Object.values(clips)) if (clip !== undefined) yield* frames(clip, { fps: 1 });
}

/** The embedder on aligned faces of the photos and the clips: mean cosine to the float embeddings, on faces that calibration did not see. */
export async function faceTask(): Promise<AccuracyTask> {
  const models = faceModels();
  if (models === undefined) throw new Error('the face models are not fetched');
  const settings = await describePipeline('face-recognition', models);
  const feeds = await calibrationFeeds(models.embedder, 'embedder', settings, { runs: await recordPictures(models, settings, pictures()) });
  return {
    name: 'face embeddings',
    metric: 'mean cosine',
    model: models.embedder,
    calibration: everyNth(feeds, 2).slice(0, 200),
    async score(session, float) {
      const cosines: number[] = [];
      for (const feed of everyNth(feeds, 2, 1)) cosines.push(cosine((await session.run(feed))['output']?.data ?? [], (await float.run(feed))['output']?.data ?? []));
      return cosines.reduce((sum, value) => sum + value, 0) / cosines.length;
    },
  };
}
