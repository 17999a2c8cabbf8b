import { readFileSync } from 'node:fs';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { parse, YAMLParseError } from 'yaml';
import { z } from 'zod';
import { redact } from '../../runtime/redact.js';
import { AgentError } from '../errors.js';
import { configSchema, type Config } from './schema.js';

/** Keys whose relative paths are relative to the configuration file (or to the working folder without one). */
const PATH_KEYS: readonly (readonly string[])[] = [
  ['state_dir'], ['cache_dir'], ['broker', 'password_file'], ['broker', 'tls', 'ca'], ['broker', 'tls', 'cert'], ['broker', 'tls', 'key'],
  ['api', 'token_file'], ['ota', 'web', 'ca'], ['trust', 'image_root'], ['trust', 'director_root'], ['trust', 'report_key'], ['camera', 'input'], ['pipeline', 'package'],
];
const LARGEST_CONFIG_BYTES = 1024 * 1024;

type Tree = Record<string, unknown>;

export interface LoadOptions {
  /** Path of `sterna.yaml`. Without one, only the defaults and the environment count. */
  path?: string;
  env?: NodeJS.ProcessEnv;
  cwd?: string;
}

/**
 * Reads the file, and then puts the environment on top: `STERNA_` and the key in capitals, with levels joined by "_" (`STERNA_BROKER_URL`,
 * `STERNA_API_PORT`). Variables that name no key belong to other programs and are ignored.
 * @throws AgentError E_CONFIG that lists every wrong key
 */
export function loadConfig(options: LoadOptions = {}): Config {
  const env = options.env ?? process.env;
  const cwd = options.cwd ?? process.cwd();
  const tree = options.path === undefined ? {} : readTree(resolve(cwd, options.path));
  const base = options.path === undefined ? cwd : dirname(resolve(cwd, options.path));
  return parseConfig(tree, { env, base });
}

/** Checks a configuration that is already a value, as `loadConfig` does for a file. Tests and the demo use it. @throws AgentError E_CONFIG */
export function parseConfig(input: unknown, options: { env?: NodeJS.ProcessEnv; base?: string } = {}): Config {
  const env = options.env ?? {};
  const base = options.base ?? process.cwd();
  if (!isTree(input)) throw configError([`expected a mapping of keys but received ${describe(input)}`]);
  const tree = withoutNulls(input);
  const problems = applyEnvironment(tree, env);
  if (tree['state_dir'] === undefined) tree['state_dir'] = env['STATE_DIRECTORY']?.split(':')[0] ?? '.sterna/device';
  for (const path of [...PATH_KEYS, ...namedPaths(tree)]) resolvePath(tree, path, base);
  if (tree['cache_dir'] === undefined) tree['cache_dir'] = env['CACHE_DIRECTORY']?.split(':')[0] ?? cacheIn(tree['state_dir']);
  const result = configSchema.safeParse(tree);
  if (!result.success) problems.push(...result.error.issues.flatMap((issue) => issueLines(issue, tree)));
  if (problems.length > 0 || !result.success) throw configError(problems);
  return result.data;
}

/** Paths to the same keys in named inputs and pipelines. */
function namedPaths(tree: Tree): string[][] {
  const names = (key: string): string[] => (isTree(tree[key]) ? Object.keys(tree[key]) : []);
  return [...names('inputs').map((name) => ['inputs', name, 'input']), ...names('pipelines').map((name) => ['pipelines', name, 'package'])];
}

/** The default cache folder within the state folder. If the state folder is no text, the schema reports that, so nothing is made of it here. */
const cacheIn = (stateDir: unknown): unknown => (typeof stateDir === 'string' ? join(stateDir, 'cache') : stateDir);

