import { writeSync } from 'node:fs';
import type { Node } from './graph.js';

/** Passes, and the planning of strips, that say why they leave a node as it is. */
export const explainedPasses = [
  'fold-affine', 'fold-quantization', 'fuse-activations', 'fuse-binary', 'fuse-quantized', 'fuse-silu', 'hoist-functions', 'hoist-transposes',
  'recognize-attention', 'recognize-int4-weights', 'recognize-scaled-products', 'recognize-ternary', 'sink-transposes', 'strips',
] as const;
export type ExplainedPass = (typeof explainedPasses)[number];

const stderr = 2;

// Written at once: the thread that compiles a model may end before a stream is flushed.
const say = (text: string): void => void writeSync(stderr, `sterna: ${text}\n`);

/** The passes that STERNA_EXPLAIN names, separated by commas; `all` names every one. Undefined when it names none. */
function passesOf(setting: string | undefined): ReadonlySet<string> | undefined {
  const names = (setting ?? '').split(',').map((name) => name.trim()).filter((name) => name !== '');
  for (const name of names) {
    if (name !== 'all' && !explainedPasses.some((pass) => pass === name)) say(`STERNA_EXPLAIN: expected all, or some of ${explainedPasses.join(', ')}, but received '${name}'`);
  }
  if (names.length === 0) return undefined;
  return new Set<string>(names.includes('all') ? explainedPasses : names);
}

const wanted = passesOf(process.env['STERNA_EXPLAIN']);

/** Passes run until nothing changes: what was said once of a model is not said again. */
const said = new Set<string>();

/** The next model begins: what was said of another is said again. */
export const explainAnew = (): void => said.clear();

/**
 * Says on stderr why a pass leaves a node as it is, when STERNA_EXPLAIN names the pass; otherwise it does nothing. A reason that takes work to
 * write is a function. Returns undefined, for matchers to return in place of a match.
 */
export function explain(pass: ExplainedPass, node: Pick<Node, 'op' | 'name'>, reason: string | (() => string)): undefined {
  if (wanted === undefined || !wanted.has(pass)) return undefined;
  const text = `${pass}: ${node.op} '${node.name}': ${typeof reason === 'string' ? reason : reason()}`;
  if (said.has(text)) return undefined;
  said.add(text);
  say(text);
  return undefined;
}
