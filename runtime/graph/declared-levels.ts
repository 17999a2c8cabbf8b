import { RuntimeError } from '../errors.js';
import { toNumbers, type TensorValue } from './tensor-value.js';

/** Key of `metadata_props`: how many values each stored tensor can take, as JSON by name. `sterna compress` writes it. */
export const levelsKey = 'sterna.levels';

/** The declared numbers by tensor; empty where nothing is declared. @throws RuntimeError E_MODEL_MALFORMED */
function declaredLevels(metadata: ReadonlyMap<string, string>): [string, unknown][] {
  const text = metadata.get(levelsKey);
  if (text === undefined) return [];
  const refuse = (cause?: unknown): never => {
    throw new RuntimeError('E_MODEL_MALFORMED', `Expected metadata '${levelsKey}' to be a JSON object of numbers by tensor`, cause === undefined ? {} : { cause });
  };
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : refuse();
  } catch (cause) {
    return cause instanceof RuntimeError ? refuse() : refuse(cause);
  }
}

/**
 * Holds weights to the levels that their model declares: an odd number of them, around zero.
 * @throws RuntimeError E_MODEL_VALUE naming the tensor, the element and its value; E_MODEL_MALFORMED
 */
export function checkDeclaredLevels(metadata: ReadonlyMap<string, string>, constants: ReadonlyMap<string, TensorValue>): void {
  for (const [name, levels] of declaredLevels(metadata)) {
    const weights = constants.get(name);
    if (weights === undefined || weights.dtype === 'float32') continue;
    if (typeof levels !== 'number' || !Number.isInteger(levels) || levels < 2 || levels > 256) {
      throw new RuntimeError('E_MODEL_MALFORMED', `Tensor '${name}': expected 2 to 256 declared levels but received ${String(levels)}`, { details: { initializer: name } });
    }
    const largest = Math.floor(levels / 2);
    const at = toNumbers(weights).findIndex((w) => Math.abs(w) > largest);
    if (at < 0) continue;
    const value = Number(weights.data[at]);
    throw new RuntimeError('E_MODEL_VALUE', `Tensor '${name}': element ${at} is ${value}, but its ${levels} declared levels are ${-largest}..${largest}`, { details: { initializer: name, element: at, value } });
  }
}

/** Names of the stored tensors that are declared to take fewer than 256 values. @throws RuntimeError E_MODEL_MALFORMED */
export const declaredStored = (metadata: ReadonlyMap<string, string>): Set<string> => new Set(declaredLevels(metadata).map(([name]) => name));
