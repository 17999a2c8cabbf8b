import type { z } from 'zod';
import { RuntimeError } from '../errors.js';
import type { PipelineDescription, StageRecord } from '../stages/contract.js';
import type { Stages } from '../stages/open-stages.js';
import type { Gallery, Pipeline } from '../stages/types.js';
import type { TensorInfo } from '../tensor.js';
import type { Anchor } from '../vision/decoders/family.js';
import type { DecoderName } from '../vision/decoders/index.js';
import type { PixelOps } from '../vision/pixels.js';
import type { FindingRules } from '../vision/zones/settings.js';
import type { StageIncrement } from '../incremental/settings.js';
import { withVariant } from './variants.js';
import type { VariantDescription, VariantParts, Varies } from './variants.js';

/** What a stage is for, and how it is treated when a package is made. */
export interface StageRole {
  /** For people, after "the". */
  what: string;
  optional?: boolean;
  /** Golden vectors to record: enough to see a broken kernel; each costs bytes on the air. */
  goldenVectors: number;
  /** Whether `sterna package --calibrate` quantizes it unless told otherwise. */
  quantized: boolean;
  /** Its output is the embedding that a gallery compares. */
  embeds?: boolean;
}

/** Changes to a package's own settings. A kind ignores those that it has no setting for. */
export interface PipelineOverrides {
  /** Smallest cosine that counts as the same person. */
  matchThreshold?: number;
  /** Smallest score of a finding, 0..1. */
  detectThreshold?: number;
  /** False switches the gates off: every frame runs in full. True switches the pixel gate on. */
  motionGate?: boolean;
  /** Whether the feature gate is used, where the settings have one. */
  featureGate?: boolean;
  /** Distance from the background at which a cell of the feature gate is active, 0..1. */
  featureThreshold?: number;
  /** Whether a detector computes only what has changed in the picture. Default: as the package says, unless `motionGate` is false. */
  incremental?: boolean;
  /** Whether what is found is followed from frame to frame. */
  tracking?: boolean;
}

/** What a pipeline is made of once its models are open; a test brings fakes. */
export interface PipelineParts {
  name: string;
  version: string;
  embeddingSpaceId: string | null;
  stages: Stages;
  pixels: PixelOps;
  /** Whom faces are compared with. Without one they are found but not embedded. */
  gallery: Gallery | undefined;
  /** Which findings count; absent: all. They can be changed later (`Pipeline.setRules`). */
  rules?: FindingRules | undefined;
  /** Opens models of the same stages that no frame waits for, when the gates are first audited. Without it they are not. */
  auditStages?: (() => Promise<Stages>) | undefined;
  /** Of the frames that the audit draws. Default: by the clock. */
  auditSeed?: number | undefined;
  /** In the order of the blueprint's variants; absent: the pipeline has none. */
  variants?: readonly VariantParts[] | undefined;
}

/** What a pipeline's gates want of the stages: layers to stop after, and the stages that an audit runs. */
export interface GateNeeds {
  splits: Readonly<Record<string, string>>;
  audited: readonly string[];
}

/** What must be opened for a pipeline, or for one of its variants. */
export interface Openable {
  readonly stages: StageRecord;
  readonly gates: GateNeeds;
  /** Of the stages that compute only what has changed in their picture. */
  readonly increments: Readonly<Record<string, StageIncrement>>;
}

/** A checked description, ready to become a pipeline. */
export interface Blueprint extends Openable {
  /** Their stages are those that differ. */
  readonly variants: readonly Openable[];
  override(overrides: PipelineOverrides): Blueprint;
  create(parts: PipelineParts): Pipeline;
}

export interface ModelInfo {
  inputs: readonly TensorInfo[];
  outputs: readonly TensorInfo[];
  /** Operators that compute each output (runtime/onnx/heads.ts), where somebody looked. */
  ends?: Readonly<Record<string, readonly string[]>>;
}

/** What the user knows of a detector and its file does not say. */
export interface DescribeHints {
  decoder?: DecoderName | undefined;
  anchors?: readonly Anchor[] | undefined;
  keypoints?: number | undefined;
}

/** A kind of pipeline: which stages it has, what can be set, and how they are wired. `registry.ts` lists them. */
export interface Kind {
  readonly name: string;
  readonly roles: Readonly<Record<string, StageRole>>;
  /** What a variant of a package may replace; null: this kind has no variants. */
  readonly varies: Varies | null;
  /**
   * Checks stages and settings, those of the variants too.
   * @throws RuntimeError E_PACKAGE that names the field
   */
  parse(description: PipelineDescription, variants?: readonly VariantDescription[]): Blueprint;
  /**
   * Stages and settings for these models: sizes and tensor names are read from them, the rest are the defaults of published models with such heads.
   * @throws RuntimeError E_MODEL_SHAPE when a model has another shape than its stage needs
   */
  describe(models: Readonly<Record<string, ModelInfo>>, hints?: DescribeHints): { stages: object; settings: object };
}

