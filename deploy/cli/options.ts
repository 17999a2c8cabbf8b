import { InvalidArgumentError, Option, type Command } from 'commander';
import { ID_PATTERN } from '../../agent/contracts/index.js';
import { affinities } from '../../kernels/binding/affinity.js';
import { isas } from '../../kernels/binding/native.js';
import type { PictureOptions } from '../compress/picture-options.js';
import { DeployError } from '../errors.js';
import { fits } from '../../runtime/vision/pixels.js';
import type { ChosenSizes } from '../../runtime/graph/open-dimensions.js';
import { stated } from '../../runtime/options.js';
import type { EngineName } from '../../runtime/session-types.js';

/** Parser of an integer of at least `least`. */
export const integer = (least: number) => (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least) throw new InvalidArgumentError(`Expected an integer of at least ${least} but received ${text}`);
  return value;
};

/** @throws DeployError E_USAGE for what the topics of a fleet cannot hold */
export function requireId(option: string, value: string): void {
  if (!ID_PATTERN.test(value)) throw new DeployError('E_USAGE', `Expected ${option} of 1 to 64 letters, digits, "_", "." or "-" (a letter or digit first) but received ${JSON.stringify(value)}`);
}

/** Parser of an option that may be repeated. */
export const repeated = (text: string, previous: string[]): string[] => [...previous, text];

/** Parser of a comma list of integers of at least `least`, in ascending order. */
export const integerList = (least: number) => (text: string): number[] => [...new Set(text.split(',').map(integer(least)))].sort((a, b) => a - b);

/** Parser of a number above zero. */
export function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0 && Number.isFinite(value))) throw new InvalidArgumentError(`Expected a number above 0 but received ${text}`);
  return value;
}

/** Parser of a number of at least zero. */
export function amount(text: string): number {
  const value = text.trim() === '' ? NaN : Number(text);
  if (!(value >= 0 && Number.isFinite(value))) throw new InvalidArgumentError(`Expected a number of at least 0 but received ${text}`);
  return value;
}

/** Parser of a number of 0 to 1. */
export function share(text: string): number {
  const value = amount(text);
  if (value > 1) throw new InvalidArgumentError(`Expected a number of 0 to 1 but received ${text}`);
  return value;
}

/** Parser of a comma list whose every member is one of `allowed`. */
export const choiceList = <T extends string>(allowed: readonly T[]) => (text: string): T[] => {
  return text.split(',').map((item) => {
    const found = allowed.find((candidate) => candidate === item.trim());
    if (found === undefined) throw new InvalidArgumentError(`Expected a comma list of ${allowed.join(', ')} but received ${item}`);
    return found;
  });
};

const engines: readonly EngineName[] = ['native', 'onnxruntime'];

export const engineList = choiceList(engines);
export const isaList = choiceList(isas);

export const isaOption = new Option('--isa <isa>', 'instruction set').choices(isas);

export const affinityOption = new Option('--affinity <cores>', 'cores that the threads of the native engine stay on, where a CPU has fast and slow ones').choices(affinities).default('any');

export const engineOption = (flags: string, description: string): Option => new Option(flags, description).choices(engines);

export const numbers = (text: string): number[] => {
  const values = text.split(',').map((item) => (item.trim() === '' ? NaN : Number(item)));
  if (!values.every(Number.isFinite)) throw new InvalidArgumentError(`Expected a number, or one for each channel separated by commas, but received ${text}`);
  return values;
};

export const deviations = (text: string): number[] => {
  const values = numbers(text);
  if (values.includes(0)) throw new InvalidArgumentError('Expected deviations other than zero');
  return values;
};

/** Adds --mean, --std, --channels and --fit: how pictures become the model's input. What is not stated is assumed as `sterna run` would. */
export function addPictureOptions(command: Command): Command {
  return command
    .addOption(new Option('--mean <values>', 'pictures: subtracted from each 0..255 value; one, or one a channel; default: as run assumes of the model').argParser(numbers))
    .addOption(new Option('--std <values>', 'pictures: the difference is divided by it').argParser(deviations))
    .addOption(new Option('--channels <order>', 'pictures: channel order of the model').choices(['rgb', 'bgr', 'gray']))
    .addOption(new Option('--fit <how>', 'pictures: how they are brought to the size of the input').choices(fits));
}

/** Options of `addShapeOptions`. */
export interface ShapeOptions {
  shape: Record<string, readonly number[]>;
  symbol: Record<string, number>;
}

/** NAME and VALUE of `NAME=VALUE`; names may hold `=` themselves. */
function named(text: string, expected: string): [string, string] {
  const at = text.lastIndexOf('=');
  if (at < 1 || at === text.length - 1) throw new InvalidArgumentError(`Expected ${expected} but received ${text}`);
  return [text.slice(0, at), text.slice(at + 1)];
}

function shapeArgument(text: string, previous: ShapeOptions['shape']): ShapeOptions['shape'] {
  const [name, sizes] = named(text, 'NAME=1x3x320x320');
  return { ...previous, [name]: sizes.split('x').map(integer(1)) };
}

function symbolArgument(text: string, previous: ShapeOptions['symbol']): ShapeOptions['symbol'] {
  const [name, size] = named(text, 'NAME=320');
  return { ...previous, [name]: integer(1)(size) };
}

/** Adds --shape and --symbol: sizes for what a model leaves open. */
export function addShapeOptions(command: Command): Command {
  return command
    .option('--shape <name=sizes>', 'shape of an input whose sizes the model leaves open, e.g. image=1x3x320x320; may be repeated', shapeArgument, {})
    .option('--symbol <name=size>', 'size of a named open dimension, e.g. height=320; may be repeated', symbolArgument, {});
}

/** Options of `addInputOptions`. */
export interface InputOptions extends ShapeOptions {
  value: Record<string, readonly number[]>;
}

function valueArgument(text: string, previous: InputOptions['value']): InputOptions['value'] {
  const expected = 'NAME=16000, or numbers separated by commas,';
  const [name, list] = named(text, expected);
  const values = list.split(',').map((item) => (item.trim() === '' ? NaN : Number(item)));
  if (values.some(Number.isNaN)) throw new InvalidArgumentError(`Expected ${expected} but received ${text}`);
  return { ...previous, [name]: values };
}

/** Adds --shape, --symbol and --value: all that may be stated of a model's inputs. */
export function addInputOptions(command: Command): Command {
  return addShapeOptions(command)
    .option('--value <name=numbers>', 'numbers that an input always has, e.g. sr=16000: one for all of its elements, or one for each, separated by commas; it becomes a constant of the model; may be repeated', valueArgument, {});
}

/** The shape part of a command's options. An input that is a constant has no size to choose any more. */
export const chosenSizes = ({ shape, symbol, value = {} }: ShapeOptions & Partial<InputOptions>): ChosenSizes => ({ shapes: Object.fromEntries(Object.entries(shape).filter(([name]) => !Object.hasOwn(value, name))), symbols: symbol });

/** What was stated of the options of `addPictureOptions`. */
export const statedPictureOptions = ({ mean, std, channels, fit }: Partial<PictureOptions>): Partial<PictureOptions> =>
  stated({ mean, std, channels, fit });
