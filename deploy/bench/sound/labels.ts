/** Robust losses against cross-entropy where two of five labels are wrong: one experiment for the benches of sound and of the lab. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LossSettings } from '../../lab/losses.js';
import { readClips } from '../../sound/clips.js';
import { compareOnWrongLabels } from '../../sound/wrong-labels.js';
import { absentOf, type Absent, type Bar } from '../bars.js';

interface LabelBench {
  /** Folder with yamnet_w8.onnx. */
  models: string;
  /** Recordings as ESC-10 has them. */
  sounds: string;
  signal: AbortSignal;
}

const share = 0.4;
const seeds = [1, 2] as const;

/** With the settings that their authors give for ten classes. */
const robust = [{ kind: 'gce', q: 0.7 }, { kind: 'sce', alpha: 0.1, beta: 1 }] as const satisfies readonly LossSettings[];

const percent = (value: number): string => `${(100 * value).toFixed(1)} %`;

/** @param bench `sound` or `lab`, with which the names of the bars begin */
export async function labelBars(bench: 'sound' | 'lab', { models, sounds, signal }: LabelBench): Promise<Bar[] | Absent> {
  const teacher = join(models, 'yamnet_w8.onnx');
  const absent = absentOf([teacher, sounds]);
  if (absent !== undefined) return absent;
  const [plain, ...others] = await compareOnWrongLabels(await readFile(teacher), await readClips(sounds), { losses: [{ kind: 'cross-entropy' }, ...robust], seeds, share, onTrained: () => signal.throwIfAborted() });
  if (plain === undefined) return [];
  return others.map(({ loss: { kind }, accuracy, fitted }) => {
    const value = 100 * (accuracy - plain.accuracy);
    const what = `recordings recognized by a student that learned from ${100 * share} % wrong labels, ${kind} ${percent(accuracy)} less cross-entropy ${percent(plain.accuracy)}, `
      + `each fold left out, ${seeds.length} seeds (of what they were told they know ${percent(fitted)} and ${percent(plain.fitted)})`;
    return { id: `${bench}.labels_${kind}`, what, value, unit: 'points', bar: '>= 8', met: value >= 8 };
  });
}
