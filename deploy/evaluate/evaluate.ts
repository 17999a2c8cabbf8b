import { basename, join } from 'node:path';
import { RuntimeError } from '../../runtime/errors.js';
import { classifierPicture } from '../../runtime/kinds/classification/kind.js';
import { endsOf } from '../../runtime/onnx/heads.js';
import { bestOf } from '../../runtime/quantize/report/difference.js';
import { createSession, type EngineName, type Session } from '../../runtime/session.js';
import { preparedAs, type PictureOptions } from '../compress/picture-options.js';
import { readPicture, type SizedPicture } from '../compress/samples.js';
import { ap50, type ScoredBox } from './average-precision.js';
import { decoderFor, type DecodeOptions } from './decode.js';
import type { Boxes } from './truth.js';

export interface EvaluateOptions {
  folder: string;
  /** Paths from the folder. */
  pictures: readonly string[];
  /** What the user states of how pictures become the input. Default: what `sterna run` assumes of such a model. */
  prepare: Partial<PictureOptions>;
  engine: EngineName;
  shapes?: Readonly<Record<string, readonly number[]>> | undefined;
  onPicture?: (done: number, total: number) => void;
}

async function withSession<T>(model: Uint8Array, { engine, shapes }: EvaluateOptions, work: (session: Session) => Promise<T>): Promise<T> {
  const session = await createSession(model, { engine, floats: 'float32', ...(shapes === undefined ? {} : { shapes }) });
  try {
    return await work(session);
  } finally {
    await session.close();
  }
}

async function* fedPictures(session: Session, prepare: PictureOptions, { folder, pictures, onPicture = () => undefined }: EvaluateOptions): AsyncGenerator<SizedPicture & { picture: string; image: number }> {
  const [input] = session.inputs;
  if (input === undefined || session.inputs.length !== 1) throw new RuntimeError('E_INPUT', `Expected a model with one input for pictures but this model has ${session.inputs.length}`);
  onPicture(0, pictures.length);
  for (const [image, picture] of pictures.entries()) {
    yield { ...(await readPicture(join(folder, picture), input, prepare)), picture, image };
    onPicture(image + 1, pictures.length);
  }
}

export interface ClassifierScore {
  pictures: number;
  /** Share of the pictures whose class has the largest score; or one of the five largest. */
  top1: number;
  top5: number;
  /** Classes by score, of each picture in turn: the best one. */
  answers: number[];
}

/** @throws RuntimeError E_MODEL_SHAPE for a model without an output [1, N], E_INPUT for a class that it does not have */
export function evaluateClassifier(model: Uint8Array, labels: ReadonlyMap<string, number>, options: EvaluateOptions): Promise<ClassifierScore> {
  return withSession(model, options, async (session) => {
    const output = session.outputs.find(({ dims, type }) => dims.length === 2 && dims[0] === 1 && (dims[1] ?? 0) > 1 && type === 'float32');
    if (output === undefined) throw new RuntimeError('E_MODEL_SHAPE', `Expected a classifier with an output float32[1, N] but received ${session.outputs.map(({ name, dims }) => `${name} [${dims.join(', ')}]`).join('; ')}`);
    const classes = output.dims[1] ?? 0;
    const unknown = [...labels].find(([, label]) => label >= classes);
    if (unknown !== undefined) throw new RuntimeError('E_INPUT', `Picture ${unknown[0]} has class ${unknown[1]}, but the model has classes 0 to ${classes - 1}`);
    const answers: number[] = [];
    let [first, five] = [0, 0];
    for await (const { feeds, picture } of fedPictures(session, preparedAs(classifierPicture, options.prepare), options)) {
      const scores = (await session.run(feeds))[output.name]?.data ?? [];
      const label = labels.get(picture) ?? -1;
      const mine = Number(scores[label]);
      const best = bestOf(scores);
      // Classes that are scored alike count as better: a model that says nothing is not right.
      const better = Array.from({ length: classes }, (_, c) => c).filter((c) => c !== label && !(Number(scores[c]) < mine)).length;
      if (better === 0) first++;
      if (better < 5) five++;
      answers.push(best);
    }
    return { pictures: answers.length, top1: first / answers.length, top5: five / answers.length, answers };
  });
}

export interface DetectorScore {
  pictures: number;
  boxes: number;
  classes: number;
  ap50: number;
  /** How the outputs were read. */
  decoder: string;
  /** How pictures became the input. */
  prepared: PictureOptions;
}

/** Corners as shares of the model's input, as shares of the picture that was fitted into it. */
export function toPicture([x1, y1, x2, y2]: ScoredBox['corners'], picture: { width: number; height: number }, input: { width: number; height: number }, fit: PictureOptions['fit']): ScoredBox['corners'] {
  if (fit === 'stretch') return [x1, y1, x2, y2];
  const scales = [input.width / picture.width, input.height / picture.height] as const;
  const scale = fit === 'letterbox' ? Math.min(...scales) : Math.max(...scales);
  const map = (share: number, size: number, of: number): number => (share * size - (size - of * scale) / 2) / (of * scale);
  return [map(x1, input.width, picture.width), map(y1, input.height, picture.height), map(x2, input.width, picture.width), map(y2, input.height, picture.height)];
}

/** @throws RuntimeError E_MODEL_SHAPE for outputs that nobody knows how to read */
export function evaluateDetector(model: Uint8Array, truth: Boxes, decode: DecodeOptions, options: EvaluateOptions): Promise<DetectorScore> {
  return withSession(model, options, async (session) => {
    const dims = session.inputs[0]?.dims ?? [];
    const planar = dims[1] === 1 || dims[1] === 3;
    const size = { height: dims[planar ? 2 : 1] ?? 0, width: dims[planar ? 3 : 2] ?? 0 };
    const decoder = decoderFor(session.outputs, size, decode, endsOf(model));
    const prepared = preparedAs(decoder.picture, options.prepare);
    const found: ScoredBox[] = [];
    const real: ScoredBox[] = [];
    for await (const { feeds, picture, image, ...dimensions } of fedPictures(session, prepared, options)) {
      for (const box of decoder.decode(await session.run(feeds))) found.push({ ...box, image, corners: toPicture(box.corners, dimensions, size, prepared.fit) });
      for (const box of truth.get(basename(picture)) ?? []) real.push({ ...box, image });
    }
    return { pictures: options.pictures.length, boxes: real.length, classes: new Set(real.map(({ label }) => label)).size, ap50: ap50(found, real), decoder: decoder.name, prepared };
  });
}
