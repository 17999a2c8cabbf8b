import { RuntimeError } from '../errors.js';
import type { StageRecord } from './contract.js';
import type { StageIncrement } from '../incremental/settings.js';
import { ModelStage, openModelStage } from './model-stage.js';
import type { EngineOptions } from './model-stage.js';
import { openSoundStage, SoundStage } from './sound-stage.js';
import type { Stage } from './stage.js';

/** The opened models of a pipeline, by the names that its description gives them. */
export type Stages = Readonly<Record<string, Stage>>;

export interface StageOptions extends EngineOptions {
  /** SHA-256 of the bytes of a path, where it is known: a cache then need not hash them. */
  sha256Of?: (path: string) => string | undefined;
  /** Layers after which the models of these stages can be stopped. */
  splits?: Readonly<Record<string, string>>;
  /** Nobody waits for these models: the lowest priority. */
  background?: boolean;
  /** Of the stages that compute only what has changed in their picture. */
  increments?: Readonly<Record<string, StageIncrement>>;
}

/**
 * Opens all models of a pipeline, or none. `file` gives the bytes of a path; they are not needed afterwards.
 * @throws RuntimeError E_MODEL_*, E_INPUT, E_ENGINE_MISSING
 */
export async function openStages(stages: StageRecord, file: (path: string) => Uint8Array, { sha256Of, splits = {}, increments = {}, background, ...options }: StageOptions = {}): Promise<Stages> {
  const opened: Record<string, Stage> = {};
  try {
    for (const [name, contract] of Object.entries(stages)) {
      const modelSha256 = sha256Of?.(contract.model);
      const [split, increment] = [splits[name], increments[name]];
      const engine = { ...options, ...(modelSha256 === undefined ? {} : { modelSha256 }) };
      opened[name] = contract.input.type === 'pixels'
        ? await openModelStage(name, file(contract.model), contract, { ...engine, ...(background === undefined ? {} : { background }), ...(split === undefined ? {} : { split }), ...(increment === undefined ? {} : { increment }) })
        : await openSoundStage(name, file(contract.model), contract, engine);
    }
    return opened;
  } catch (error) {
    await closeStages(opened);
    throw error;
  }
}

export async function closeStages(stages: Stages): Promise<void> {
  await Promise.all(Object.values(stages).map((stage) => stage.session.close()));
}

/** Memory that the engine states for all models, bytes. */
export function memoryOf(stages: Stages): number {
  return Object.values(stages).reduce((sum, stage) => sum + stage.memoryBytes, 0);
}

/** The stage of that name. @throws RuntimeError E_PACKAGE when the pipeline has none */
export function anyStageOf(stages: Stages, name: string): Stage {
  const stage = stages[name];
  if (stage === undefined) throw new RuntimeError('E_PACKAGE', `Expected a stage ${name} but the pipeline has ${Object.keys(stages).join(', ')}`);
  return stage;
}

/** The stage of that name, which sees pictures. @throws RuntimeError E_PACKAGE when the pipeline has none, or it listens */
export function stageOf(stages: Stages, name: string): ModelStage {
  const stage = anyStageOf(stages, name);
  if (stage instanceof ModelStage) return stage;
  throw new RuntimeError('E_PACKAGE', `Expected a stage ${name} that sees pictures but it listens to sound`);
}

/** The stage of that name, which listens. @throws RuntimeError E_PACKAGE when the pipeline has none, or it sees pictures */
export function soundStageOf(stages: Stages, name: string): SoundStage {
  const stage = anyStageOf(stages, name);
  if (stage instanceof SoundStage) return stage;
  throw new RuntimeError('E_PACKAGE', `Expected a stage ${name} that listens to sound but it sees pictures`);
}
