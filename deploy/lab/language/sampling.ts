import type { Tensor } from '../../../runtime/tensor.js';
import { tokensTensor } from './text.js';

/** Logits [rows, context, characters] of a language model for tokens [rows, context]. */
export type Predictor = (tokens: Tensor) => Promise<Float32Array>;

/** Sizes of what is drawn. Each row has a prompt, and what is drawn after it until `context + 1` characters are there. */
export interface SampleSize {
  readonly rows: number;
  readonly context: number;
  readonly prompt: number;
  readonly characters: number;
}

/** Characters that one step draws for a row: the last is drawn from a full context. */
export const drawnOf = ({ context, prompt }: SampleSize): number => context + 1 - prompt;

/** Passages that a student has written after prompts, and what it and its teacher thought of each character on the way. */
export interface Samples extends SampleSize {
  /** [rows, context + 1] */
  readonly tokens: Int32Array;
  /** Logarithms of the probabilities, [rows, drawn, characters]. */
  readonly student: Float32Array;
  readonly teacher: Float32Array;
}

/** Writes log-softmax of `size` logits from `at` on into `into`. */
export function logSoftmax(logits: Float32Array, at: number, into: Float32Array): void {
  let [most, sum] = [-Infinity, 0];
  for (let i = 0; i < into.length; i++) most = Math.max(most, logits[at + i] ?? 0);
  for (let i = 0; i < into.length; i++) sum += Math.exp((logits[at + i] ?? 0) - most);
  const norm = most + Math.log(sum);
  for (let i = 0; i < into.length; i++) into[i] = (logits[at + i] ?? 0) - norm;
}

/** A number of those whose share is `teacherShare` of exp(teacher) and the rest of exp(student). */
function drawFrom(student: Float32Array, teacher: Float32Array, teacherShare: number, random: number): number {
  let left = random;
  for (let i = 0; i < student.length - 1; i++) {
    left -= teacherShare * Math.exp(teacher[i] ?? 0) + (1 - teacherShare) * Math.exp(student[i] ?? 0);
    if (left < 0) return i;
  }
  return student.length - 1;
}

export interface SampledModels {
  readonly student: Predictor;
  readonly teacher: Predictor;
  /** Share of the teacher in what is drawn from: 0 draws from the student alone. */
  readonly teacherShare: number;
}

/**
 * Draws the characters after prompts one by one.
 * @param prompts [rows, prompt], row by row
 * @param next numbers in [0, 1): equal ones give equal samples
 */
export async function drawSamples({ student, teacher, teacherShare }: SampledModels, size: SampleSize, prompts: readonly Int32Array[], next: () => number): Promise<Samples> {
  const { rows, context, prompt, characters } = size;
  const drawn = drawnOf(size);
  const tokens = new Int32Array(rows * (context + 1));
  prompts.forEach((row, i) => tokens.set(row.subarray(0, prompt), i * (context + 1)));
  const logs = [new Float32Array(rows * drawn * characters), new Float32Array(rows * drawn * characters)] as const;
  for (let k = 0; k < drawn; k++) {
    // Characters that are not there yet are zeros, which no earlier place sees.
    const fed = new Int32Array(rows * context);
    for (let row = 0; row < rows; row++) fed.set(tokens.subarray(row * (context + 1), row * (context + 1) + context), row * context);
    const input = tokensTensor(fed, [rows, context]);
    const logits = [await student(input), await teacher(input)] as const;
    for (let row = 0; row < rows; row++) {
      const [from, at] = [(row * context + prompt - 1 + k) * characters, (row * drawn + k) * characters];
      const [own, wanted] = [logs[0].subarray(at, at + characters), logs[1].subarray(at, at + characters)];
      logSoftmax(logits[0], from, own);
      logSoftmax(logits[1], from, wanted);
      tokens[row * (context + 1) + prompt + k] = drawFrom(own, wanted, teacherShare, next());
    }
  }
  return { ...size, tokens, student: logs[0], teacher: logs[1] };
}

/** The character that was drawn in a row at a place, 0 being the first after the prompt. */
export const drawnAt = ({ tokens, context, prompt }: Samples, row: number, k: number): number => tokens[row * (context + 1) + prompt + k] ?? 0;

/** How a student's own samples compare with its teacher, in nats for each character. */
export interface SampleQuality {
  /** KL(student || teacher) at the places that the student comes to by itself. */
  reverse_kl: number;
  /** Mean logarithm of the teacher's probability of the characters that the student has drawn. */
  teacher_log_likelihood: number;
  /** Of the student: 0 for one who always draws the same. */
  entropy: number;
}

/** @param samples drawn from the student alone */
export function qualityOf(samples: readonly Samples[]): SampleQuality {
  let [kl, likelihood, entropy, count] = [0, 0, 0, 0];
  for (const drawn of samples) {
    const { rows, characters, student, teacher } = drawn;
    for (let row = 0; row < rows; row++) {
      for (let k = 0; k < drawnOf(drawn); k++, count++) {
        const at = (row * drawnOf(drawn) + k) * characters;
        likelihood += teacher[at + drawnAt(drawn, row, k)] ?? 0;
        for (let i = at; i < at + characters; i++) {
          const [q, p] = [student[i] ?? 0, teacher[i] ?? 0];
          kl += Math.exp(q) * (q - p);
          entropy -= Math.exp(q) * q;
        }
      }
    }
  }
  return { reverse_kl: kl / count, teacher_log_likelihood: likelihood / count, entropy: entropy / count };
}
