import { InvalidArgumentError, Option, type Command } from 'commander';
import { affinities } from '../../kernels/affinity.js';
import { isas } from '../../kernels/native.js';
import { defaultPictureOptions, type PictureOptions } from '../compress/samples.js';
import type { EngineName } from '../../runtime/session-types.js';

/** Parser of an integer of at least `least`. */
export const integer = (least: number) => (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < least) throw new InvalidArgumentError(`Expected an integer of at least ${least} but received ${text}`);
  return value;
};

/** Parser of a comma list of integers of at least `least`, in ascending order. */
export const integerList = (least: number) => (text: string): number[] => [...new Set(text.split(',').map(integer(least)))].sort((a, b) => a - b);

/** Parser of a number above zero. */
export function positive(text: string): number {
  const value = Number(text);
  if (!(value > 0 && Number.isFinite(value))) throw new InvalidArgumentError(`Expected a number above 0 but received ${text}`);
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

const numbers = (text: string): number[] => {
  const values = text.split(',').map((item) => (item.trim() === '' ? NaN : Number(item)));
  if (!values.every(Number.isFinite)) throw new InvalidArgumentError(`Expected a number, or one for each channel separated by commas, but received ${text}`);
  return values;
};

const deviations = (text: string): number[] => {
  const values = numbers(text);
  if (values.includes(0)) throw new InvalidArgumentError('Expected deviations other than zero');
  return values;
};

/** Adds --mean, --std, --channels and --fit: how pictures become the model's input. */
export function addPictureOptions(command: Command): Command {
  const { mean, std, channels, fit } = defaultPictureOptions;
  return command
    .addOption(new Option('--mean <values>', 'pictures: subtracted from each 0..255 value; one, or one a channel').argParser(numbers).default(mean, mean.join()))
    .addOption(new Option('--std <values>', 'pictures: the difference is divided by it').argParser(deviations).default(std, std.join()))
    .addOption(new Option('--channels <order>', 'pictures: channel order of the model').choices(['rgb', 'bgr', 'gray']).default(channels))
    .addOption(new Option('--fit <how>', 'pictures: how they are brought to the size of the input').choices(['letterbox', 'crop', 'stretch']).default(fit));
}

/** The picture part of a command's options. */
export const pictureOptions = ({ mean, std, channels, fit }: PictureOptions): PictureOptions => ({ mean, std, channels, fit });
