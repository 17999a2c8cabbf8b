import { RuntimeError } from '../../runtime/errors.js';
import { OutputComparison, type OutputDifference } from '../../runtime/quantize/report/difference.js';
import { createSession, type EngineName, type Session } from '../../runtime/session.js';
import type { TensorInfo } from '../../runtime/tensor.js';
import type { Feeds } from './samples.js';

export interface CompareResult {
  cases: number;
  outputs: OutputDifference[];
}

export interface Candidate {
  model: Uint8Array;
  engine: EngineName;
  /** Of the inputs, for what the file leaves open. */
  shapes?: Readonly<Record<string, readonly number[]>>;
}

function sameInputs(a: readonly TensorInfo[], b: readonly TensorInfo[]): boolean {
  const key = (info: TensorInfo): string => `${info.name} ${info.type} ${info.dims.join('x')}`;
  return a.map(key).sort().join() === b.map(key).sort().join();
}

/**
 * Runs a candidate and a reference on the same feeds and measures how far their outputs are apart.
 * @param steps quantization step of each output by name, where it has one
 * @throws RuntimeError E_INPUT when the two take different inputs, or there is no case
 */
export async function compareModels(
  candidate: Candidate,
  reference: Candidate,
  steps: ReadonlyMap<string, number>,
  feedsFor: (inputs: readonly TensorInfo[]) => AsyncIterable<Feeds>,
): Promise<CompareResult> {
  const open = ({ model, ...options }: Candidate): Promise<Session> => createSession(model, { ...options, floats: 'float32' });
  const session = await open(candidate);
  try {
    const oracle = await open(reference);
    try {
      if (!sameInputs(session.inputs, oracle.inputs)) {
        throw new RuntimeError('E_INPUT', 'Expected two models with the same inputs but received different ones');
      }
      return await runCases(session, oracle, steps, feedsFor(session.inputs));
    } finally {
      await oracle.close();
    }
  } finally {
    await session.close();
  }
}

async function runCases(session: Session, oracle: Session, steps: ReadonlyMap<string, number>, samples: AsyncIterable<Feeds>): Promise<CompareResult> {
  const comparisons = oracle.outputs.map(({ name }) => new OutputComparison(name, steps.get(name)));
  let cases = 0;
  for await (const feeds of samples) {
    const actual = await session.run(feeds);
    const expected = await oracle.run(feeds);
    for (const comparison of comparisons) comparison.add(actual[comparison.name], expected[comparison.name]);
    cases++;
  }
  if (cases === 0) throw new RuntimeError('E_INPUT', 'Expected at least one case to compare but received none');
  return { cases, outputs: comparisons.map((comparison) => comparison.result()) };
}
