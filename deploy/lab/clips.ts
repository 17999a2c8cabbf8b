import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { openSoundSource } from '../../runtime/media/index.js';
import { featureDefinition, type FeatureDefinition } from '../../runtime/sound/definition.js';
import { createFrontEnd } from '../../runtime/sound/front-end.js';
import { uniform } from '../compress/random.js';
import { DeployError } from '../errors.js';
import { readPlainWave } from './wave.js';

/** A recording as rows of features. */
export interface Clip {
  readonly name: string;
  /** Index into the classes, as the folder says. */
  readonly label: number;
  /** Number before the first `-` of the file's name, by which data sets such as ESC-50 are split; 0 without one. */
  readonly fold: number;
  /** Row by row. */
  readonly features: Float32Array;
}

export interface ClipFolder {
  readonly classes: readonly string[];
  readonly clips: readonly Clip[];
  readonly definition: FeatureDefinition;
}

/** 64 bands of 125..7500 Hz, frames of 25 ms every 10 ms: what YAMNet hears (its published code), so that it can teach. */
export const defaultFeatures: FeatureDefinition = featureDefinition.parse({
  after: 'yamnet', rate: 16_000, frame: 400, hop: 160, points: 512, window: 'hann', spectrum: 'magnitude',
  mel: { bands: 64, low_hz: 125, high_hz: 7500, scale: 'htk', triangles: 'mel', norm: 'none' }, compression: { type: 'log', floor: 0, offset: 0.001 },
});

const soundFile = /\.(wav|ogg|flac|mp3)$/i;

/** Samples of -1..1 of a whole recording. */
export async function samplesOf(path: string, rate: number): Promise<Float32Array> {
  const plain = await readPlainWave(path, rate);
  if (plain !== null) return plain;
  const parts: Float32Array[] = [];
  for await (const { samples } of openSoundSource(path, { rate, step: rate })) parts.push(samples.slice());
  return joined(parts);
}

/** Arrays, one after the other. */
export function joined(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((sum, { length }) => sum + length, 0));
  parts.reduce((at, part) => {
    all.set(part, at);
    return at + part.length;
  }, 0);
  return all;
}

/** Rows of features of a whole recording. */
export function featureRows(samples: Float32Array, definition: FeatureDefinition): Float32Array {
  const rows = Math.max(1, Math.floor((samples.length + definition.padding - definition.frame) / definition.hop) + 1);
  const frontEnd = createFrontEnd(definition, rows);
  frontEnd.push(samples);
  return Float32Array.from(frontEnd.window);
}

/**
 * The recordings of a folder with a folder for each class, in the order of their names.
 * @throws DeployError E_FILE; E_LAB: fewer than two classes, or a class without recordings
 */
export async function listClips(folder: string): Promise<{ classes: string[]; files: Pick<Clip, 'name' | 'label' | 'fold'>[] }> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((cause: unknown) => {
    throw new DeployError('E_FILE', `${folder} cannot be read: ${String(cause)}`, { cause, details: { path: folder } });
  });
  const classes = entries.filter((entry) => entry.isDirectory()).map(({ name }) => name).sort();
  if (classes.length < 2) throw new DeployError('E_LAB', `Expected a folder for each of at least two classes in ${folder} but found ${classes.length}`, { details: { path: folder } });
  const files = await Promise.all(classes.map(async (name, label) => {
    const own = (await readdir(join(folder, name))).filter((file) => soundFile.test(file)).sort();
    if (own.length === 0) throw new DeployError('E_LAB', `Expected recordings (.wav, .ogg, .flac, .mp3) in ${join(folder, name)} but found none`, { details: { path: join(folder, name) } });
    return own.map((file) => ({ name: `${name}/${file}`, label, fold: Number(/^(\d+)-/.exec(file)?.[1] ?? 0) }));
  }));
  return { classes, files: files.flat() };
}

/**
 * A folder with a folder of recordings for each class.
 * @throws DeployError as `listClips`; RuntimeError E_MEDIA, E_FFMPEG_MISSING
 */
export async function readClips(folder: string, definition: FeatureDefinition, onProgress: (done: number, total: number) => void = () => undefined): Promise<ClipFolder> {
  const { classes, files } = await listClips(folder);
  const clips: Clip[] = [];
  for (const file of files) {
    clips.push({ ...file, features: featureRows(await samplesOf(join(folder, file.name), definition.rate), definition) });
    onProgress(clips.length, files.length);
  }
  return { classes, clips, definition };
}

/** How the features of all recordings are centred and scaled. */
export interface Scaling {
  readonly mean: number;
  readonly std: number;
}

export function scalingOf(clips: readonly Clip[]): Scaling {
  let [sum, squares, count] = [0, 0, 0];
  for (const { features } of clips) for (const value of features) [sum, squares, count] = [sum + value, squares + value * value, count + 1];
  const mean = sum / Math.max(1, count);
  return { mean, std: Math.sqrt(Math.max(1e-12, squares / Math.max(1, count) - mean * mean)) };
}

/** The labels with a share of them replaced by another class at random: to see what a loss makes of wrong labels. */
export function withWrongLabels<T extends Pick<Clip, 'label'>>(clips: readonly T[], classes: number, share: number, seed: number): T[] {
  const next = uniform(seed);
  return clips.map((clip) => {
    const [draw, other] = [next(), Math.floor(next() * (classes - 1))];
    return draw < share ? { ...clip, label: (clip.label + 1 + other) % classes } : clip;
  });
}

/** Writes `rows` rows of a recording from `first` on, scaled; beyond its ends there is silence, as its quietest value. */
export function cutPatch({ features }: Clip, first: number, { rows, bands, scaling }: { rows: number; bands: number; scaling: Scaling }, into: Float32Array): void {
  const available = features.length / bands;
  const inside = first >= 0 && first + rows <= available;
  const silence = inside ? 0 : features.reduce((least, value) => Math.min(least, value), Infinity);
  for (let row = 0; row < rows; row++) for (let band = 0; band < bands; band++) {
    const at = first + row;
    const value = at >= 0 && at < available ? (features[at * bands + band] ?? silence) : silence;
    into[row * bands + band] = (value - scaling.mean) / scaling.std;
  }
}

/** Louder or softer by up to 6 dB, and one stripe of time and one of frequency left out (SpecAugment, arXiv 1904.08779). In place. */
export function augmentPatch(patch: Float32Array, { rows, bands, scaling }: { rows: number; bands: number; scaling: Scaling }, next: () => number): void {
  const gain = ((2 * next() - 1) * Math.log(2)) / scaling.std;
  const stripe = (size: number, most: number): [number, number] => {
    const length = Math.floor(next() * most);
    const start = Math.floor(next() * (size - length));
    return [start, start + length];
  };
  const [fromRow, toRow] = stripe(rows, Math.floor(rows / 6));
  const [fromBand, toBand] = stripe(bands, Math.floor(bands / 6));
  for (let row = 0; row < rows; row++) for (let band = 0; band < bands; band++) {
    const hidden = (row >= fromRow && row < toRow) || (band >= fromBand && band < toBand);
    patch[row * bands + band] = hidden ? 0 : (patch[row * bands + band] ?? 0) + gain;
  }
}
