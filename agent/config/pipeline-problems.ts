/** Name of the input that the section `camera` describes. */
export const CAMERA = 'camera';

export interface Problem {
  path: readonly string[];
  message: string;
}

/** The parts of a named section that the check needs. */
interface Named {
  camera: { input: unknown };
  inputs: Readonly<Record<string, unknown>>;
  pipelines?: Readonly<Record<string, { input: string }>> | undefined;
}

/** Finds inputs without a pipeline, pipelines without an input, and inputs that two pipelines use: a camera can be opened only once. */
export function pipelineProblems({ camera, inputs, pipelines }: Named): Problem[] {
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
