import { openOnnxRuntime } from '../../../runtime/engines/onnxruntime.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { readInputFile } from '../../cli/files.js';
import { DeployError } from '../../errors.js';
import { randomOf } from '../examples.js';

/** A text as numbers of its characters; the last part is only judged on. */
export interface Corpus {
  /** In the order of their code points. */
  readonly characters: readonly string[];
  readonly train: Int32Array;
  readonly judged: Int32Array;
}

const mostCharacters = 4096;

/**
 * @param share of the text, at its end, that is only judged on
 * @throws DeployError E_FILE; E_LAB: a text too short for the context, or with too many characters
 */
export async function readCorpus(path: string, share: number, context: number): Promise<Corpus> {
  const all = [...new TextDecoder('utf-8', { ignoreBOM: true }).decode(await readInputFile(path))];
  const characters = [...new Set(all)].sort();
  if (characters.length < 2 || characters.length > mostCharacters) throw new DeployError('E_LAB', `${path} has ${characters.length} different characters; expected 2 to ${mostCharacters}`);
  const numbers = new Map(characters.map((character, i) => [character, i]));
  const tokens = Int32Array.from(all, (character) => numbers.get(character) ?? 0);
  const end = Math.floor((1 - share) * tokens.length);
  const corpus = { characters, train: tokens.subarray(0, end), judged: tokens.subarray(end) };
  for (const [name, part] of [['learned from', corpus.train], ['judged on', corpus.judged]] as const) {
    if (part.length <= context) throw new DeployError('E_LAB', `The part of ${path} that is ${name} has ${part.length} characters; expected more than the context of ${context}`);
  }
  return corpus;
}

export const tokensTensor = (tokens: ArrayLike<number>, dims: readonly number[]): Tensor => ({ type: 'int64', dims, data: BigInt64Array.from({ length: tokens.length }, (_, i) => BigInt(tokens[i] ?? 0)) });

/** Passages at random places, and which character follows each of theirs, one-hot. */
export function passages({ train, characters }: Corpus, { batch, context, seed }: { batch: number; context: number; seed: number }): (step: number) => { tokens: Tensor; target: Tensor } {
  return (step) => {
    const next = randomOf(seed, step);
    const tokens = new Int32Array(batch * context);
    const target = new Float32Array(batch * context * characters.length);
    for (let row = 0; row < batch; row++) {
      const start = Math.floor(next() * (train.length - context));
      for (let i = 0; i < context; i++) {
        tokens[row * context + i] = train[start + i] ?? 0;
        target[(row * context + i) * characters.length + (train[start + i + 1] ?? 0)] = 1;
      }
    }
    return { tokens: tokensTensor(tokens, [batch, context]), target: { type: 'float32', dims: [batch * context, characters.length], data: target } };
  };
}

/** Minus the logarithm of the share that a softmax over `size` logits from `at` on gives to one of them. */
function surprise(logits: Float32Array, at: number, size: number, chosen: number): number {
  const row = logits.subarray(at, at + size);
  const most = row.reduce((a, b) => Math.max(a, b), -Infinity);
  return most + Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - most), 0)) - (row[chosen] ?? 0);
}

/**
 * exp of the mean surprise by the next character, over passages that do not overlap: 1 for who always knows it, the number of characters for who never does.
 * @param most characters that are looked at
 */
export async function perplexityOf(model: Uint8Array, tokens: Int32Array, context: number, most = 16_384): Promise<number> {
  const session = await openOnnxRuntime(model, { threads: 1, shapes: { tokens: [1, context] } });
  let [sum, count] = [0, 0];
  try {
    for (let start = 0; start + context < tokens.length && count < most; start += context) {
      const { logits } = await session.run({ tokens: tokensTensor(tokens.subarray(start, start + context), [1, context]) });
      const size = logits?.dims.at(-1) ?? 0;
      for (let i = 0; i < context; i++, count++) sum += surprise(logits?.data as Float32Array, i * size, size, tokens[start + i + 1] ?? 0);
    }
  } finally {
    await session.close();
  }
  return Math.exp(sum / count);
}
