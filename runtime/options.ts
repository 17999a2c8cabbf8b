/** Checks of the options that applications pass to public functions: a misspelt one is an error, not a default. */
import { RuntimeError } from './errors.js';

/** What values an option takes. */
export interface OptionKind {
  /** Completes "Expected ...". */
  readonly expected: string;
  accepts(value: unknown): boolean;
}

/** A kind for each option, so that an option that is added to the interface and not here does not compile. */
export type OptionKinds<T extends object> = Readonly<Record<keyof T & string, OptionKind>>;

const ofType = (type: 'boolean' | 'string' | 'number' | 'function', expected: string): OptionKind => ({ expected, accepts: (value) => typeof value === type });

export const aBoolean = ofType('boolean', 'true or false');
export const aString = ofType('string', 'a string');
export const aFunction = ofType('function', 'a function');
/** Infinity counts, NaN does not. */
export const aNumber: OptionKind = { expected: 'a number', accepts: (value) => typeof value === 'number' && !Number.isNaN(value) };
export const anObject: OptionKind = { expected: 'an object', accepts: (value) => typeof value === 'object' && value !== null };
/** Off, on, or on with settings of its own. */
export const aSwitch: OptionKind = { expected: 'true, false or an object', accepts: (value) => typeof value === 'boolean' || anObject.accepts(value) };
export const oneOf = (values: readonly string[]): OptionKind => ({
  expected: `one of ${values.join(', ')}`,
  accepts: (value) => typeof value === 'string' && values.includes(value),
});

/** Levenshtein's distance, letters of either case being equal. */
function distance(a: string, b: string): number {
  const [from, to] = [a.toLowerCase(), b.toLowerCase()];
  let row = Array.from({ length: to.length + 1 }, (_, i) => i);
  for (let i = 1; i <= from.length; i++) {
    const next = [i];
    for (let k = 1; k <= to.length; k++) {
      next.push(Math.min((row[k] ?? 0) + 1, (next[k - 1] ?? 0) + 1, (row[k - 1] ?? 0) + (from[i - 1] === to[k - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[to.length] ?? 0;
}

/** The known name that somebody most likely meant; undefined when none is near. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const ranked = known.map((candidate) => ({ candidate, edits: distance(name, candidate) })).sort((a, b) => a.edits - b.edits);
  const [best] = ranked;
  return best !== undefined && best.edits <= Math.max(2, Math.floor(name.length / 3)) ? best.candidate : undefined;
}

function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object';
  return typeof value === 'function' ? 'a function' : String(value);
}

/**
 * Refuses options that do not exist, and values of another type. An option that is undefined counts as absent.
 * @param where the function, and the option that holds these, as the message names them
 * @throws RuntimeError E_OPTION with the option, the nearest known one, and all known ones
 */
export function checkOptions<T extends object>(where: string, options: T, kinds: OptionKinds<T>): void {
  const given: unknown = options;
  if (typeof given !== 'object' || given === null) throw new RuntimeError('E_OPTION', `Expected an object for the options of ${where} but received ${shown(given)}`);
  const known = Object.keys(kinds);
  for (const [name, value] of Object.entries(options) as [string, unknown][]) {
    if (value === undefined) continue;
    const kind = Object.hasOwn(kinds, name) ? (kinds as Readonly<Record<string, OptionKind>>)[name] : undefined;
    if (kind === undefined) {
      const nearest = nearestName(name, known);
      const hint = nearest === undefined ? '' : `; did you mean "${nearest}"?`;
      throw new RuntimeError('E_OPTION', `${where} has no option "${name}"${hint === '' ? '.' : hint} Its options are ${known.join(', ')}`, { details: { option: name, nearest, known } });
    }
    if (!kind.accepts(value)) {
      throw new RuntimeError('E_OPTION', `Expected ${kind.expected} for the option "${name}" of ${where} but received ${shown(value)}`, { details: { option: name } });
    }
  }
}

/** An object without the undefined ones of its values: what takes options tells a missing one from one that is undefined. */
export function stated<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as { [K in keyof T]?: Exclude<T[K], undefined> };
}
