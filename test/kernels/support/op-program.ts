/** Programs of one op over random data, as the tests of several ops run them. */
import { expect } from 'vitest';
import { describeCpu, loadProgram, type Isa } from '../../../kernels/binding/index.js';
import { ProgramWriter, type Attribute, type DType, type OpName } from './program-writer.js';
import { makeOutput, product, type Data } from './run-op.js';

export interface Operand {
  readonly dims: number[];
  readonly data: Data;
  readonly constant?: boolean;
  /** There may be no gap between its pixels. */
  readonly dense?: boolean;
}

export interface OpProgram {
  readonly op: OpName;
  readonly operands: readonly (Operand | undefined)[];
  readonly attributes?: Attribute[];
  readonly output: { readonly type: DType; readonly dims: number[]; readonly dense?: boolean };
  /** Elements added to the pixel stride of every tensor in the arena. */
  readonly gap?: number;
}

/** The reference, and what this CPU runs. */
export const isas: Isa[] = [...new Set<Isa>(['ref', describeCpu().selected])];

const typeOf = (data: Data): DType => (data instanceof Float32Array ? 'f32' : data instanceof Uint8Array ? 'u8' : data instanceof Int8Array ? 's8' : 's32');

function build({ op, operands, attributes = [], output, gap = 0 }: OpProgram): Uint8Array {
  const p = new ProgramWriter('u8');
  const stride = ({ dims, dense }: Pick<Operand, 'dims' | 'dense'>): number => (dims.at(-1) ?? 1) + (dims.length > 1 && dense !== true ? gap : 0);
  const ids = operands.map((operand) => {
    if (operand === undefined) return undefined;
    const { dims, data, constant } = operand;
    return constant === true ? p.constant(data, dims) : p.input(typeOf(data), dims, stride(operand));
  });
  p.op(op, ids, p.output(output.type, output.dims, stride(output)), attributes);
  return p.build();
}

export async function run(program: OpProgram, isa: Isa, threads = 1): Promise<number[]> {
  const loaded = loadProgram(build(program), { isa, threads });
  const y = makeOutput(program.output.type, product(program.output.dims));
  await loaded.run(program.operands.flatMap((operand) => (operand === undefined || operand.constant === true ? [] : [operand.data])), [y]);
  await loaded.close();
  return Array.from(y);
}

/** The result, which neither gaps between pixels nor threads may change. */
export async function runEveryWay(program: OpProgram, isa: Isa): Promise<number[]> {
  const y = await run(program, isa);
  expect(await run({ ...program, gap: 5 }, isa, 3)).toEqual(y);
  return y;
}

/** The code with which a program is refused, or `loaded`. */
export function refusal(program: OpProgram): string {
  try {
    loadProgram(build(program));
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error);
  }
  return 'loaded';
}
