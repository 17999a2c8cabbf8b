import { z } from 'zod';
import type { DescribeHints, ModelInfo } from '../../runtime/kinds/kind.js';
import { vectorLength } from '../../runtime/kinds/pixel-input.js';
import { stated } from '../../runtime/options.js';
import type { EngineName } from '../../runtime/session-types.js';
import type { PipelineDescription } from '../../runtime/stages/contract.js';
import type { PictureDefaults } from '../../runtime/vision/decoders/family.js';
import { boxDecoder, decoderTitle } from '../../runtime/vision/decoders/index.js';
import type { Fit } from '../../runtime/vision/pixels.js';
import { fitSetting } from '../../runtime/vision/settings.js';
import { DeployError } from '../errors.js';
import { describeModel, descriptionOf } from '../package/describe.js';

/** Kinds that a single model makes a pipeline of, with the name of their stage. */
export const modelKinds = { detection: 'detector', classification: 'classifier', embedding: 'embedder' } as const;
export type ModelKind = keyof typeof modelKinds;

/** What the user states instead of what would be assumed. */
export interface ModelOptions extends DescribeHints {
  kind?: ModelKind | undefined;
  labels?: readonly string[] | undefined;
  mean?: readonly number[] | undefined;
  std?: readonly number[] | undefined;
  channels?: 'rgb' | 'bgr' | undefined;
  fit?: Fit | undefined;
  score?: number | undefined;
  iou?: number | undefined;
}

export interface RecognizedModel {
  kind: ModelKind;
  description: PipelineDescription;
  /** A sentence for each assumption, with the option that replaces it. */
  assumptions: string[];
}

/** Embeddings are as long as that or a multiple of it; numbers of classes hardly ever are. */
const embeddingUnit = 64;

/** What a model is for, by its outputs: one vector is an embedding or a classification, all else is taken for a detector. */
export function guessKind(info: ModelInfo): ModelKind {
  const length = vectorLength(info);
  if (length === undefined) return 'detection';
  const ends = info.ends?.[info.outputs[0]?.name ?? ''] ?? [];
  return length % embeddingUnit === 0 && !ends.some((op) => op === 'Softmax' || op === 'Sigmoid') ? 'embedding' : 'classification';
}

/**
 * The pipeline that a single model makes, as far as its file tells and with what the user states.
 * @throws DeployError E_USAGE for options that do not fit the kind or a head that fits no family, RuntimeError E_MODEL_*
 */
export async function recognizeModel(model: Uint8Array, options: ModelOptions, engine?: EngineName): Promise<RecognizedModel> {
  const info = await describeModel(model, engine);
  const kind = options.kind ?? guessKind(info);
  const description = descriptionOf(kind, { [modelKinds[kind]]: info }, overridesOf(kind, options), hintsOf(options));
  return { kind, description, assumptions: assumptionsOf(kind, description, options) };
}

/**
 * How such a model wants its pictures, as `sterna run` assumes.
 * @returns undefined where it can assume nothing: another input than one picture of three channels, or a head that fits no family
 */
export function pictureOf(info: ModelInfo): PictureDefaults | undefined {
  const kind = guessKind(info);
  try {
    const { stages, settings } = descriptionOf(kind, { [modelKinds[kind]]: info });
    const input = stages[modelKinds[kind]]?.input;
    const { fit, pad = 0 } = fitted.parse(kind === 'detection' ? settings['detector'] : settings);
    return input?.type !== 'pixels' || input.channels === 'grey' ? undefined : { channels: input.channels, mean: input.mean, std: input.std, fit, pad };
  } catch (error) {
    if (error instanceof DeployError && error.code === 'E_USAGE') return undefined;
    throw error;
  }
}

const fitted = z.looseObject({ fit: fitSetting, pad: z.number().optional() });

export const hintsOf = ({ decoder, anchors, keypoints }: DescribeHints): DescribeHints => ({ decoder, anchors, keypoints });

/** As the manifest's `pipeline`. */
function overridesOf(kind: ModelKind, { labels, mean, std, channels, fit, score, iou, ...options }: ModelOptions): object {
  const ofDetectors = Object.entries({ iou, ...hintsOf(options) }).find(([, value]) => value !== undefined);
  if (kind !== 'detection' && ofDetectors !== undefined) throw new DeployError('E_USAGE', `Expected --${ofDetectors[0]} with a detector, but the model is taken as ${kind}; --kind detection says otherwise`);
  if (kind === 'embedding' && labels !== undefined) throw new DeployError('E_USAGE', 'Expected --labels with a detector or a classifier, but the model is taken as embedding; --kind classification says otherwise');
  const each = (values: readonly number[] | undefined): readonly number[] | undefined => (values?.length === 1 ? [...values, ...values, ...values] : values);
  const input = stated({ mean: each(mean), std: each(std), channels });
  const named = stated({ labels });
  const settings = {
    detection: { ...named, detector: { ...stated({ fit, score_threshold: score }), ...(iou === undefined ? {} : { suppression: { method: 'hard', iou_threshold: iou, across_classes: false } }) } },
    classification: { ...named, ...stated({ fit, score_threshold: score }) },
    embedding: stated({ fit, match_threshold: score }),
  }[kind];
  return { stages: { [modelKinds[kind]]: { input } }, settings };
}

function assumptionsOf(kind: ModelKind, { stages, settings }: PipelineDescription, options: ModelOptions): string[] {
  const stated = stages[modelKinds[kind]]?.input;
  const input = stated?.type === 'pixels' ? stated : undefined;
  const part = (kind === 'detection' ? settings['detector'] : settings) as Readonly<Record<string, unknown>>;
  const decoder = boxDecoder.safeParse(part['decoder']);
  const labels = (settings['labels'] ?? []) as readonly string[];
  const list: [keyof ModelOptions, string][] = [
    ['kind', kind],
    ...(decoder.success ? [['decoder', `${decoder.data.type} (${decoderTitle(decoder.data.type)})`] as [keyof ModelOptions, string]] : []),
    ['channels', input?.channels ?? ''], ['mean', input?.mean.join() ?? ''], ['std', input?.std.join() ?? ''], ['fit', String(part['fit'])],
    ...(kind === 'embedding' ? [] : [['labels', labels.length === 0 ? 'none: classes are numbered' : labels.length > 3 ? `${labels.length} names, from "${labels[0] ?? ''}" on` : labels.join(', ')] as [keyof ModelOptions, string]]),
    ['score', String(part['score_threshold'] ?? part['match_threshold'])],
  ];
  return list.filter(([option]) => options[option] === undefined).map(([option, value]) => `assumed --${option} ${value}`);
}
