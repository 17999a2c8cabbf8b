import { performance } from 'node:perf_hooks';
import type { Command } from 'commander';
import type { OnQuantizeProgress, QuantizeStage } from '../../runtime/quantize/report/progress.js';
import { log, wantsJson } from './output.js';
import { progressOutput, type ProgressOutput } from './progress.js';

/** Width of the bar in characters. */
const barWidth = 24;
/** A terminal is drawn on no more often than this, in milliseconds. */
const drawEvery = 100;
/** Before this, in milliseconds, nobody knows how long a stage takes. */
const estimateAfter = 1000;

/** Minutes and seconds of a duration in milliseconds. */
export function durationText(milliseconds: number): string {
  const seconds = Math.ceil(milliseconds / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** Progress of work that has one stage after the other: a bar with share and time left on a terminal, else a line a stage. */
export class StageProgress {
  readonly #output: ProgressOutput | null;
  readonly #now: () => number;
  #stage: string | undefined;
  #started = 0;
  #drawn = -Infinity;
  #visible = false;

  /** @param output null: nothing is shown */
  constructor(output: ProgressOutput | null, now: () => number = () => performance.now()) {
    this.#output = output;
    this.#now = now;
  }

  /**
   * @param total steps of the stage; null: unknown
   * @param detail what the step is about, on a terminal
   */
  update(stage: string, done: number, total: number | null, detail = ''): void {
    if (this.#output === null) return;
    const now = this.#now();
    const begins = stage !== this.#stage || (done === 0 && this.#output.terminal !== null);
    if (begins) this.#begin(stage, now);
    if (this.#output.terminal === null || (now - this.#drawn < drawEvery && !begins && done !== total)) return;
    this.#drawn = now;
    this.#visible = true;
    this.#output.terminal.write(`\r\u001b[2K${`${this.#lineOf(done, total, now - this.#started)}${detail === '' ? '' : `: ${detail}`}`.slice(0, this.#output.terminal.columns - 1)}`);
  }

  /** Takes the bar away, so that a line can be written. The next update draws it again. */
  clear(): void {
    if (this.#visible) this.#output?.terminal?.write('\r\u001b[2K');
    this.#visible = false;
    this.#drawn = -Infinity;
  }

  #begin(stage: string, now: number): void {
    this.#stage = stage;
    this.#started = now;
    if (this.#output?.terminal === null) this.#output.line(`sterna: ${stage}`);
  }

  #lineOf(done: number, total: number | null, elapsed: number): string {
    const stage = this.#stage ?? '';
    if (total === null || total === 0) return done === 0 ? stage : `${stage}: ${done}`;
    const share = Math.min(1, done / total);
    const full = Math.round(barWidth * share);
    const left = done === 0 || elapsed < estimateAfter ? '' : `, ${durationText((elapsed * (total - done)) / done)} left`;
    return `${stage} [${'#'.repeat(full)}${' '.repeat(barWidth - full)}] ${Math.floor(100 * share)} %${left}`;
  }
}

/** Progress of a command: nothing with --json. */
export function stageProgress(command: Command): StageProgress {
  return new StageProgress(wantsJson(command) ? null : progressOutput((line) => log(command, line), false));
}

const stageTexts: Readonly<Record<QuantizeStage, string>> = {
  channels: 'measuring channels',
  migrate: 'moving scales into weights',
  calibrate: 'calibrating',
  ranges: 'choosing ranges',
  float: 'looking for layers that need float32',
  choose: 'measuring what layers lose in fewer bits',
  round: 'rounding weights',
  measure: 'measuring the result',
};

/**
 * Shows the stages of quantization.
 * @param samples how many calibration samples there are, where the quantization cannot know
 */
export const quantizeProgress = (view: StageProgress, { prefix = '', samples = null }: { prefix?: string; samples?: number | null } = {}): OnQuantizeProgress =>
  (stage, done, total) => view.update(`${prefix}${stageTexts[stage]}`, done, total ?? (stage === 'calibrate' ? samples : null));
