/** YAMNet up to the embedding that its classifier sees, and a linear classifier of our own on top. */
import { int } from '../../runtime/graph/attributes.js';
import { graphFromOnnx } from '../../runtime/graph/import.js';
import { fromNumbers } from '../../runtime/graph/tensor-value.js';
import { inferShapes } from '../../runtime/infer/infer.js';
import { parseModel } from '../../runtime/onnx/parse.js';
import { serializeModel } from '../../runtime/onnx/serialize.js';
import { createSession } from '../../runtime/session.js';
import type { Tensor } from '../../runtime/tensor.js';
import { DeployError } from '../errors.js';
import { joined } from '../lab/clips.js';
import { labelLoss } from '../lab/losses.js';
import { NetworkWriter } from '../lab/network-writer.js';
import { Trainer } from '../lab/trainer.js';
import { trainingModel } from '../lab/training-model.js';
import { patchSamples } from './clips.js';

/** Values of YAMNet's embedding. */
export const embeddingSize = 1024;

export interface Teacher {
  /** As it was read. */
  readonly model: Uint8Array;
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
    model,
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
  readonly #weights: Float32Array;
  readonly #biases: Float32Array;

  private constructor(weights: Float32Array, biases: Float32Array) {
    this.#weights = weights;
    this.#biases = biases;
  }

  /** @throws RuntimeError E_ENGINE_MISSING without onnxruntime-node, which computes the gradients */
  static async fit(inputs: readonly Float32Array[], labels: readonly number[], { classes, steps = 120, rate = 1, decay = 1e-3 }: { classes: number; steps?: number; rate?: number; decay?: number }): Promise<LinearHead> {
    const [count, size] = [inputs.length, inputs[0]?.length ?? 0];
    const net = new NetworkWriter();
    net.weights.set('weight', fromNumbers('float32', [classes, size], new Float32Array(classes * size)));
    net.weights.set('bias', fromNumbers('float32', [classes], new Float32Array(classes)));
    net.node('Gemm', ['input', 'weight', 'bias'], 'logits', { transB: int(1) });
    const model = trainingModel(inferShapes(graphFromOnnx(net.model({ input: [count, size] }, { logits: [count, classes] }))), {
      inputs: { target: { dtype: 'float32', shape: [count, classes] } }, loss: (m) => labelLoss(m, { kind: 'cross-entropy' }, 'logits', 'target'),
    });
    const target = Float32Array.from({ length: count * classes }, (_, i) => (labels[Math.floor(i / classes)] === i % classes ? 1 : 0));
    const feeds: Record<string, Tensor> = { input: { type: 'float32', dims: [count, size], data: joined(inputs) }, target: { type: 'float32', dims: [count, classes], data: target } };
    const trainer = await Trainer.open(model, {
      steps, optimizer: { kind: 'sgd', momentum: 0.9, decay }, schedule: { kind: 'constant' }, rate: rate / Math.sqrt(size), warmup: 0, clip: Infinity, average: 0, threads: 1,
    }, () => feeds);
    try {
      while (trainer.step < steps) await trainer.advance();
    } finally {
      await trainer.close();
    }
    return new LinearHead(trainer.result.get('weight') ?? new Float32Array(0), trainer.result.get('bias') ?? new Float32Array(0));
  }

  probabilities(input: Float32Array): Float64Array {
    const weights = this.#weights;
    const logits = Float64Array.from(this.#biases);
    for (let c = 0; c < logits.length; c++) {
      let sum = logits[c] ?? 0;
      for (let i = 0; i < input.length; i++) sum += (weights[c * input.length + i] ?? 0) * (input[i] ?? 0);
      logits[c] = sum;
    }
    return softmax(logits);
  }
}

export function softmax(logits: Float64Array): Float64Array {
  const most = Math.max(...logits);
  const exponentials = logits.map((logit) => Math.exp(logit - most));
  const total = exponentials.reduce((sum, value) => sum + value, 0);
  return exponentials.map((value) => value / total);
}
