import type { Calculus } from '../../runtime/gradients/rule.js';

// Losses as nodes of the training graph. Logits, targets and the teacher's logits are [batch, classes]; targets are probabilities.

/** What a loss is made of; each mean is over the batch. */
export type LossSettings =
  | { readonly kind: 'cross-entropy'; readonly smoothing?: number | undefined }
  /** (1 - p^q) / q: between cross-entropy (q to 0) and the mean absolute error (q = 1), so that wrong labels weigh less (Zhang and Sabuncu, arXiv 1805.07836). */
  | { readonly kind: 'gce'; readonly q: number }
  /** Cross-entropy and its reverse, in which log 0 counts as -4 (Wang et al., arXiv 1908.06112). */
  | { readonly kind: 'sce'; readonly alpha: number; readonly beta: number };

export interface DistillationSettings {
  /** Logits of teacher and student are divided by it. */
  readonly temperature: number;
  /** Share of the distillation in the whole loss, 0..1. */
  readonly weight: number;
  /** `forward`: KL(teacher || student), which covers all that the teacher deems possible; `reverse`: KL(student || teacher), which seeks its modes. */
  readonly direction: 'forward' | 'reverse';
}

const lastAxis = { axis: { type: 'int', value: -1 } } as const;
export const logSoftmaxOf = (m: Calculus, logits: string): string => m.b.emit('LogSoftmax', [logits], lastAxis);

/** Sum over the classes, mean over the batch; a scalar. */
function meanOverBatch(m: Calculus, perClass: string): string {
  const [batch = 1] = m.shape(perClass);
  return m.scale(m.reduce('ReduceSum', perClass, m.shape(perClass).map((_, i) => i), false), 1 / batch);
}

const crossEntropy = (m: Calculus, logits: string, target: string): string => m.op('Neg', meanOverBatch(m, m.mul(target, logSoftmaxOf(m, logits))));

/** Logarithm of an impossible label, by definition of the symmetric loss. */
const logOfZero = -4;

/** The loss of labels. */
export function labelLoss(m: Calculus, settings: LossSettings, logits: string, target: string): string {
  const [, classes = 1] = m.shape(logits);
  switch (settings.kind) {
    case 'cross-entropy': {
      const smoothing = settings.smoothing ?? 0;
      return crossEntropy(m, logits, m.affine(target, 1 - smoothing, smoothing / classes));
    }
    case 'gce': {
      const given = m.reduce('ReduceSum', m.mul(target, m.softmax(logits, -1)), [1]);
      // A probability of 0 would have an infinite slope.
      const powered = m.op('Pow', m.op('Max', given, m.number(1e-7)), m.number(settings.q));
      return meanOverBatch(m, m.affine(powered, -1 / settings.q, 1 / settings.q));
    }
    case 'sce': {
      const logs = m.op('Max', m.op('Log', m.op('Max', target, m.number(1e-30))), m.number(logOfZero));
      const reverse = m.op('Neg', meanOverBatch(m, m.mul(m.softmax(logits, -1), logs)));
      return m.add(m.scale(crossEntropy(m, logits, target), settings.alpha), m.scale(reverse, settings.beta));
    }
  }
}

/** How far the student's probabilities are from the teacher's (Hinton et al., arXiv 1503.02531), times the temperature squared, so that the gradient keeps its size. */
export function distillationLoss(m: Calculus, { temperature, direction }: DistillationSettings, logits: string, teacher: string): string {
  const student = logSoftmaxOf(m, m.scale(logits, 1 / temperature));
  const wanted = logSoftmaxOf(m, m.scale(teacher, 1 / temperature));
  const [from, to] = direction === 'forward' ? [wanted, student] : [student, wanted];
  return m.scale(meanOverBatch(m, m.mul(m.op('Exp', from), m.sub(from, to))), temperature * temperature);
}

/** Root of the squared difference of each output, summed; differences near zero are rounded off (FAT, arXiv 1812.07872). */
export function rootDistance(m: Calculus, outputs: string, wanted: string): string {
  return meanOverBatch(m, m.op('Sqrt', m.affine(m.square(m.sub(outputs, wanted)), 1, 1e-5)));
}
