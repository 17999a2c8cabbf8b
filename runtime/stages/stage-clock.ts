import type { Sample } from '../frame.js';
import type { Finding, PipelineResult, StageTime } from './types.js';

/** Adds up the wall time of a sample's stages; a stage that runs once a face is one entry, the sum of all faces. */
export class StageClock {
  readonly #sample: Sample;
  readonly #times = new Map<string, number>();
  readonly #started = performance.now();

  constructor(sample: Sample = { sequence: 0, capturedMs: 0 }) {
    this.#sample = sample;
  }

  add(stage: string, ms: number): void {
    this.#times.set(stage, (this.#times.get(stage) ?? 0) + ms);
  }

  measure<T>(stage: string, work: () => T): T {
    const started = performance.now();
    const result = work();
    this.add(stage, performance.now() - started);
    return result;
  }

  async measureAsync<T>(stage: string, work: () => Promise<T>): Promise<T> {
    const started = performance.now();
    const result = await work();
    this.add(stage, performance.now() - started);
    return result;
  }

  /** In the order in which the stages first ran. */
  get stages(): StageTime[] {
    return [...this.#times].map(([stage, ms]) => ({ stage, ms }));
  }

  get totalMs(): number {
    return performance.now() - this.#started;
  }

  /** The result of the sample; the time that its source took to decode it comes first, and is not part of the total. */
  finish(findings: Finding[], { exit, cells = null, audit = false }: Pick<PipelineResult, 'exit'> & Partial<Pick<PipelineResult, 'cells' | 'audit'>>): PipelineResult {
    const { sequence, capturedMs, decodeMs } = this.#sample;
    const decode = decodeMs === undefined ? [] : [{ stage: 'decode', ms: decodeMs }];
    const { totalMs, stages } = this;
    return { sequence, capturedMs, findings, exit, cells, audit, stages: [...decode, ...stages], totalMs };
  }
}