/** What a kind's own folder states. */
export interface KindDefinition<Settings> extends Pick<Kind, 'name' | 'roles' | 'describe'> {
  settings: z.ZodType<Settings>;
  /** What stages and settings together get wrong; null when nothing. */
  conflict?(stages: StageRecord, settings: Settings): string | null;
  /** The gates of these settings, for a kind that has any beside the pixel gate. */
  gates?(settings: Settings): GateNeeds;
  override(settings: Settings, overrides: PipelineOverrides): Settings;
  /** Of the stages that compute only what has changed in their picture; absent: none. */
  increments?(settings: Settings): Readonly<Record<string, StageIncrement>>;
  /** Absent: a package of this kind has no variants. `conflict`: what is wrong with the settings of a variant beside those of the pipeline; null when nothing. */
  varies?: Varies & { conflict?(own: Settings, variant: Settings): string | null };
  /** `variants`: the settings of each. */
  create(parts: PipelineParts, settings: Settings, stages: StageRecord, variants: readonly Settings[]): Pipeline;
}

/** A kind from its definition: the settings' type stays inside. */
export function defineKind<Settings>(definition: KindDefinition<Settings>): Kind {
  const { name, roles, varies = null } = definition;
  return {
    name, roles, varies,
    describe: (models, hints) => definition.describe(models, hints),
    parse(description, variants = []) {
      const settings = checkedSettings(definition, description, `${name} pipeline`);
      return blueprintOf(definition, { stages: description.stages, settings }, variants.map((variant) => {
        const varied = checkedSettings(definition, withVariant(description, variant, varies), `variant ${variant.name}`);
        const conflict = varies?.conflict?.(settings, varied) ?? null;
        if (conflict !== null) throw new RuntimeError('E_PACKAGE', `The variant ${variant.name} is invalid: ${conflict}`);
        return { stages: variant.stages, settings: varied };
      }));
    },
  };
}

interface Checked<Settings> {
  stages: StageRecord;
  settings: Settings;
}

function blueprintOf<Settings>(definition: KindDefinition<Settings>, own: Checked<Settings>, variants: readonly Checked<Settings>[]): Blueprint {
  const openable = ({ stages, settings }: Checked<Settings>): Openable => ({
    stages, gates: definition.gates?.(settings) ?? { splits: {}, audited: [] }, increments: definition.increments?.(settings) ?? {},
  });
  return {
    ...openable(own),
    variants: variants.map(openable),
    override(overrides) {
      const changed = ({ stages, settings }: Checked<Settings>): Checked<Settings> => ({ stages, settings: definition.override(settings, overrides) });
      return blueprintOf(definition, changed(own), variants.map(changed));
    },
    create: (parts) => definition.create(parts, own.settings, own.stages, variants.map(({ settings }) => settings)),
  };
}

function checkedSettings<Settings>(definition: KindDefinition<Settings>, { stages, settings }: PipelineDescription, what: string): Settings {
  checkRoles(definition.name, definition.roles, stages);
  const result = definition.settings.safeParse(settings);
  if (!result.success) {
    const issues = result.error.issues.map((issue) => `${['settings', ...issue.path].join('.')}: ${issue.message}`);
    throw new RuntimeError('E_PACKAGE', `The settings of a ${what} are invalid: ${issues.slice(0, 5).join('; ')}`, { details: { issues } });
  }
  const conflict = definition.conflict?.(stages, result.data) ?? null;
  if (conflict !== null) throw new RuntimeError('E_PACKAGE', `The ${what} is invalid: ${conflict}`);
  return result.data;
}

function checkRoles(kind: string, roles: Kind['roles'], stages: StageRecord): void {
  const needed = Object.keys(roles).filter((name) => roles[name]?.optional !== true);
  const missing = needed.filter((name) => stages[name] === undefined);
  const unknown = Object.keys(stages).filter((name) => roles[name] === undefined);
  if (missing.length === 0 && unknown.length === 0) return;
  const problems = [...missing.map((name) => `${name} is missing`), ...unknown.map((name) => `${name} is unknown`)];
  throw new RuntimeError('E_PACKAGE', `Expected the stages ${Object.keys(roles).join(', ')} of a ${kind} pipeline: ${problems.join(', ')}`);
}
