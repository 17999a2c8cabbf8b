/** YAMNet up to the embedding that its classifier sees, and a linear classifier of our own on top. */
import { parseModel } from '../../runtime/onnx/parse.js';
import { serializeModel } from '../../runtime/onnx/serialize.js';
import { createSession } from '../../runtime/session.js';
import { DeployError } from '../errors.js';
import { patchSamples } from './clips.js';

/** Values of YAMNet's embedding. */
export const embeddingSize = 1024;

export interface Teacher {
  embed(samples: Float32Array): Promise<Float32Array>;
  close(): Promise<void>;
}

/** @throws DeployError E_USAGE when the model has no last linear layer, RuntimeError E_MODEL_* */
export async function openTeacher(model: Uint8Array): Promise<Teacher> {
  const parsed = parseModel(model);
  const last = parsed.graph.nodes.findLast(({ op }) => op === 'Gemm' || op === 'MatMul');
  const embedding = last?.inputs[0];
  const input = parsed.graph.inputs[0]?.name;
  if (embedding === undefined || input === undefined) throw new DeployError('E_USAGE', 'Expected YAMNet as the teacher, but this model has no linear layer behind its embedding');
  const cut = serializeModel({ ...parsed, graph: { ...parsed.graph, outputs: [{ name: embedding, dtype: 'float32', dims: [1, embeddingSize] }] } });
  const session = await createSession(cut, { engine: 'onnxruntime' });
  return {
    embed: async (samples) => {
      const outputs = await session.run({ [input]: { type: 'float32', dims: [1, patchSamples], data: samples } });
      return Float32Array.from(outputs[embedding]?.data ?? [], Number);
    },
    close: () => session.close(),
  };
}

/** Mean and deviation of each value, so that all weigh the same. */
export class Standard {
  readonly #mean: Float64Array;
  readonly #factor: Float64Array;

  constructor(vectors: readonly Float32Array[]) {
    const size = vectors[0]?.length ?? 0;
    const mean = new Float64Array(size);
    const squares = new Float64Array(size);
    for (const vector of vectors) {
      for (let i = 0; i < size; i++) {
        mean[i] = (mean[i] ?? 0) + (vector[i] ?? 0) / vectors.length;
        squares[i] = (squares[i] ?? 0) + (vector[i] ?? 0) ** 2 / vectors.length;
      }
    }
    this.#mean = mean;
    this.#factor = squares.map((square, i) => 1 / Math.sqrt(Math.max(1e-4, square - (mean[i] ?? 0) ** 2)));
  }

  /** Clipped, because the embedding is sparse. */
  of(vector: Float32Array): Float32Array {
    return vector.map((x, i) => Math.max(-5, Math.min(5, (x - (this.#mean[i] ?? 0)) * (this.#factor[i] ?? 1))));
  }
}

/** Multinomial logistic regression by gradient descent with momentum over all examples at once. */
export class LinearHead {
  readonly #weights: Float64Array;
  readonly #size: number;
  readonly #classes: number;

  constructor(inputs: readonly Float32Array[], labels: readonly number[], { classes, steps = 120, rate = 0.5, decay = 1e-3 }: { classes: number; steps?: number; rate?: number; decay?: number }) {
    this.#size = inputs[0]?.length ?? 0;
    this.#classes = classes;
    this.#weights = new Float64Array(classes * (this.#size + 1));
    const speed = new Float64Array(this.#weights.length);
    for (let step = 0; step < steps; step++) {
      const gradient = this.#weights.map((weight) => decay * weight);
      inputs.forEach((input, n) => this.#addGradient(gradient, input, labels[n] ?? 0, 1 / inputs.length));
      for (let i = 0; i < speed.length; i++) {
        speed[i] = 0.9 * (speed[i] ?? 0) - ((rate * (gradient[i] ?? 0)) / Math.sqrt(this.#size)) * 2;
        this.#weights[i] = (this.#weights[i] ?? 0) + (speed[i] ?? 0);
      }
    }
  }

  probabilities(input: Float32Array): Float64Array {
    const logits = Float64Array.from({ length: this.#classes }, (_, c) => {
      const row = c * (this.#size + 1);
      let sum = this.#weights[row + this.#size] ?? 0;
      for (let i = 0; i < this.#size; i++) sum += (this.#weights[row + i] ?? 0) * (input[i] ?? 0);
      return sum;
    });
    const most = Math.max(...logits);
    const total = logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0);
    return logits.map((logit) => Math.exp(logit - most) / total);
  }

  #addGradient(gradient: Float64Array, input: Float32Array, label: number, share: number): void {
    this.probabilities(input).forEach((probability, c) => {
      const error = share * (probability - (c === label ? 1 : 0));
      const row = c * (this.#size + 1);
      for (let i = 0; i < this.#size; i++) gradient[row + i] = (gradient[row + i] ?? 0) + error * (input[i] ?? 0);
      gradient[row + this.#size] = (gradient[row + this.#size] ?? 0) + error;
    });
  }
}
