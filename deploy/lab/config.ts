import { parse } from 'yaml';
import { z } from 'zod';
import { messageOf } from '../../runtime/errors.js';
import { DeployError } from '../errors.js';
import type { LossSettings } from './losses.js';
import { adamw } from './optimizers.js';

const share = z.number().min(0).max(1);
const count = z.number().int().positive();

const loss = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('cross-entropy'), smoothing: share.optional() }),
  z.strictObject({ kind: z.literal('gce'), q: z.number().gt(0).max(1).default(0.7) }),
  z.strictObject({ kind: z.literal('sce'), alpha: z.number().positive().default(0.1), beta: z.number().positive().default(1) }),
  /** Additive angular margin in radians, and the factor on the cosines; for faces only (methods/arcface.ts). */
  z.strictObject({ kind: z.literal('arcface'), scale: z.number().positive().default(64), margin: z.number().min(0).lt(1.5).default(0.5) }),
]);

const optimizer = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('sgd'), momentum: share.default(0.9), decay: z.number().min(0).default(5e-4) }),
  z.strictObject({ kind: z.literal('adamw'), beta1: share.default(adamw.beta1), beta2: share.default(adamw.beta2), epsilon: z.number().positive().default(adamw.epsilon), decay: z.number().min(0).default(0.02) }),
]);

const schedule = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('constant') }), z.strictObject({ kind: z.literal('cosine') }), z.strictObject({ kind: z.literal('one-cycle') }),
  z.strictObject({ kind: z.literal('restarts'), cycles: count.max(16).default(3) }),
]);

/** The student learns the teacher's probabilities of the classes, or of the next character of the text. */
const softTargets = z.strictObject({
  method: z.literal('soft-targets').optional(),
  model: z.string().min(1),
  temperature: z.number().positive().default(2),
  /** Share of the teacher in the loss; the rest are the labels. */
  weight: share.default(0.5),
  direction: z.enum(['forward', 'reverse']).default('forward'),
});

/** The student writes, and learns from what the teacher thinks of it; for text only (language/minillm.ts). */
const miniLlm = z.strictObject({
  method: z.literal('minillm'),
  model: z.string().min(1),
  /** Passages that the student writes in a step; left out: as many as `batch`. */
  samples: count.max(4096).optional(),
  /** Characters of the text that each of them begins with; left out: a quarter of the context. */
  prompt: count.optional(),
  teacher_share: z.number().min(0).lt(1).default(0.2),
  importance: z.boolean().default(true),
  single_step: z.boolean().default(true),
  length_normalization: z.boolean().default(true),
  baseline: z.boolean().default(true),
  /** Of the loss of the text itself, besides that of the samples; 0 leaves the text out. */
  text_weight: z.number().min(0).default(1),
});

/** The student gives the teacher's embedding of each picture; for faces only (methods/embedding-regression.ts). */
const regression = z.strictObject({
  method: z.literal('regression'),
  model: z.string().min(1),
  /** Share of the teacher in the loss; the rest is that of `loss`. */
  weight: share.default(1),
});

/** The teacher's classes, frozen, with a margin by its confidence; for faces only (methods/margin-distillation.ts). */
const marginDistillation = z.strictObject({
  method: z.literal('margin-distillation'),
  model: z.string().min(1),
  scale: z.number().positive().default(64),
  /** Radians. */
  margin_min: z.number().min(0).lt(1.5).default(0.2),
  margin_max: z.number().min(0).lt(1.5).default(0.5),
  weight: share.default(1),
}).refine(({ margin_min, margin_max }) => margin_min <= margin_max, { path: ['margin_max'], message: 'expected at least margin_min' });

/** Students: inverted residuals for clips, by a factor on their channels; and a transformer for text. */
const convolutional = z.strictObject({ width: z.number().positive().max(8).default(1) });
const transformer = z.strictObject({ kind: z.literal('transformer'), width: count.max(4096).default(96), layers: count.max(64).default(3), heads: count.max(64).default(4) });
const embedder = z.strictObject({
  kind: z.literal('embedder'),
  width: z.number().positive().max(8).default(0.25),
  /** Side of its pictures in pixels, a multiple of 16; pipelines of faces want 112. */
  size: count.min(16).max(512).default(112),
  /** Length of an embedding; with a teacher, that of the teacher's. */
  dimensions: count.max(4096).default(512),
});

