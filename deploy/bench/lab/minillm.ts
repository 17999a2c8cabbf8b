/** MiniLLM against word-level distillation and further training, on character transformers that are trained here. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { performance } from 'node:perf_hooks';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { labConfig, type TextConfig } from '../../lab/config.js';
import { judgeSamples, runText } from '../../lab/language/run.js';
import type { SampleQuality } from '../../lab/language/sampling.js';
import { languageModel } from '../../lab/language/teacher.js';
import { readCorpus } from '../../lab/language/text.js';
import { absentOf, type Absent, type Bar } from '../bars.js';
import type { LabBenchOptions } from './options.js';

const context = 32;
const seeds = [1, 2];
/** Of what is drawn to judge: the same for all methods, and not that of a training. */
const judgingSeed = 4711;

/** Chosen on the end of the text that is learned from (D-051): the rate, which is the best of four for each, and the weight of the text for MiniLLM. */
const methods = {
  SFT: { weight: 0 },
  KD: { weight: 1, temperature: 1 },
  MiniLLM: { method: 'minillm', text_weight: 0.3 },
} as const;
const rate = 3e-2;
type Method = keyof typeof methods;

interface Measured extends SampleQuality {
  perplexity: number;
  seconds: number;
}

/** All methods from the same student that has learned the text a little, after as many steps. */
async function measured(file: string, seed: number, { steps, signal }: LabBenchOptions): Promise<Record<Method, Measured>> {
  const folder = await mkdtemp(join(tmpdir(), 'sterna-bench-minillm-'));
  try {
    const run = (name: string, more: object) => runText(labConfig.parse({ data: { kind: 'text', file, context }, loss: { kind: 'cross-entropy' }, rate: 3e-3, batch: 16, seed, ...more }) as TextConfig, join(folder, name), { onStep: () => signal.throwIfAborted() });
    const { model: teacher } = await run('teacher', { model: { student: { kind: 'transformer', width: 64, layers: 2 } }, steps: 6 * steps, batch: 32 });
    const { model: start } = await run('start', { model: { student: { kind: 'transformer', width: 24, layers: 1, heads: 2 } }, steps: 3 * steps });
    const { judged, characters } = await readCorpus(file, 0.1, context);
    const judge = languageModel(await readFile(teacher), 1);
    const made: [string, Measured][] = [];
    try {
      for (const [name, settings] of Object.entries(methods)) {
        const began = performance.now();
        const { model, perplexity } = await run(name, { model: start, steps, rate, teacher: { model: teacher, ...settings } });
        const student = languageModel(await readFile(model), 1);
        const seconds = (performance.now() - began) / 1000;
        try {
          made.push([name, { perplexity, seconds, ...await judgeSamples(student, judge, judged, { context, characters: characters.length, seed: judgingSeed }) }]);
        } finally {
          await student.close();
        }
      }
    } finally {
      await judge.close();
    }
    return Object.fromEntries(made) as Record<Method, Measured>;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const list = (all: readonly Record<Method, Measured>[], of: (measured: Measured) => number, digits = 3): string =>
  (Object.keys(methods) as Method[]).map((name) => `${name} ${all.map((one) => of(one[name]).toFixed(digits)).join(', ')}`).join('; ');

/** Worst over the seeds of what MiniLLM gains over the better of the others. */
export async function miniLlmBars(options: LabBenchOptions & { samples: string }): Promise<Bar[] | Absent> {
  const file = join(options.samples, 'text', 'tinyshakespeare.txt');
  const absent = absentOf([file]);
  if (absent !== undefined) return absent;
  const all: Record<Method, Measured>[] = [];
  for (const seed of seeds) all.push(await measured(file, seed, options));
  const share = Math.max(...all.map(({ SFT, KD, MiniLLM }) => MiniLLM.reverse_kl / Math.min(SFT.reverse_kl, KD.reverse_kl)));
  const gain = Math.min(...all.map(({ SFT, KD, MiniLLM }) => MiniLLM.teacher_log_likelihood - Math.max(SFT.teacher_log_likelihood, KD.teacher_log_likelihood)));
  const how = `${options.steps} steps from the same start, seeds ${seeds.join(', ')}`;
  return [
    { id: 'lab.minillm_reverse_kl', what: `KL(student || teacher) on held-out prompts by MiniLLM, share of the better of SFT and KD, worst seed (${list(all, ({ reverse_kl }) => reverse_kl)} nats a character; ${how}; entropy ${list(all, ({ entropy }) => entropy, 2)}; ${list(all, ({ seconds }) => seconds, 0)} s)`, value: share, unit: 'x', bar: '< 1', met: share < 1 },
    { id: 'lab.minillm_likelihood', what: `log-likelihood of the student's samples under the teacher by MiniLLM, less the better of SFT and KD, worst seed (${list(all, ({ teacher_log_likelihood }) => teacher_log_likelihood)}; perplexity on the text ${list(all, ({ perplexity }) => perplexity, 2)})`, value: gain, unit: 'nats a character', bar: '> 0', met: gain > 0 },
  ];
}