function readTree(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (cause) {
    throw new AgentError('E_CONFIG', `Cannot read the configuration ${path}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  if (text.length > LARGEST_CONFIG_BYTES) throw configError([`expected at most ${LARGEST_CONFIG_BYTES} bytes but received ${text.length}`]);
  try {
    // A small file can expand to gigabytes by aliases of aliases; the parser's bound on aliases keeps it small.
    return parse(text, { maxAliasCount: 20 }) ?? {};
  } catch (cause) {
    const where = cause instanceof YAMLParseError && cause.linePos !== undefined ? ` at line ${cause.linePos[0].line}` : '';
    throw new AgentError('E_CONFIG', `The configuration ${path} is not YAML${where}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

interface JsonSchemaNode {
  type?: string;
  properties?: Record<string, JsonSchemaNode>;
  additionalProperties?: unknown;
  anyOf?: JsonSchemaNode[];
}

/** Every leaf key of the schema with its JSON type: these are the keys that the environment may set. */
export function configKeys(): { path: string[]; type: string }[] {
  const root: JsonSchemaNode = z.toJSONSchema(configSchema, { io: 'input' }) as JsonSchemaNode;
  const leaves: { path: string[]; type: string }[] = [];
  const walk = (node: JsonSchemaNode, path: string[]): void => {
    if (node.properties !== undefined) {
      for (const [key, child] of Object.entries(node.properties)) walk(child, [...path, key]);
    } else if (node.additionalProperties === undefined || node.additionalProperties === false) { // Names that the file chooses have no variables.
      leaves.push({ path, type: node.type ?? node.anyOf?.find((option) => option.type !== 'null')?.type ?? 'string' });
    }
  };
  walk(root, []);
  return leaves;
}

function applyEnvironment(tree: Tree, env: NodeJS.ProcessEnv): string[] {
  const problems: string[] = [];
  for (const { path, type } of configKeys()) {
    const name = `STERNA_${path.join('_').toUpperCase()}`;
    const text = env[name];
    if (text === undefined) continue;
    const value = fromText(text, type);
    if (value === undefined) problems.push(`${path.join('.')}: expected ${type} but received ${JSON.stringify(text)} (from ${name})`);
    else setAt(tree, path, value);
  }
  return problems;
}

function fromText(text: string, type: string): unknown {
  switch (type) {
    case 'integer':
    case 'number': return text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : undefined;
    case 'boolean': return text === 'true' || text === '1' ? true : text === 'false' || text === '0' ? false : undefined;
    case 'array': return text.split(',').map((item) => item.trim()).filter((item) => item !== '');
    default: return text;
  }
}

/** In YAML, `broker:` with nothing but comments below it is null. Its author means that all defaults hold, so nulls are left out. */
function withoutNulls(tree: Tree): Tree {
  const entries = Object.entries(tree).filter(([, value]) => value !== null);
  return Object.fromEntries(entries.map(([key, value]) => [key, isTree(value) ? withoutNulls(value) : structuredClone(value)]));
}

function resolvePath(tree: Tree, path: readonly string[], base: string): void {
  const value = getAt(tree, path);
  if (typeof value !== 'string') return;
  // The prefix `sound:` may precede a path, as it may precede any other name of an input.
  const [, prefix = '', rest = ''] = /^(sound:)?(.*)$/is.exec(value) ?? [];
  if (isAbsolute(rest) || rest === '' || /^[a-z][a-z0-9+.-]*:\/\//i.test(rest) || /^(stdin|pcm|alsa|pulse):/i.test(rest)) return;
  setAt(tree, path, `${prefix}${resolve(base, rest)}`);
}

function getAt(tree: Tree, path: readonly (string | number | symbol)[]): unknown {
  return path.reduce<unknown>((node, key) => (isTree(node) || Array.isArray(node) ? Reflect.get(node, key) : undefined), tree);
}

function setAt(tree: Tree, path: readonly string[], value: unknown): void {
  const [key = '', ...rest] = path;
  if (rest.length === 0) {
    tree[key] = value;
    return;
  }
  const child = tree[key];
  if (child !== undefined && child !== null && !isTree(child)) return; // The schema will report this value.
  const next: Tree = isTree(child) ? child : {};
  tree[key] = next;
  setAt(next, rest, value);
}

function issueLines(issue: z.core.$ZodIssue, tree: Tree): string[] {
  const at = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => `${[...at, key].join('.')}: expected no such key (misspelt, or at the wrong level?)`);
  }
  const received = describe(getAt(tree, issue.path));
  return [`${at.join('.') || 'configuration'}: ${expectation(issue)} but received ${received}`];
}

function expectation(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type': return `expected ${issue.expected}`;
    case 'invalid_value': return `expected one of ${issue.values.map(String).join(', ')}`;
    case 'too_small': return `expected at least ${String(issue.minimum)}${issue.origin === 'string' ? ' characters' : ''}`;
    case 'too_big': return `expected at most ${String(issue.maximum)}${issue.origin === 'string' ? ' characters' : ''}`;
    default: return issue.message.startsWith('expected') ? issue.message : `expected a valid value (${issue.message})`;
  }
}

function describe(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = redact(JSON.stringify(value) ?? typeof value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}

function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function configError(problems: readonly string[]): AgentError {
  return new AgentError('E_CONFIG', `The configuration is invalid:\n${problems.map((p) => `  ${p}`).join('\n')}`, { details: { problems } });
}
