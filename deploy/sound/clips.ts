/** Recordings to learn from: a folder of folders, one for each class, such as ESC-10's `001_Dog_bark/1-100032-A.ogg`, whose names begin with the fold. */
import { join } from 'node:path';
import { defaultFeatures, featureRows, listClips, samplesOf } from '../lab/clips.js';
import { patch } from './student.js';
import { rate } from './synthesize.js';

/** Samples that a patch covers. */
export const patchSamples = (patch.rows - 1) * defaultFeatures.hop + defaultFeatures.frame;

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

/**
 * @param wanted folds to read; the others are not decoded, which takes most of the time
 * @throws DeployError E_FILE; E_LAB: fewer than two classes, or a class without recordings; RuntimeError E_MEDIA, E_FFMPEG_MISSING
 */
export async function readClips(folder: string, wanted: (fold: number) => boolean = () => true): Promise<Recordings> {
  const { classes, files } = await listClips(folder);
  const clips: Clip[] = [];
  for (const file of files.filter(({ fold }) => wanted(fold))) {
    const samples = new Float32Array(clipSeconds * rate);
    samples.set((await samplesOf(join(folder, file.name), rate)).subarray(0, samples.length));
    clips.push({ ...file, samples, rows: featuresOf(samples) });
  }
  return { classes: classes.map((name) => name.replace(/^\d+[_-]/, '').toLowerCase()), clips };
}

/** Features of a whole recording, [rows][bands]: YAMNet's, so that teacher and student hear the same. */
export const featuresOf = (samples: Float32Array): Float32Array => featureRows(samples, defaultFeatures);

export const rowsIn = (rows: Float32Array): number => rows.length / patch.bands;

/** Silence has a feature of ln(0.001) in every band. What is hardly louder teaches nothing, and the gate would stop it. */
function isSilent(rows: Float32Array, start: number): boolean {
  const part = rows.subarray(start * patch.bands, (start + patch.rows) * patch.bands);
  return part.reduce((sum, feature) => sum + feature, 0) / part.length < Math.log(0.001) + 0.05;
}

/** First rows of the patches of a recording that are not silent, a step apart; the first one if all are. */
export function patchesOf(rows: Float32Array, step: number): number[] {
  const starts = Array.from({ length: Math.floor((rowsIn(rows) - patch.rows) / step) + 1 }, (_, i) => i * step);
  const heard = starts.filter((start) => !isSilent(rows, start));
  return heard.length === 0 ? [0] : heard;
}
