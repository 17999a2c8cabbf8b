import { z } from 'zod';

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

/** A stage: a model, what its input is made of, and the outputs that the pipeline reads. */
export const stageContract = z.object({
  model: packagePath,
  input: z.discriminatedUnion('type', [pixelContract]),
  outputs: z.array(tensorName).min(1).max(64),
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
export type StageContract = z.output<typeof stageContract>;
export type StageRecord = z.output<typeof stageRecord>;
export type PipelineDescription = z.output<typeof pipelineDescription>;
