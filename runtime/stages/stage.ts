import type { Session } from '../session-types.js';
import type { Tensor } from '../tensor.js';
import type { StageContract } from './contract.js';

/** An opened model of a pipeline, whatever it is fed with. */
export interface Stage {
  readonly session: Session;
  /** Memory that the engine states for this model, bytes; 0 when it states none. */
  readonly memoryBytes: number;
  /**
   * Takes an input as a golden vector holds it, for the next run.
   * @throws RuntimeError E_PACKAGE when it has another size
   */
  load(bytes: Uint8Array, what: string): void;
  /** The outputs belong to the caller until the next run. */
  run(): Promise<Record<string, Tensor>>;
  /** Sees every run: what the model was fed and its outputs, both only for the time of the call. */
  onRun: ((fed: Uint8Array, outputs: Readonly<Record<string, Tensor>>) => void) | undefined;
}

/** Memory that the engine states for a model, bytes; 0 when it states none. */
export const memoryOfSession = ({ stats }: Pick<Session, 'stats'>): number => (stats.arenaBytes ?? 0) + (stats.packedBytes ?? 0);

/** Which outputs of the contract a model lacks, in words; null when none. */
export function missingOutputs({ outputs }: Pick<Session, 'outputs'>, contract: Pick<StageContract, 'outputs' | 'states'>): string | null {
  const names = outputs.map((output) => output.name);
  const missing = [...contract.outputs, ...(contract.states ?? []).map((state) => state.output)].filter((output) => !names.includes(output));
  return missing.length === 0 ? null : `expected outputs ${missing.join(', ')} but it has ${names.join(', ')}`;
}
