import { openOnnxRuntime } from '../../../runtime/engines/onnxruntime.js';
import { pixelLayout, pixelsToFloats, type PixelLayout } from '../../../runtime/engines/feeds.js';
import { modelPorts } from '../../../runtime/quantize/prepare/read-model.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { nativePixels } from '../../../runtime/vision/pixels.js';
import { DeployError } from '../../errors.js';
import type { FacesConfig } from '../config.js';
import type { PictureSize } from './people.js';

/** How pixels become numbers: (level - mean) / std. */
export type Levels = Pick<FacesConfig['data'], 'mean' | 'std'>;

/** What an embedder takes and gives for one picture. */
export interface EmbedderPorts {
  readonly input: string;
  readonly output: string;
  /** Of one picture. */
  readonly dims: readonly number[];
  readonly layout: PixelLayout;
  /** Length of an embedding. */
  readonly dimensions: number;
}

/**
 * @param who the model in messages, such as "The teacher"
 * @throws DeployError E_LAB: a model that does not turn one picture in RGB into one vector
 */
export function embedderPorts(bytes: Uint8Array, who: string, { mean, std }: Levels): EmbedderPorts {
  const { inputs: [input, ...others], outputs: [output, ...rest] } = modelPorts(bytes);
  const [one, dimensions, ...more] = output?.dims ?? [];
  const [batch, a, , c] = input?.dims ?? [];
  const picture = input?.type === 'float32' && input.dims.length === 4 && batch === 1 && (a === 3 || c === 3) && input.dims.every((dim) => dim > 0);
  if (!picture || others.length > 0 || output === undefined || rest.length > 0 || output.type !== 'float32' || one !== 1 || dimensions === undefined || more.length > 0) {
    const given = [input, ...others].map((port) => `${port?.type ?? ''}[${port?.dims.join(', ') ?? ''}]`).join(' and ');
    throw new DeployError('E_LAB', `${who} takes ${given} and gives [${output?.dims.join(', ') ?? ''}]; expected an embedder, which takes one picture of float32 [1, 3, height, width] or [1, height, width, 3] and gives one vector of [1, dimensions]`);
  }
  return { input: input.name, output: output.name, dims: input.dims, layout: pixelLayout(input, { mean: [mean, mean, mean], std: [std, std, std] }), dimensions };
}

/** A batch of pictures of RGB pixels as the input of an embedder. */
export function batchTensor(pictures: readonly Uint8Array[], { dims, layout }: Pick<EmbedderPorts, 'dims' | 'layout'>): Tensor {
  const size = layout.width * layout.height * 3;
  const data = new Float32Array(size * pictures.length);
  pictures.forEach((pixels, slot) => data.set(pixelsToFloats(layout, pixels), slot * size));
  return { type: 'float32', dims: [pictures.length, ...dims.slice(1)], data };
}

/** Embeddings of pictures of the size, one after the other, as a device computes them; they are resampled where the model sees another size. */
export async function embeddingsOf(bytes: Uint8Array, ports: EmbedderPorts, pictures: readonly Uint8Array[], size: PictureSize, threads = 1): Promise<Float32Array[]> {
  const { input, output, dims, layout } = ports;
  const session = await openOnnxRuntime(bytes, { shapes: { [input]: dims }, threads });
  try {
    const embeddings: Float32Array[] = [];
    for (const picture of pictures) {
      const canvas = { width: layout.width, height: layout.height, channels: 3 as const, data: picture };
      if (size.width !== layout.width || size.height !== layout.height) {
        canvas.data = new Uint8Array(3 * layout.width * layout.height);
        nativePixels.fit({ ...size, data: picture }, canvas, 'stretch');
      }
      const results = await session.run({ [input]: batchTensor([canvas.data], ports) });
      embeddings.push(Float32Array.from(results[output]?.data as Float32Array));
    }
    return embeddings;
  } finally {
    await session.close();
  }
}
