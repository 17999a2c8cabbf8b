/**
 * The contender of the face pipeline: what a Node developer writes today with sharp and onnxruntime-node, float32, both networks on every frame. It is
 * written as well as that is usually done: one resize a network, tensors that are reused, one thread.
 */
import sharp from 'sharp';
import type { Frame } from '../../../runtime/frame.js';
import { createSession } from '../../../runtime/session.js';
import type { Session } from '../../../runtime/session-types.js';
import type { Tensor } from '../../../runtime/tensor.js';

/** A box, pixels: left, top, right, bottom. */
type Corners = readonly [number, number, number, number];

const threshold = 0.7;

/** What a network is fed: its input, and how pixels become values. */
interface Feed {
  session: Session;
  name: string;
  width: number;
  height: number;
  mean: number;
  std: number;
  tensor: Tensor & { data: Float32Array };
}

function feedOf(session: Session, mean: number, std: number): Feed {
  const [input] = session.inputs;
  const [, channels = 3, height = 0, width = 0] = input?.dims ?? [];
  return { session, name: input?.name ?? '', width, height, mean, std, tensor: { type: 'float32', dims: [1, channels, height, width], data: new Float32Array(channels * height * width) } };
}

/** Interleaved bytes as planes of normalized floats. */
function fill({ tensor: { data }, width, height, mean, std }: Feed, pixels: Uint8Array): void {
  const plane = width * height;
  for (let i = 0, at = 0; i < plane; i++) {
    for (let channel = 0; channel < 3; channel++, at++) data[channel * plane + i] = ((pixels[at] ?? 0) - mean) / std;
  }
}

const values = (tensor: Tensor | undefined): Float32Array => (tensor?.data instanceof Float32Array ? tensor.data : new Float32Array(0));

/** Detector and embedder, each frame, whatever it shows. */
export class NodeDeveloper {
  readonly #detector: Feed;
  readonly #embedder: Feed;
  /** Frames in which it found a face. */
  found = 0;

  private constructor(detector: Feed, embedder: Feed) {
    this.#detector = detector;
    this.#embedder = embedder;
  }

  /** @throws RuntimeError E_ENGINE_MISSING without onnxruntime-node */
  static async open({ detector, embedder }: { detector: Uint8Array; embedder: Uint8Array }): Promise<NodeDeveloper> {
    sharp.concurrency(1);
    const options = { engine: 'onnxruntime', threads: 1 } as const;
    return new NodeDeveloper(feedOf(await createSession(detector, options), 127, 128), feedOf(await createSession(embedder, options), 127.5, 128));
  }

  async process(frame: Frame): Promise<void> {
    const detector = this.#detector;
    fill(detector, await this.#resized(frame, detector, [0, 0, frame.width, frame.height]));
    const face = bestBox(await detector.session.run({ [detector.name]: detector.tensor }), frame);
    if (face !== null) this.found++;
    const embedder = this.#embedder;
    fill(embedder, await this.#resized(frame, embedder, face ?? middleOf(frame)));
    await embedder.session.run({ [embedder.name]: embedder.tensor });
  }

  async close(): Promise<void> {
    await Promise.all([this.#detector.session.close(), this.#embedder.session.close()]);
  }

  async #resized({ data, width, height }: Frame, to: Feed, [left, top, right, bottom]: Corners): Promise<Uint8Array> {
    return sharp(data, { raw: { width, height, channels: 3 } }).extract({ left, top, width: right - left, height: bottom - top }).resize(to.width, to.height, { fit: 'fill' }).raw().toBuffer();
  }
}

/** The box with the best score of the published detector: scores [1, N, 2] and corners [1, N, 4] as shares of the frame. Null below the threshold. */
function bestBox(outputs: Readonly<Record<string, Tensor>>, { width, height }: Frame): Corners | null {
  const of = (last: number): Float32Array => values(Object.values(outputs).find(({ dims }) => dims.at(-1) === last));
  const [scores, boxes] = [of(2), of(4)];
  let best = -1;
  for (let i = 0, most = threshold; i * 2 + 1 < scores.length; i++) {
    const score = scores[i * 2 + 1] ?? 0;
    if (score < most) continue;
    [best, most] = [i, score];
  }
  if (best < 0) return null;
  const place = (share: number, side: number, most: number): number => Math.max(0, Math.min(most, Math.round(share * side)));
  const [left, top] = [place(boxes[best * 4] ?? 0, width, width - 1), place(boxes[best * 4 + 1] ?? 0, height, height - 1)];
  return [left, top, Math.max(left + 1, place(boxes[best * 4 + 2] ?? 0, width, width)), Math.max(top + 1, place(boxes[best * 4 + 3] ?? 0, height, height))];
}

function middleOf({ width, height }: Frame): Corners {
  const side = Math.min(width, height) >> 1;
  const [left, top] = [(width - side) >> 1, (height - side) >> 1];
  return [left, top, left + side, top + side];
}
