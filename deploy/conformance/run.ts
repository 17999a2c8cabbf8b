import { SternaError } from '../../kernels/binding/errors.js';
import { asFloats, isFloat } from '../../runtime/engines/float-types.js';
import type { TensorValue } from '../../runtime/graph/tensor-value.js';
import { createSession } from '../../runtime/session.js';
import type { Session, SessionOptions } from '../../runtime/session-types.js';
import { asTensor, type Tensor, type TensorInfo } from '../../runtime/tensor.js';
import type { NodeTest, TestTensor, TestValue } from './node-tests.js';

export type Outcome = 'passed' | 'wrong' | 'refused';

export interface NodeTestResult {
  readonly name: string;
  readonly operator: string;
  /** On floats, whole numbers and booleans; not on strings. */
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
/** A step of bfloat16: the data was written by cutting digits off, while the specification rounds. */
const briefRelative = 2 ** -7;

/** Operators that draw numbers: what is expected was drawn by another generator than the operator's, so that only types, shapes and ranges are compared. */
const drawing: ReadonlySet<string> = new Set(['Bernoulli']);

function agrees(got: number, want: number, tolerance: number): boolean {
  if (got === want || (Number.isNaN(got) && Number.isNaN(want))) return true;
  return tolerance > 0 && Math.abs(got - want) <= absolute + tolerance * Math.abs(want);
}

/** Whether a drawn number can be one: 0 or 1. */
const isFlag = (value: number): boolean => value === 0 || value === 1;

/** What is wrong with an output, undefined when nothing is. @param drawn whether only 0 and 1 are told from other numbers */
export function difference(got: Tensor | undefined, want: TensorValue, { brief = false, drawn = false }: { brief?: boolean; drawn?: boolean } = {}): string | undefined {
  if (got === undefined) return 'the output is missing';
  const [received, expected] = [got, want].map((tensor) => `[${tensor.dims.join(', ')}]`);
  if (got.type !== want.dtype || received !== expected) return `expected ${want.dtype} ${expected} but received ${got.type} ${received}`;
  const [a, b] = [Array.from(got.data, Number), Array.from(want.data, Number)];
  const tolerance = want.dtype !== 'float32' ? 0 : brief ? briefRelative : relative;
  const off = b.findIndex((value, i) => (drawn ? !isFlag(a[i] ?? NaN) : !agrees(a[i] ?? NaN, value, tolerance)));
  return off < 0 ? undefined : `element ${off}: expected ${drawn ? '0 or 1' : b[off]} but received ${a[off]}`;
}

const isList = (value: TestValue): value is readonly TestTensor[] => Array.isArray(value);

/** The tensors of a value under the names that they cross the session's interface by. */
function named({ name, container }: TensorInfo, value: TestValue): [string, TestTensor][] {
  if (value === undefined) return [];
  if (!isList(value)) return [[name, value]];
  const empty: TestTensor = { value: { dtype: 'float32', dims: [0], data: new Float32Array(0) }, brief: false };
  return value.length === 0 && container === 'optional sequence' ? [[`${name}[]`, empty]] : value.map((each, i) => [`${name}[${i}]`, each]);
}

/** Floats in the type that the session takes. */
function fed(info: TensorInfo, { value }: TestTensor): Tensor {
  const tensor = asTensor(value);
  return isFloat(info.type) && isFloat(tensor.type) ? asFloats(tensor, info.type) : tensor;
}

/** Feeds every data set through one session, every input at run time. Undefined: all outputs are right. */
async function compare(session: Session, test: NodeTest): Promise<string | undefined> {
  let compared = 0;
  for (const { inputs, outputs } of test.data()) {
    const feeds = Object.fromEntries(session.inputs.flatMap((info, i) => named(info, inputs[i]).map(([name, tensor]) => [name, fed(info, tensor)] as const)));
    const results = await session.run(feeds);
    const wanted = outputs.flatMap((want, i) => named(session.outputs[i] ?? { name: '', type: 'float32', dims: [] }, want));
    for (const [name, { value, brief }] of wanted) {
      const got = results[name];
      const problem = difference(got !== undefined && isFloat(got.type) ? asFloats(got, 'float32') : got, value, { brief, drawn: drawing.has(test.operator) });
      if (problem !== undefined) return `output '${name}': ${problem}`;
    }
    // Data of no output compares nothing, which is said below.
    const more = outputs.length === 0 ? undefined : Object.keys(results).find((name) => !wanted.some(([known]) => known === name));
    if (more !== undefined) return `output '${more}' is not expected`;
    compared += outputs.length;
  }
  return compared === 0 ? 'the test expects no output' : undefined;
}

async function outcomeOf(test: NodeTest, options: SessionOptions): Promise<Pick<NodeTestResult, 'outcome' | 'code' | 'message'>> {
  let session: Session | undefined;
  try {
    session = await createSession(test.model, options);
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
  return { name, operator, counts: test.inScope, ...(await outcomeOf(test, options)) };
}

export async function runNodeTests(tests: readonly NodeTest[], options: SessionOptions = {}): Promise<NodeTestResult[]> {
  const results: NodeTestResult[] = [];
  for (const test of tests) results.push(await runNodeTest(test, options));
  return results;
}
