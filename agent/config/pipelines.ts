/** Which pipelines a configuration means: the named ones, or a single one when it names none. Pure. */
import { DEFAULT_PIPELINE } from '../contracts/index.js';
import { CAMERA } from './pipeline-problems.js';
import type { Config } from './schema.js';

export interface PipelineSpec {
  name: string;
  /** Name of its input. */
  input: string;
  source: Config['camera'];
  pipeline: Config['pipeline'];
}

type Parts = Pick<Config, 'camera' | 'inputs' | 'pipeline' | 'pipelines'>;

/** The pipelines in the order of the configuration. The first one is meant by a command without a name. */
export function pipelineSpecs(config: Parts): PipelineSpec[] {
  if (config.pipelines === undefined) return [{ name: DEFAULT_PIPELINE, input: CAMERA, source: config.camera, pipeline: config.pipeline }];
  return Object.entries(config.pipelines).map(([name, { input, ...own }]) => ({
    name, input, source: config.inputs[input] ?? config.camera, pipeline: { ...withoutPackage(config.pipeline), ...definedOnly(own) },
  }));
}

/**
 * Removes `pipeline.package` and `pipeline.factory`, which belong to the only pipeline of a device. Where there are several pipelines, each has its
 * own, or none.
 */
function withoutPackage({ package: _, factory: __, ...rest }: Config['pipeline']): Config['pipeline'] {
  return rest;
}

function definedOnly<T extends object>(value: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as { [K in keyof T]?: NonNullable<T[K]> };
}
