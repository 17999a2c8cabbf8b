import { Option, type Command } from 'commander';
import { decoderNames } from '../../runtime/vision/decoders/index.js';
import { fits } from '../../runtime/vision/pixels.js';
import { readAnchors } from '../evaluate/anchors.js';
import { readClassNames } from '../evaluate/truth.js';
import type { ModelOptions } from '../run/recognize.js';
import type { SizedModelOptions } from '../run/open.js';
import { addInputOptions, chosenSizes, deviations, integer, numbers, type InputOptions } from './options.js';

/** Options of `addModelOptions`, as they are on the command line: labels and anchors are files. */
export interface ModelArguments extends Omit<ModelOptions, 'labels' | 'anchors'>, InputOptions {
  labels?: string;
  anchors?: string;
}

const parts = ['decoder', 'labels', 'mean', 'std', 'channels', 'fit', 'score', 'iou', 'anchors', 'keypoints'] as const;

/** Adds what a user states of a model instead of what would be assumed; `--kind` is the command's own. */
export function addModelOptions(command: Command): Command {
  return addInputOptions(command
    .addOption(new Option('--decoder <family>', 'of a model: how the outputs of a detector are read').choices(decoderNames))
    .option('--labels <file>', 'of a model: names of the classes, one per line')
    .addOption(new Option('--mean <values>', 'of a model: subtracted from each 0..255 value; one, or one a channel').argParser(numbers))
    .addOption(new Option('--std <values>', 'of a model: the difference is divided by it').argParser(deviations))
    .addOption(new Option('--channels <order>', 'of a model: channel order').choices(['rgb', 'bgr']))
    .addOption(new Option('--fit <how>', 'of a model: how pictures are brought to the size of the input').choices(fits))
    .option('--score <x>', 'of a model: least score of a finding, 0 to 1 (of an embedder: least cosine)', Number)
    .option('--iou <x>', 'of a model: boxes of a class that overlap by more are one object, 0 to 1', Number)
    .option('--anchors <file.json>', 'of a model with SSD heads: a list of [cy, cx, height, width] as fractions of the input')
    .option('--keypoints <n>', 'of a model: keypoints of a box, where the head has them', integer(1)));
}

/** The names of the options that were given, without dashes. */
export function statedOptions(given: Omit<ModelArguments, 'kind'>): string[] {
  const sizes = (['shape', 'symbol', 'value'] as const).filter((name) => Object.keys(given[name]).length > 0);
  return [...parts.filter((name) => given[name] !== undefined), ...sizes];
}

/** What was stated, with its files read. @throws DeployError E_FILE, RuntimeError E_INPUT */
export async function modelOptions(given: ModelArguments): Promise<SizedModelOptions> {
  const { kind, decoder, mean, std, channels, fit, score, iou, keypoints, shape, symbol, value } = given;
  return {
    kind, decoder, mean, std, channels, fit, score, iou, keypoints, sizes: chosenSizes(given), values: { shape, symbol, value },
    labels: given.labels === undefined ? undefined : await readClassNames(given.labels),
    anchors: given.anchors === undefined ? undefined : await readAnchors(given.anchors),
  };
}
