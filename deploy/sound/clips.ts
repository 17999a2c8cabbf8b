/** Recordings to learn from: a folder of folders, one for each class, such as ESC-10's `001_Dog_bark/1-100032-A.ogg`, whose names begin with the fold. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openSoundSource } from '../../runtime/media/index.js';
import { featureDefinition, type FeatureDefinition } from '../../runtime/sound/definition.js';
import { createFrontEnd } from '../../runtime/sound/front-end.js';
import { DeployError } from '../errors.js';
import { patch } from './student.js';
import { rate } from './synthesize.js';

/** 25 ms every 10 ms, 64 bands of 125 to 7500 Hz, ln(amplitude + 0.001): YAMNet's features, so that teacher and student hear the same. */
export const patchDefinition: FeatureDefinition = featureDefinition.parse({
  after: 'yamnet', rate, frame: 400, hop: 160, points: 512, window: 'hann', spectrum: 'magnitude',
  mel: { bands: patch.bands, low_hz: 125, high_hz: 7500, scale: 'htk', triangles: 'mel', norm: 'none' },
  compression: { type: 'log', floor: 0, offset: 0.001 },
});

/** Samples that a patch covers. */
export const patchSamples = (patch.rows - 1) * patchDefinition.hop + patchDefinition.frame;

export interface Clip {
  name: string;
  /** Recordings of one origin are in one fold. */
  fold: number;
  /** Index into the classes. */
  label: number;
  samples: Float32Array;
  /** Features, [rows][bands]. */
  rows: Float32Array;
}

export interface Recordings {
  classes: string[];
  clips: Clip[];
}

const clipSeconds = 5;

/** @throws DeployError E_USAGE when the folder holds no clips */
export async function readClips(folder: string): Promise<Recordings> {
  const folders = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name).sort();
  const classes = folders.map((name) => name.replace(/^\d+[_-]/, '').toLowerCase());
  const clips: Clip[] = [];
  for (const [label, name] of folders.entries()) {
    for (const file of readdirSync(join(folder, name)).filter((entry) => /\.(wav|ogg|flac|mp3)$/i.test(entry)).sort()) {
      const samples = await decode(join(folder, name, file));
      clips.push({ name: `${name}/${file}`, fold: Number(/^\d+/.exec(file)?.[0] ?? 0), label, samples, rows: featuresOf(samples) });
    }
  }
  if (clips.length === 0) throw new DeployError('E_USAGE', `Expected a folder with a folder of clips for each class, such as ESC-10's, but ${folder} has none`);
  return { classes, clips };
}

async function decode(path: string): Promise<Float32Array> {
  const plain = plainWave(path);
  if (plain !== null) return plain;
  for await (const { samples } of openSoundSource(path, { rate, step: clipSeconds * rate })) return samples;
  return new Float32Array(clipSeconds * rate);
}

/** The samples of a WAV file that needs no conversion, without starting ffmpeg: 16 bits, one channel, this rate. Null for any other file. */
function plainWave(path: string): Float32Array | null {
  if (!/\.wav$/i.test(path)) return null;
  const bytes = readFileSync(path);
  if (bytes.length < 44 || bytes.toString('latin1', 0, 4) !== 'RIFF') return null;
  let plain = false;
  for (let at = 12; at + 8 <= bytes.length; at += 8 + bytes.readUInt32LE(at + 4)) {
    const name = bytes.toString('latin1', at, at + 4);
    if (name === 'fmt ') plain = bytes.readUInt16LE(at + 8) === 1 && bytes.readUInt16LE(at + 10) === 1 && bytes.readUInt32LE(at + 12) === rate && bytes.readUInt16LE(at + 22) === 16;
    if (name !== 'data') continue;
    const here = at + 8;
    const count = Math.min(bytes.readUInt32LE(at + 4), bytes.length - here) >> 1;
    return plain ? Float32Array.from({ length: clipSeconds * rate }, (_, i) => (i < count ? bytes.readInt16LE(here + 2 * i) / 32_768 : 0)) : null;
  }
  return null;
}

/** Features of a whole recording, [rows][bands]. */
export function featuresOf(samples: Float32Array): Float32Array {
  const rows = Math.max(1, Math.floor((samples.length - patchDefinition.frame) / patchDefinition.hop) + 1);
  const frontEnd = createFrontEnd(patchDefinition, rows);
  frontEnd.push(samples);
  return Float32Array.from(frontEnd.window);
}

export const rowsIn = (rows: Float32Array): number => rows.length / patch.bands;

/** Silence has a feature of ln(0.001) in every band. What is hardly louder teaches nothing, and the gate would stop it. */
export function isSilent(rows: Float32Array, start: number): boolean {
  const part = rows.subarray(start * patch.bands, (start + patch.rows) * patch.bands);
  return part.reduce((sum, feature) => sum + feature, 0) / part.length < Math.log(0.001) + 0.05;
}

/** First rows of the patches of a recording that are not silent, a step apart; the first one if all are. */
export function patchesOf(rows: Float32Array, step: number): number[] {
  const starts = Array.from({ length: Math.floor((rowsIn(rows) - patch.rows) / step) + 1 }, (_, i) => i * step);
  const heard = starts.filter((start) => !isSilent(rows, start));
  return heard.length === 0 ? [0] : heard;
}
