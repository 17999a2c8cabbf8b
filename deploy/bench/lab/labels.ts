/** Robust losses against cross-entropy where two of five labels are wrong. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { labConfig } from '../../lab/config.js';
import { runLab } from '../../lab/run.js';
import { absentOf, type Absent, type Bar } from '../bars.js';
import type { LabBenchOptions } from './options.js';

const wrong = 0.4;
/** Recordings of this fold are tested on. */
const fold = 1;

export async function labelBars({ samples, steps, signal }: LabBenchOptions & { samples: string }): Promise<Bar[] | Absent> {
  const folder = join(samples, 'esc10');
  const absent = absentOf([folder]);
  if (absent !== undefined) return absent;
  const accuracyWith = async (loss: object): Promise<number> => {
    const output = await mkdtemp(join(tmpdir(), 'sterna-bench-lab-'));
    try {
      const config = labConfig.parse({ model: { student: {} }, data: { kind: 'clips', folder, test_folds: [fold], wrong_labels: wrong }, loss, steps, seed: 1 });
      return 100 * ((await runLab(config, output, { onStep: () => signal.throwIfAborted() })).accuracy ?? 0);
    } finally {
      await rm(output, { recursive: true, force: true });
    }
  };
  const plain = await accuracyWith({ kind: 'cross-entropy' });
  const bars: Bar[] = [];
  for (const kind of ['gce', 'sce'] as const) {
    const robust = await accuracyWith({ kind });
    const value = robust - plain;
    bars.push({ id: `lab.labels_${kind}`, what: `recordings recognized with ${100 * wrong} % wrong labels, ${kind} ${robust.toFixed(1)} % less cross-entropy ${plain.toFixed(1)} % (fold ${fold}, ${steps} steps)`, value, unit: 'points', bar: '>= 8', met: value >= 8 });
  }
  return bars;
}
