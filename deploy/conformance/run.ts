import { SternaError } from '../../kernels/binding/errors.js';
import type { TensorValue } from '../../runtime/graph/tensor-value.js';
import { createSession } from '../../runtime/session.js';
import type { Session, SessionOptions } from '../../runtime/session-types.js';
import { asTensor, type Tensor } from '../../runtime/tensor.js';
import { listedOperators } from './operators.js';
import type { NodeTest } from './node-tests.js';

export type Outcome = 'passed' | 'wrong' | 'refused';

export interface NodeTestResult {
  readonly name: string;
  readonly operator: string;
  /** An operator that Sterna sets out to run, on data of the types that it sets out to run them on. */
  readonly counts: boolean;
  readonly outcome: Outcome;
  /** Of a refusal. */
  readonly code?: string;
  /** What is refused, or how far off the result is. */
  readonly message?: string;
}

/** Of the ONNX project's own runner: |got - want| <= absolute + relative * |want|. Whole numbers must be equal. */
const absolute = 1e-7;
const relative = 1e-3;

function agrees(got: number, want: number, exact: boolean): boolean {
  if (got === want || (Number.isNaN(got) && Number.isNaN(want))) return true;
  return !exact && Math.abs(got - want) <= absolute + relative * Math.abs(want);
}

/** What is wrong with an output, undefined when nothing is. */
export function difference(got: Tensor | undefined, want: TensorValue): string | undefined {
  if (got === undefined) return 'the output is missing';
  const [received, expected] = [got, want].map((tensor) => `[${tensor.dims.join(', ')}]`);
  if (got.type !== want.dtype || received !== expected) return `expected ${want.dtype} ${expected} but received ${got.type} ${received}`;
  const [a, b] = [Array.from(got.data, Number), Array.from(want.data, Number)];
  const off = b.findIndex((value, i) => !agrees(a[i] ?? NaN, value, want.dtype !== 'float32'));
  return off < 0 ? undefined : `element ${off}: expected ${b[off]} but received ${a[off]}`;
}

/** Feeds every data set through one session, every input at run time. Undefined: all outputs are right. */
async function compare(session: Session, test: NodeTest): Promise<string | undefined> {
  let compared = 0;
  for (const { inputs, outputs } of test.data()) {
    const feeds = Object.fromEntries(session.inputs.flatMap(({ name }, i) => (inputs[i] === undefined ? [] : [[name, asTensor(inputs[i])]])));
    const results = await session.run(feeds);
    for (const [i, want] of outputs.entries()) {
      const name = session.outputs[i]?.name ?? '';
      const problem = difference(results[name], want);
      if (problem !== undefined) return `output '${name}': ${problem}`;
      compared += 1;
    }
  }
  return compared === 0 ? 'the test expects no output' : undefined;
}

async function outcomeOf(test: NodeTest, options: SessionOptions): Promise<Pick<NodeTestResult, 'outcome' | 'code' | 'message'>> {
  let session: Session | undefined;
  try {
    session = await createSession(test.model, { ...options, floats: 'float32' });
    const problem = await compare(session, test);
    return problem === undefined ? { outcome: 'passed' } : { outcome: 'wrong', message: problem };
  } catch (error) {
    if (error instanceof SternaError) return { outcome: 'refused', code: error.code, message: error.message };
    // A failure without a code is no refusal: nobody decided it.
    return { outcome: 'wrong', message: error instanceof Error ? error.message : String(error) };
  } finally {
    await session?.close();
  }
}

/** Compiles, loads and runs a node test as an application would: all of the model's inputs are fed at run time. */
export async function runNodeTest(test: NodeTest, options: SessionOptions = {}): Promise<NodeTestResult> {
  const { name, operator } = test;
  return { name, operator, counts: test.inScope && listedOperators.has(operator), ...(await outcomeOf(test, options)) };
}

export async function runNodeTests(tests: readonly NodeTest[], options: SessionOptions = {}): Promise<NodeTestResult[]> {
  const results: NodeTestResult[] = [];
  for (const test of tests) results.push(await runNodeTest(test, options));
  return results;
}
