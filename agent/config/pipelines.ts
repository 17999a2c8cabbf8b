/** Which pipelines a configuration means: the named ones, or the only one of a configuration that names none. Pure. */
import { DEFAULT_PIPELINE } from '../contracts/index.js';
import type { Config } from './schema.js';

/** What `camera` is called among the inputs. */
export const CAMERA = 'camera';

export interface PipelineSpec {
  name: string;
  /** Name of its input. */
  input: string;
  source: Config['camera'];
  pipeline: Config['pipeline'];
}

type Parts = Pick<Config, 'camera' | 'inputs' | 'pipeline' | 'pipelines'>;

/** In the order of the configuration; the first is the one that a command without a name means. */
export function pipelineSpecs(config: Parts): PipelineSpec[] {
  if (config.pipelines === undefined) return [{ name: DEFAULT_PIPELINE, input: CAMERA, source: config.camera, pipeline: config.pipeline }];
  return Object.entries(config.pipelines).map(([name, { input, ...own }]) => ({
    name, input, source: config.inputs[input] ?? config.camera, pipeline: { ...withoutPackage(config.pipeline), ...definedOnly(own) },
  }));
}

/** `pipeline.package` is that of the only pipeline; several have their own, or none. */
function withoutPackage({ package: _, ...rest }: Config['pipeline']): Config['pipeline'] {
  return rest;
}

function definedOnly<T extends object>(value: T): { [K in keyof T]?: NonNullable<T[K]> } {
  return Object.fromEntries(Object.entries(value).filter(([, entry]) => entry !== undefined)) as { [K in keyof T]?: NonNullable<T[K]> };
}

export interface Problem {
  path: readonly string[];
  message: string;
}

/** Inputs without a pipeline, pipelines without an input, and inputs of two: a camera can be opened once. */
export function pipelineProblems({ camera, inputs, pipelines }: Parts): Problem[] {
  const named = Object.keys(inputs);
  const problems: Problem[] = named.includes(CAMERA) ? [{ path: ['inputs', CAMERA], message: 'expected another name, because `camera` is the name of the key `camera`' }] : [];
  if (pipelines === undefined) {
    return [...problems, ...named.map((name) => ({ path: ['inputs', name], message: 'expected `pipelines`, and one of them with this input' }))];
  }
  const users = new Map<string, string>();
  for (const [name, { input }] of Object.entries(pipelines)) {
    const path = ['pipelines', name, 'input'];
    const user = users.get(input);
    if (user !== undefined) problems.push({ path, message: `expected an input of its own (pipeline ${user} has this one)` });
    else if (input !== CAMERA && !named.includes(input)) problems.push({ path, message: `expected one of ${[...named, CAMERA].join(', ')}` });
    users.set(input, name);
  }
  const unused = [...named, ...(camera.input === null ? [] : [CAMERA])].filter((name) => !users.has(name));
  return [...problems, ...unused.map((name) => ({ path: name === CAMERA ? [CAMERA] : ['inputs', name], message: 'expected a pipeline with this input' }))];
}
