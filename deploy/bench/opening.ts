import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { DeployError } from '../errors.js';
import type { Bar } from './bars.js';
import { builtScript } from './built-script.js';

/** Openings of a model in one process, one after the other: milliseconds on the clock, and of all of its threads. */
const answerSchema = z.object({ ms: z.array(z.number()).min(2), cpu_ms: z.array(z.number()).min(2) });
type Answer = z.infer<typeof answerSchema>;

/** The least of several processes: the first opening of each, the second one, and the last. */
export interface Opening {
  model: string;
  processes: number;
  first_ms: number;
  second_ms: number;
  last_ms: number;
  first_cpu_ms: number;
  second_cpu_ms: number;
  last_cpu_ms: number;
}

/** Openings of a process: by then V8 has compiled what it will. */
export const openings = 10;

/** @throws DeployError E_BENCH: the process failed, with what it said */
async function openInProcess(path: string): Promise<Answer> {
  // Without flags of V8: it takes code that it made with others for none of its own.
  const process_ = spawn(process.execPath, [builtScript('deploy/bench/opening-child.js'), path, String(openings)], { stdio: ['ignore', 'pipe', 'pipe'] });
  const [out, err] = await Promise.all([text(process_.stdout), text(process_.stderr), once(process_, 'close')]);
  if (process_.exitCode !== 0) throw new DeployError('E_BENCH', `The process that opens ${path} failed: ${err.trim()}`, { details: { path } });
  return answerSchema.parse(JSON.parse(out));
}

export function summarizeOpenings(model: string, answers: readonly Answer[]): Opening {
  const least = (times: (answer: Answer) => readonly number[], at: number): number => Math.min(...answers.map((answer) => times(answer).at(at) ?? NaN));
  const clock = ({ ms }: Answer) => ms;
  const cpu = ({ cpu_ms }: Answer) => cpu_ms;
  return {
    model, processes: answers.length, first_ms: least(clock, 0), second_ms: least(clock, 1), last_ms: least(clock, -1),
    first_cpu_ms: least(cpu, 0), second_cpu_ms: least(cpu, 1), last_cpu_ms: least(cpu, -1),
  };
}

/** Opens each model in so many fresh processes, the models in turn, without a cache of programs. */
export async function measureOpenings(models: readonly { name: string; path: string }[], processes: number): Promise<Opening[]> {
  const answers = models.map((): Answer[] => []);
  for (let round = 0; round < processes; round++) for (const [i, { path }] of models.entries()) answers[i]?.push(await openInProcess(path));
  return models.map(({ name }, i) => summarizeOpenings(name, answers[i] ?? []));
}

export const openingBars = (rows: readonly Opening[]): Bar[] => rows.flatMap(({ model, first_ms, second_ms, last_ms }) => [
  { id: `open.first.${model}`, what: `${model}: first opening in a fresh process, compiled`, value: first_ms, unit: 'ms', bar: 100, met: first_ms <= 100 },
  { id: `open.second.${model}`, what: `${model}: the next opening in that process`, value: second_ms, unit: 'ms', bar: 30, met: second_ms <= 30 },
  { id: `open.warm.${model}`, what: `${model}: opening number ${openings}`, value: last_ms, unit: 'ms', bar: 30, met: last_ms <= 30 },
]);
