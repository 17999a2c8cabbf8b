/**
 * What a window of sound could take over from windows before it: between two windows features move by a hop, and so do the rows of feature maps along
 * time wherever the hop is a whole number of them and no padding was within reach. This tells how much that would save, at most; nothing runs this way.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeCpu } from '../../../kernels/binding/index.js';
import { typeOf, type Graph, type Node } from '../../../runtime/graph/graph.js';
import { elementCount } from '../../../runtime/graph/tensor-value.js';
import { compile } from '../../../runtime/lower/compile.js';
import { neededRegions } from '../../../runtime/ops/registry.js';
import { wholeRegion, type Region } from '../../../runtime/ops/regions.js';
import { createSession } from '../../../runtime/session.js';
import type { LayerProfile } from '../../../runtime/session-types.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { uniform } from '../../compress/random.js';
import { decisionStep } from '../../sound/siren/decide.js';
import { sirenFeatures } from '../../sound/siren/features.js';
import { readSirenModel } from '../../sound/siren/package.js';
import { patch } from '../../sound/student.js';
import { siren } from '../../sound/synthesize.js';
import type { Bar } from '../bars.js';
import { chunksOf, decisionMs, ears } from './listening.js';

/** Rows of a value that an earlier window has computed. */
export interface Moved {
  /** The axis of the value along time. */
  readonly axis: number;
  /** Rows by which the window has moved on: row r is row r + shift of the earlier window. */
  readonly shift: number;
  /** By row: whether it is the same, bit by bit, in both windows. */
  readonly kept: readonly boolean[];
}

/** A value of the graph whose rows along `axis` are moments of time: features, or what a model makes of samples. */
export interface Start {
  readonly shape: readonly number[];
  readonly axis: number;
}

export const keptShare = (moved: Moved | undefined): number => (moved === undefined ? 0 : moved.kept.filter(Boolean).length / moved.kept.length);

/** Along `axis` as a row of the output needs it of an operand: the same region in both windows, moved by the operand's shift, of rows that were kept. */
function follows(here: Region, there: Region, moved: Moved | undefined): boolean {
  return here.every(({ from, to }, axis) => {
    const then = there[axis];
    const shift = axis === moved?.axis ? moved.shift : 0;
    if (then?.from !== from + shift || then.to !== to + shift) return false;
    return axis !== moved?.axis || moved.kept.slice(from, to).every(Boolean);
  });
}

/** The rows of a node's output along `axis` that are those of the earlier window, by the best shift; undefined: none. */
function alongAxis(graph: Graph, node: Node, axis: number, moves: ReadonlyMap<string, Moved>): Moved | undefined {
  const shapeOf = (value: string): readonly number[] => typeOf(graph, value).shape;
  const output = shapeOf(node.outputs[0] ?? '');
  const rows = output[axis] ?? 1;
  const inputs = node.inputs.map((value) => (value === '' ? undefined : shapeOf(value)));
  const needs = Array.from({ length: rows }, (_, row) => neededRegions({ node, inputs, output }, wholeRegion(output).map((span, i) => (i === axis ? { from: row, to: row + 1 } : span))));
  const extent = (row: number, i: number, along: number): number => (needs[row]?.[i]?.[along]?.to ?? 0) - (needs[row]?.[i]?.[along]?.from ?? 0);
  // A row whose window reaches into the padding needs less of the operand than others.
  const inside = needs.map((_, row) => node.inputs.every((value, i) => {
    const along = moves.get(value)?.axis;
    return along === undefined || needs.every((__, other) => extent(other, i, along) <= extent(row, i, along));
  }));
  const keptBy = (shift: number): boolean[] => needs.map((here, row) => row + shift < rows && inside[row] === true && inside[row + shift] === true && node.inputs.every((value, i) => {
    const [now, then] = [here[i], needs[row + shift]?.[i]];
    if (now === undefined || then === undefined) return value === '';
    return (moves.has(value) || graph.constants.has(value)) && follows(now, then, moves.get(value));
  }));
  const candidates = Array.from({ length: rows - 1 }, (_, i): Moved => ({ axis, shift: i + 1, kept: keptBy(i + 1) }));
  return candidates.reduce<Moved | undefined>((best, next) => (keptShare(next) > keptShare(best) ? next : best), undefined);
}

/**
 * Follows rows along time through a graph of core operators, by what each operator states of the regions that it needs.
 * @param hop rows of the starts by which the window has moved on since the earlier one
 * @returns of each value that has rows in common with the earlier window
 */
export function followRows(graph: Graph, starts: readonly Start[], hop: number): Map<string, Moved> {
  const moves = new Map<string, Moved>();
  const begin = (value: string): boolean => {
    const { shape } = typeOf(graph, value);
    const start = starts.find((each) => each.shape.join() === shape.join());
    const rows = start === undefined ? 0 : shape[start.axis] ?? 0;
    if (start === undefined || hop >= rows) return false;
    moves.set(value, { axis: start.axis, shift: hop, kept: Array.from({ length: rows }, (_, row) => row + hop < rows) });
    return true;
  };
  for (const input of graph.inputs) begin(input);
  for (const node of graph.nodes) {
    const [output = ''] = node.outputs;
    const read = node.inputs.some((value) => moves.has(value));
    if (!read) begin(output);
    if (!read || node.outputs.length !== 1) continue;
    const axes = typeOf(graph, output).shape.map((_, axis) => alongAxis(graph, node, axis, moves));
    const best = axes.reduce((a, b) => (keptShare(b) > keptShare(a) ? b : a), undefined);
    if (best !== undefined) moves.set(output, best);
  }
  return moves;
}

