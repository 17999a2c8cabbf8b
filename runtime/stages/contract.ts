import { z } from 'zod';
import { RuntimeError } from '../errors.js';
import { featureDefinition, featuresOf } from '../sound/definition.js';

/**
 * What the manifest of a package says of a pipeline, apart from the settings of its kind: stages by name, each a model with the
 * contract of its input. Field names carry units.
 */

/** Longest path that fits one ustar header field; deeper folders than `golden/x.bin` are never needed. */
const maxPathLength = 100;

export const packagePath = z.string().max(maxPathLength)
  .regex(/^[A-Za-z0-9_-][A-Za-z0-9._-]*(\/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$/, 'a relative path of letters, digits, ".", "_" and "-"');

export const share = z.number().min(0).max(1);
export const positiveInteger = z.number().int().positive();

/** Name of a stage or a kind: it is part of file names, golden vectors and telemetry. */
export const stageName = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, 'a name of lower-case letters, digits and "-"');

const tensorName = z.string().min(1).max(256);

/**
 * How a model wants its picture in its input `tensor`: resized to width x height, `value = (pixel - mean[c]) / std[c]`, channels in this order.
 * One mean and std for `grey`, three otherwise.
 */
export const pixelContract = z.object({
  type: z.literal('pixels'),
  tensor: tensorName,
  width: positiveInteger.max(4096),
  height: positiveInteger.max(4096),
  channels: z.enum(['rgb', 'bgr', 'grey']),
  mean: z.array(z.number()).min(1).max(3),
  std: z.array(z.number().positive()).min(1).max(3),
}).superRefine((value, context) => {
  const expected = value.channels === 'grey' ? 1 : 3;
  for (const key of ['mean', 'std'] as const) {
    if (value[key].length === expected) continue;
    const message = `Expected ${expected} values for channels ${value.channels} but received ${value[key].length}`;
    context.addIssue({ code: 'custom', path: [key], message });
  }
});

/** Samples of sound from one decision to the next. */
const step = positiveInteger.max(192_000);

/** How a model wants its sound in its input `tensor`: the newest `samples` samples, -1..1 times `gain`, [1, samples]. */
export const waveContract = z.object({
  type: z.literal('wave'),
  tensor: tensorName,
  /** Samples a second. */
  rate: positiveInteger.min(1000).max(192_000),
  samples: positiveInteger.max(2_000_000),
  step,
  gain: z.number().positive().default(1),
}).refine((wave) => wave.step <= wave.samples, { message: 'Expected a step of at most `samples`' });

/** How a model wants features of sound in its input `tensor`: the newest `frames` rows, frame by frame or band by band. */
export const featuresContract = z.object({
  type: z.literal('features'),
  tensor: tensorName,
  frames: positiveInteger.max(65_536),
  step,
  layout: z.enum(['time-bands', 'bands-time']),
  definition: featureDefinition,
  /** The model takes codes: value = (code - zero_point) * scale. Absent: floats. */
  codes: z.object({ type: z.enum(['int8', 'uint8']), scale: z.number().positive(), zero_point: z.number().int().min(-128).max(255) }).optional(),
});

/** Values that a model gives in `output` and wants back in `input` at the next run; zeros at first and after a gap. */
const carriedState = z.object({ input: tensorName, output: tensorName, dims: z.array(positiveInteger).max(8) });

/** An input that always has the same values, such as a rate. */
const constantInput = z.object({
  input: tensorName, type: z.enum(['float32', 'int32', 'int64']), dims: z.array(positiveInteger).max(8), values: z.array(z.number()).min(1).max(1024),
});

/** A stage: a model, what its input is made of, and the outputs that the pipeline reads. */
export const stageContract = z.object({
  model: packagePath,
  input: z.discriminatedUnion('type', [pixelContract, waveContract, featuresContract]),
  outputs: z.array(tensorName).min(1).max(64),
  states: z.array(carriedState).max(16).optional(),
  constants: z.array(constantInput).max(16).optional(),
});

/** Most stages of one pipeline. */
const maxStages = 16;

/** Stages by name, in the order in which they are opened and tested. */
export const stageRecord = z.record(stageName, stageContract).refine((stages) => {
  const count = Object.keys(stages).length;
  return count > 0 && count <= maxStages;
}, { message: `Expected 1 to ${maxStages} stages` });

/** A pipeline as data. The settings are those of its kind (runtime/kinds), which checks them. */
export const pipelineDescription = z.object({
  kind: stageName,
  stages: stageRecord,
  settings: z.record(z.string(), z.unknown()),
});

export type PixelContract = z.output<typeof pixelContract>;
export type WaveContract = z.output<typeof waveContract>;
export type FeaturesContract = z.output<typeof featuresContract>;
export type SoundContract = WaveContract | FeaturesContract;
export type StageContract = z.output<typeof stageContract>;
export type StageRecord = z.output<typeof stageRecord>;
export type PipelineDescription = z.output<typeof pipelineDescription>;

/** Samples a second that a stage takes. */
export const rateOf = (input: SoundContract): number => (input.type === 'wave' ? input.rate : input.definition.rate);

/** Values of the input that a run takes. */
export const soundValues = (input: SoundContract): number => (input.type === 'wave' ? input.samples : input.frames * featuresOf(input.definition));

/** Samples that the input of a run covers. */
export const soundSpan = (input: SoundContract): number => (input.type === 'wave' ? input.samples : (input.frames - 1) * input.definition.hop + input.definition.frame);

/** The contract of a stage that sees pictures. @throws RuntimeError E_PACKAGE when it listens */
export function pixelsOf(contract: Pick<StageContract, 'input'>): PixelContract {
  if (contract.input.type === 'pixels') return contract.input;
  throw new RuntimeError('E_PACKAGE', `Expected a stage with an input of pixels but received one of ${contract.input.type}`);
}
