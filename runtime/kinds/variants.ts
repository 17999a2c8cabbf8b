/** Variants of a package: cheaper networks for some of its stages, and the settings that differ with them. */
import { RuntimeError } from '../errors.js';
import type { PipelineDescription, StageRecord } from '../stages/contract.js';
import type { Stages } from '../stages/open-stages.js';
import type { VariantInfo } from '../stages/types.js';

/** What a manifest says of a variant. */
export interface VariantDescription {
  name: string;
  stages: StageRecord;
  /** The settings that differ, each as a whole. */
  settings: Readonly<Record<string, unknown>>;
}

/** The stages and the settings of a kind that a variant may replace. */
export interface Varies {
  readonly stages: readonly string[];
  readonly settings: readonly string[];
}

/** A variant whose networks are opened when it is first used. */
export interface VariantParts extends VariantInfo {
  /** @throws RuntimeError E_MODEL_*, E_INPUT */
  open(): Promise<Stages>;
  /** As `auditStages` of the pipeline. */
  openAudit?: (() => Promise<Stages>) | undefined;
}

/**
 * The pipeline as it is with a variant.
 * @throws RuntimeError E_PACKAGE when the kind has no variants, or none that replaces this
 */
export function withVariant(own: PipelineDescription, { name, stages, settings }: VariantDescription, varies: Varies | null): PipelineDescription {
  if (varies === null) throw new RuntimeError('E_PACKAGE', `A pipeline of the kind ${own.kind} has no variants but the package has ${name}`);
  for (const [what, stated, allowed] of [['stages', stages, varies.stages], ['settings', settings, varies.settings]] as const) {
    const other = Object.keys(stated).filter((key) => !allowed.includes(key));
    if (other.length > 0) throw new RuntimeError('E_PACKAGE', `Expected ${what} of ${allowed.join(', ')} in the variant ${name} but received ${other.join(', ')}`);
  }
  return { kind: own.kind, stages: { ...own.stages, ...stages }, settings: { ...own.settings, ...settings } };
}
