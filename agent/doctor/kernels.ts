/** Checks the kernels on this CPU: which instruction sets run, and whether each of them computes what the reference kernels compute. */
import { describeCpu, type Isa } from '../../kernels/binding/index.js';
import { messageOf } from '../../runtime/errors.js';
import { createSession } from '../../runtime/index.js';
import { convolutionFeeds, convolutionModel, type NetworkFormat } from '../ground/test-networks.js';
import { checksOf, type Check } from './check.js';

/** Both convolutions have more channels than a vector has lanes. */
const SIZE = { channels: 24, side: 9 };
const FORMATS: readonly NetworkFormat[] = ['int8', 'float32'];

interface Outputs { bytes: readonly number[]; floats: readonly number[] }
/** Runs the model of the self-check with one instruction set. Tests give a runner of their own. */
export type Runner = (isa: Isa) => Promise<Outputs>;

export async function runSelfCheck(isa: Isa): Promise<Outputs> {
  const session = await createSession(convolutionModel(SIZE, FORMATS), { isa });
  try {
    const { bytes_out: bytes, floats_out: floats } = await session.run(convolutionFeeds(SIZE, FORMATS));
    return { bytes: Array.from((bytes?.data ?? []) as Uint8Array), floats: Array.from((floats?.data ?? []) as Float32Array) };
  } finally {
    await session.close();
  }
}

/**
 * Why results differ from those of the reference; null when they agree. Integers must be equal to the bit; single precision may differ by the
 * rounding of a sum of 216 products.
 */
function difference(found: Outputs, wanted: Outputs): string | null {
  const at = found.bytes.findIndex((value, i) => value !== wanted.bytes[i]);
  if (found.bytes.length !== wanted.bytes.length || at >= 0) return `8-bit result ${at} is ${found.bytes[at]} instead of ${wanted.bytes[at]}`;
  const off = found.floats.findIndex((value, i) => !(Math.abs(value - (wanted.floats[i] ?? NaN)) <= 1e-3));
  return found.floats.length !== wanted.floats.length || off >= 0 ? `float32 result ${off} is ${found.floats[off]} instead of ${wanted.floats[off]}` : null;
}

export async function checkKernels(run: Runner = runSelfCheck): Promise<Check[]> {
  const report = checksOf('kernels');
  let cpu: ReturnType<typeof describeCpu>;
  try {
    cpu = describeCpu();
  } catch (error) {
    return [report.failed(messageOf(error), { remedy: 'install the package for this architecture again' })];
  }
  const isas = cpu.isas.filter(({ runnable, built }) => runnable && built).map(({ isa }) => isa);
  const details = { selected: cpu.selected, runnable: isas, features: cpu.features };
  const wrong: string[] = [];
  try {
    const wanted = await run('ref');
    for (const isa of isas.filter((name) => name !== 'ref')) {
      const found = difference(await run(isa), wanted);
      if (found !== null) wrong.push(`${isa}: ${found}`);
    }
  } catch (error) {
    return [report.failed(`the self-check did not run: ${messageOf(error)}`, { details })];
  }
  if (wrong.length > 0) {
    return [report.failed(`wrong results: ${wrong.join('; ')}`, { details, remedy: 'the processor or its memory is defective, or the emulator is: run the check again, and replace the device if it fails again' })];
  }
  if (cpu.selected === 'ref') return [report.warning('only the reference kernels run here, which are slow', { details, remedy: 'check STERNA_ISA, and whether the virtual machine hides instructions of the processor' })];
  return [report.ok(`${cpu.selected}; ${isas.length} instruction sets give the results of the reference`, { details })];
}
