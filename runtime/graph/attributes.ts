import { RuntimeError } from '../errors.js';
import type { Attribute } from '../onnx/types.js';
import type { TensorValue } from './tensor-value.js';

export type { Attribute } from '../onnx/types.js';

export type AttributeRecord = Record<string, Attribute>;
export type Attributes = ReadonlyMap<string, Attribute>;

/** What the accessors need of a node. */
export interface Attributed {
  readonly name: string;
  readonly op: string;
  readonly attributes: Attributes;
}

/** E_MODEL_OP that names node, op and attribute. */
export function unsupported(node: Attributed, problem: string, attribute?: string): RuntimeError {
  const where = attribute === undefined ? '' : `, attribute '${attribute}'`;
  return new RuntimeError('E_MODEL_OP', `${node.op} '${node.name}'${where}: ${problem}`, {
    details: { node: node.name, op: node.op, ...(attribute === undefined ? {} : { attribute }) },
  });
}

/** E_MODEL_OP for an operand that must be known when the model is compiled; `details.operand` is the value. */
export function notConstant(node: Attributed & { readonly inputs: readonly string[] }, index: number, what: string): RuntimeError {
  const { message, details } = unsupported(node, `input ${index} (${what}) must be a constant`, what);
  return new RuntimeError('E_MODEL_OP', message, { details: { ...details, operand: node.inputs[index] } });
}

/** E_MODEL_SHAPE that names node and op. */
export function misshapen(node: Attributed, problem: string): RuntimeError {
  return new RuntimeError('E_MODEL_SHAPE', `${node.op} '${node.name}': ${problem}`, { details: { node: node.name, op: node.op } });
}

function wrongType(node: Attributed, name: string, expected: Attribute['type'], attribute: Attribute): RuntimeError {
  return unsupported(node, `Expected type ${expected} but received ${attribute.type}`, name);
}

/** Writers that know no empty list of the right type put any empty list there. */
const isEmptyList = (attribute: Attribute): boolean => Array.isArray(attribute.value) && attribute.value.length === 0;

export const hasAttribute = (node: Attributed, name: string): boolean => node.attributes.has(name);

export function floatAttribute(node: Attributed, name: string, fallback: number): number {
  const attribute = node.attributes.get(name);
  if (attribute === undefined) return fallback;
  if (attribute.type !== 'float') throw wrongType(node, name, 'float', attribute);
  return attribute.value;
}

export function intAttribute(node: Attributed, name: string, fallback: number): number {
  const attribute = node.attributes.get(name);
  if (attribute === undefined) return fallback;
  if (attribute.type !== 'int') throw wrongType(node, name, 'int', attribute);
  return attribute.value;
}

export function stringAttribute(node: Attributed, name: string, fallback: string): string {
  const attribute = node.attributes.get(name);
  if (attribute === undefined) return fallback;
  if (attribute.type !== 'string') throw wrongType(node, name, 'string', attribute);
  return attribute.value;
}

interface Lists {
  ints: readonly number[];
  floats: readonly number[];
  strings: readonly string[];
}

function listAttribute<T extends keyof Lists>(node: Attributed, name: string, type: T): Lists[T] | undefined {
  const attribute = node.attributes.get(name);
  if (attribute === undefined) return undefined;
  if (attribute.type !== type && !isEmptyList(attribute)) throw wrongType(node, name, type, attribute);
  return attribute.value as Lists[T];
}

export const intsAttribute = (node: Attributed, name: string): readonly number[] | undefined => listAttribute(node, name, 'ints');
export const floatsAttribute = (node: Attributed, name: string): readonly number[] | undefined => listAttribute(node, name, 'floats');
export const stringsAttribute = (node: Attributed, name: string): readonly string[] | undefined => listAttribute(node, name, 'strings');

export function tensorAttribute(node: Attributed, name: string): TensorValue | undefined {
  const attribute = node.attributes.get(name);
  if (attribute === undefined) return undefined;
  if (attribute.type !== 'tensor') throw wrongType(node, name, 'tensor', attribute);
  return attribute.value;
}

/** An attribute without which the node means nothing. */
export function requiredInts(node: Attributed, name: string): readonly number[] {
  const value = intsAttribute(node, name);
  if (value === undefined) throw unsupported(node, 'Expected a list of integers but received none', name);
  return value;
}
export function requiredInt(node: Attributed, name: string): number {
  if (!hasAttribute(node, name)) throw unsupported(node, 'Expected an integer but received none', name);
  return intAttribute(node, name, 0);
}

/** Refuses every value of a string attribute but those given. */
export function oneOf<T extends string>(node: Attributed, name: string, allowed: readonly T[], fallback: T): T {
  const value = stringAttribute(node, name, fallback);
  const found = allowed.find((candidate) => candidate === value);
  if (found === undefined) throw unsupported(node, `Expected one of ${allowed.join(', ')} but received ${value}`, name);
  return found;
}

export const int = (value: number): Attribute => ({ type: 'int', value });
export const ints = (value: readonly number[]): Attribute => ({ type: 'ints', value });
export const floats = (value: readonly number[]): Attribute => ({ type: 'floats', value });
export const strings = (value: readonly string[]): Attribute => ({ type: 'strings', value });
export const float = (value: number): Attribute => ({ type: 'float', value });
export const string = (value: string): Attribute => ({ type: 'string', value });