/** A run, as lab.yaml describes it. */
export const labConfig = z.strictObject({
  /** Path of an ONNX model with an open batch dimension, or a student that the lab builds. */
  model: z.union([z.string().min(1), z.strictObject({ student: z.union([convolutional, transformer, embedder]) })]),
  data: z.discriminatedUnion('kind', [z.strictObject({
    kind: z.literal('clips'),
    /** Holds a folder of recordings for each class. */
    folder: z.string().min(1),
    /** Recordings of these folds are only tested on. */
    test_folds: z.array(z.number().int().min(0)).default([]),
    /** Rows of features that the model sees at once. */
    rows: count.max(4096).default(96),
    /** Share of the training labels that are replaced by wrong ones, for experiments. */
    wrong_labels: share.default(0),
  }), z.strictObject({
    kind: z.literal('text'),
    /** A text in UTF-8. */
    file: z.string().min(1),
    /** Share of the text, at its end, that is only judged on. */
    held_out: z.number().gt(0).lt(1).default(0.1),
    /** Characters that the model sees at once. */
    context: count.max(4096).default(64),
  }), z.strictObject({
    kind: z.literal('faces'),
    /** Holds pictures that are cut to the face, as the embedder expects it. */
    folder: z.string().min(1),
    /** Whether each person has a folder, or files begin with the person's name and - or _. */
    people: z.enum(['folder', 'prefix']).default('folder'),
    /** Names of people who are only judged on. */
    test_people: z.array(z.string().min(1)).default([]),
    /** Pixels become (level - mean) / std, for student and teacher. */
    mean: z.number().default(127.5),
    std: z.number().positive().default(128),
    augment: z.strictObject({
      flip: z.boolean().default(true),
      /** Largest share of each side that is cut off. */
      crop: share.max(0.9).default(0.15),
      /** Largest change of brightness and contrast. */
      brightness: share.default(0.25),
      /** Largest share of each side that a grey rectangle hides. */
      erase: share.max(0.9).default(0.3),
    }).prefault({}),
  })]),
  loss: loss.default({ kind: 'cross-entropy', smoothing: 0.1 }),
  /** A larger model that takes the same input and gives logits of the same classes or characters. */
  teacher: z.discriminatedUnion('method', [softTargets, miniLlm, regression, marginDistillation]).optional(),
  optimizer: optimizer.default({ ...adamw, decay: 0.02 }),
  schedule: schedule.default({ kind: 'cosine' }),
  rate: z.number().positive().default(3e-3),
  warmup: share.default(0.05),
  clip: z.number().positive().default(5),
  /** Share of the averaged weights that each step keeps; 0 switches averaging off. */
  average: z.number().min(0).lt(1).default(0.99),
  steps: count.default(600),
  batch: count.max(4096).default(32),
  seed: z.number().int().min(0).default(1),
  threads: count.max(256).default(1),
  /** Steps between two checkpoints. */
  checkpoint_steps: count.default(100),
  /** Checkpoints after which training stops when the smoothed loss has not fallen; left out: never. */
  patience: count.optional(),
});

export type LabConfig = z.output<typeof labConfig>;

/** What a file of YAML says, as the schema has it. @throws DeployError E_USAGE that names the key */
export function parseYaml<T extends z.ZodType>(schema: T, text: string, path: string): z.output<T> {
  let value: unknown;
  try {
    value = parse(text);
  } catch (cause) {
    throw new DeployError('E_USAGE', `${path} is not YAML: ${messageOf(cause)}`, { cause, details: { path } });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw new DeployError('E_USAGE', `${path}: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'not valid'}`, { details: { path } });
}

/** @throws DeployError E_USAGE that names the key */
export const parseLabConfig = (text: string, path: string): LabConfig => parseYaml(labConfig, text, path);

/** A run on recordings. */
export type ClipsConfig = LabConfig & { data: Extract<LabConfig['data'], { kind: 'clips' }> };
/** A run on a text. */
export type TextConfig = LabConfig & { data: Extract<LabConfig['data'], { kind: 'text' }> };

/** A run on pictures of people. */
export type FacesConfig = LabConfig & { data: Extract<LabConfig['data'], { kind: 'faces' }> };

export type SoftTargets = z.output<typeof softTargets>;
export type MiniLlmConfig = z.output<typeof miniLlm>;

/** The teacher whose probabilities are learned, if that is what the run does. */
export const softTargetsOf = ({ teacher }: LabConfig): SoftTargets | undefined => (teacher?.method === undefined || teacher.method === 'soft-targets' ? teacher : undefined);

/** The loss of labels of classes or characters. @throws DeployError E_USAGE */
export function plainLossOf({ loss: settings, data }: LabConfig): LossSettings {
  if (settings.kind === 'arcface') throw new DeployError('E_USAGE', `loss.kind: arcface is for data of kind faces but data.kind is ${data.kind}`);
  return settings;
}

const teachers = {
  clips: ['soft-targets'], text: ['soft-targets', 'minillm'], faces: ['regression', 'margin-distillation'],
} as const satisfies Record<LabConfig['data']['kind'], readonly (NonNullable<NonNullable<LabConfig['teacher']>['method']>)[]>;

/** @throws DeployError E_USAGE: a teacher whose method is for other data */
export function checkTeacher({ teacher, data: { kind } }: LabConfig): void {
  const method = teacher?.method ?? 'soft-targets';
  if (teacher === undefined || (teachers[kind] as readonly string[]).includes(method)) return;
  const fitting = Object.entries(teachers).filter(([, methods]) => (methods as readonly string[]).includes(method)).map(([of]) => of).join(' or ');
  throw new DeployError('E_USAGE', `teacher.method: ${method} is for data of kind ${fitting}; expected ${teachers[kind].join(' or ')} for data of kind ${kind}`);
}
