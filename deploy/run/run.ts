import { Histogram, quantile } from '../../agent/contracts/histogram.js';
import { isSound } from '../../runtime/frame.js';
import { releasePicture } from '../../runtime/picture-memory.js';
import type { FrameSource, SoundSource } from '../../runtime/frame.js';
import { detectionsOf } from '../../runtime/stages/finding.js';
import type { Finding, Pipeline, PipelineResult } from '../../runtime/stages/types.js';
import type { Drawing } from './draw.js';

export interface StageSummary {
  stage: string;
  count: number;
  p50_ms: number;
  p99_ms: number;
  max_ms: number;
}

export interface RunSummary {
  type: 'summary';
  pipeline: string;
  version: string;
  frames: number;
  dropped: number;
  exits: Record<string, number>;
  /** Over all frames. */
  findings: number;
  /** Number of frames in which each person was recognized. */
  recognized: Record<string, number>;
  /** Of sound: how often each class began, windows that were dropped because they would have been late, and what checks of the gate found. */
  sound?: { events: Record<string, number>; late: number; audited: number; missed: number };
  memory_bytes: number;
  /** All stages together. */
  total: Omit<StageSummary, 'stage'>;
  stages: StageSummary[];
}

/** One frame as a line of output. */
export interface FrameLine {
  type: 'frame';
  sequence: number;
  exit: string;
  total_ms: number;
  /** Of any type; what a finding has beyond type, label and score depends on it. */
  findings: {
    type: string; label: string; score: number; box?: number[]; track?: number; status?: string; age_ms?: number; velocity?: number[]; name?: string | null; similarity?: number;
    liveness?: number; live?: boolean;
    onset_ms?: number; duration_ms?: number;
  }[];
  stages_ms: Record<string, number>;
  /** Of sound: decibels below full scale, and what is wrong with the signal. */
  level_db?: number;
  problems?: string[];
}

/** Runs a pipeline over a source until its end, the limit, or the abort of the source. */
export async function runFrames(
  pipeline: Pipeline, source: FrameSource | SoundSource, options: { limit?: number | undefined; onFrame: (line: FrameLine) => void; drawing?: Pick<Drawing, 'add'> | undefined },
): Promise<RunSummary> {
  const tally = new Tally();
  const limit = options.limit ?? Infinity;
  if (limit > 0) {
    for await (const frame of source) {
      const result = await pipeline.process(frame);
      tally.add(result);
      options.onFrame(toLine(result));
      if (!isSound(frame)) {
        if (options.drawing === undefined) releasePicture(frame);
        else await options.drawing.add(frame, result.findings);
      }
      if (tally.frames >= limit) break;
    }
  }
  return tally.summary(pipeline, source.dropped);
}

class Tally {
  frames = 0;
  #findings = 0;
  readonly #exits = new Map<string, number>();
  readonly #recognized = new Map<string, number>();
  readonly #total = new Histogram();
  readonly #stages = new Map<string, Histogram>();
  readonly #onsets = new Map<string, Set<number>>();
  #sound: PipelineResult['sound'];

  add(result: PipelineResult): void {
    this.#sound = result.sound;
    for (const finding of result.findings) {
      if (finding.type === 'sound') this.#onsets.set(finding.label, (this.#onsets.get(finding.label) ?? new Set()).add(finding.onsetMs));
    }
    this.frames++;
    this.#findings += result.findings.length;
    this.#exits.set(result.exit, (this.#exits.get(result.exit) ?? 0) + 1);
    const names = new Set(detectionsOf(result.findings).flatMap((detection) => detection.identity?.name ?? []));
    for (const name of names) this.#recognized.set(name, (this.#recognized.get(name) ?? 0) + 1);
    this.#total.record(result.totalMs);
    for (const { stage, ms } of result.stages) {
      const histogram = this.#stages.get(stage) ?? new Histogram();
      this.#stages.set(stage, histogram);
      histogram.record(ms);
    }
  }

  #heard({ gates }: Pipeline): Pick<RunSummary, 'sound'> {
    if (this.#sound === undefined) return {};
    const { late } = this.#sound;
    const { audits: audited, misses: missed } = gates ?? { audits: 0, misses: 0 };
    return { sound: { events: Object.fromEntries([...this.#onsets].map(([label, onsets]) => [label, onsets.size])), late, audited, missed } };
  }

  summary(pipeline: Pipeline, dropped: number): RunSummary {
    return {
      type: 'summary', pipeline: pipeline.name, version: pipeline.version, frames: this.frames, dropped,
      exits: Object.fromEntries(this.#exits), findings: this.#findings, recognized: Object.fromEntries(this.#recognized),
      ...this.#heard(pipeline),
      memory_bytes: pipeline.memoryBytes, total: summarize(this.#total),
      stages: [...this.#stages].map(([stage, histogram]) => ({ stage, ...summarize(histogram) })),
    };
  }
}

function summarize(histogram: Histogram): Omit<StageSummary, 'stage'> {
  const data = histogram.toData();
  const at = (share: number): number => round(quantile(data, share) ?? 0);
  return { count: histogram.count, p50_ms: at(0.5), p99_ms: at(0.99), max_ms: round(data.max) };
}

function toLine({ sequence, exit, totalMs, findings, stages, sound }: PipelineResult): FrameLine {
  return {
    type: 'frame', sequence, exit, total_ms: round(totalMs), findings: findings.map(toLineFinding),
    stages_ms: Object.fromEntries(stages.map(({ stage, ms }) => [stage, round(ms)])),
    ...(sound === undefined ? {} : { level_db: round(sound.levelDb), ...(sound.problems.length === 0 ? {} : { problems: sound.problems }) }),
  };
}

function toLineFinding(finding: Finding): FrameLine['findings'][number] {
  const { type, label } = finding;
  const score = round(finding.score);
  if (type === 'class') return { type, label, score };
  if (type === 'sound') return { type, label, score, onset_ms: Math.round(finding.onsetMs), duration_ms: Math.round(finding.durationMs) };
  const { box, track, identity, liveness } = finding;
  return {
    type, box: box.map(tenth), score, label,
    ...(track === undefined ? {} : { track }),
    ...(type === 'track' ? { status: finding.status, age_ms: Math.round(finding.ageMs), velocity: finding.velocity.map(tenth) } : {}),
    ...(identity === undefined ? {} : { name: identity?.name ?? null }),
    ...(identity === undefined || identity === null ? {} : { similarity: round(identity.similarity) }),
    ...(liveness === undefined ? {} : { liveness: round(liveness.score), live: liveness.live }),
  };
}

const tenth = (value: number): number => Math.round(value * 10) / 10;

/** Microseconds are the last digit that means something. */
function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