const profiledRuns = 30;
/** Windows of which the rows of coarse maps could be kept, so that the hop between them and this one is a whole number of their rows. */
const keptWindows = 16;

export interface Network {
  model: Uint8Array;
  shapes?: Readonly<Record<string, readonly number[]>>;
  starts: readonly Start[];
  /** Rows of features between two windows. */
  hop: number;
}

/** The least time of each layer over several runs: neighbours only ever add. */
async function layersOf({ model, shapes = {} }: Network): Promise<LayerProfile[]> {
  const session = await createSession(model, { threads: 1, shapes, strips: false });
  const feeds = Object.fromEntries(session.inputs.map(({ name, type, dims }): [string, Tensor] => [name, { type, dims, data: new Float32Array(elementCount(dims)) }]));
  let least: LayerProfile[] = [];
  for (let run = 0; run < profiledRuns; run++) {
    const layers = await session.profile?.(feeds) ?? [];
    least = layers.map((layer, i) => ({ ...layer, ms: Math.min(layer.ms, least[i]?.ms ?? Infinity) }));
  }
  await session.close();
  return least;
}

export interface Saving {
  /** Of the time of all layers, that of rows that the window before has. */
  readonly before: number;
  /** The same where each layer takes its rows from any of the last windows, for which these have to be kept. */
  readonly older: number;
  /** All layers, milliseconds. */
  readonly ms: number;
}

/** What could be saved at most: nothing is counted for moving rows and for running on a part of them. */
export async function savingOf(network: Network): Promise<Saving> {
  const { model, shapes = {}, starts, hop } = network;
  const { graph, opNodes } = compile(model, { activation: describeCpu().activation, shapes, strips: false });
  const ages = Array.from({ length: keptWindows }, (_, i) => followRows(graph, starts, hop * (i + 1)));
  const layers = await layersOf(network);
  const shares = opNodes.map(({ outputs: [output = ''] }) => ages.map((age) => keptShare(age.get(output))));
  const ms = layers.reduce((sum, layer) => sum + layer.ms, 0);
  const part = (share: (own: readonly number[]) => number): number => layers.reduce((sum, layer, i) => sum + layer.ms * share(shares[i] ?? []), 0) / ms;
  return { before: part(([first = 0]) => first), older: part((own) => Math.max(0, ...own)), ms };
}

/** From this share of a window's time on it would be worth an engine that does it. */
const worthwhile = 0.25;

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

/** Networks of a second or two of sound at the hop that their packages state, and one that is used at any. */
async function networksIn(models: string | undefined): Promise<Record<string, Network>> {
  const found: Record<string, Network> = { siren: { model: await readSirenModel(), starts: [{ shape: [1, 1, patch.rows, patch.bands], axis: 2 }], hop: decisionStep / sirenFeatures.hop } };
  const [yamnet, kws] = ['yamnet_w8.onnx', 'kws_ref_model_float32.onnx'].map((name) => join(models ?? '', name));
  if (models === undefined || yamnet === undefined || kws === undefined) return found;
  // Its spectra are made in the network: 96 frames of 5 times 80 samples, which become a patch. Half of them are new.
  if (existsSync(yamnet)) found['yamnet'] = { model: await readFile(yamnet), shapes: { input: [1, 15_600] }, starts: [{ shape: [96, 5, 80], axis: 0 }, { shape: [1, 96, 64, 1], axis: 1 }], hop: 48 };
  // 49 frames, one every 20 ms, at ten decisions a second.
  if (existsSync(kws)) found['kws'] = { model: await readFile(kws), starts: [{ shape: [1, 49, 10, 1], axis: 1 }], hop: 5 };
  return found;
}

/** What windows could take over from windows before, and whether that would be worth it: the reason why each window is computed in full. */
export async function columnBars({ models }: { models?: string }): Promise<Bar[]> {
  const bars: Bar[] = [];
  const add = (id: string, what: string, share: number): void => {
    bars.push({ id: `sound.columns.${id}`, what, value: 100 * share, unit: '%', bar: `< ${100 * worthwhile}`, met: share < worthwhile });
  };
  for (const [name, network] of Object.entries(await networksIn(models))) {
    const { before, older, ms } = await savingOf(network);
    add(name, `of ${ms.toFixed(3)} ms of ${name}, a hop of ${network.hop} rows: in maps of the window before, at most (of any of ${keptWindows} windows: ${percent(older)})`, before);
    if (name !== 'siren') continue;
    const decision = await decisionMs(await ears({ enabled: false }), chunksOf(siren('wail', 2, uniform(1))), 'full');
    add('decision', `of ${decision.toFixed(3)} ms of a decision of the siren student, if maps of ${keptWindows} windows were kept, at most`, (older * ms) / decision);
  }
  return bars;
}
