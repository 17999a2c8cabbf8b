/**
 * Who a track is: embeddings of its good sights are averaged, and a decision stands until there is reason to change it, so that a door does not
 * flap. Pure. (`agent/inference/presence.ts` turns decisions into events; identities change their minds here alone.)
 */
import { z } from 'zod';
import type { Identity } from '../../stages/finding.js';
import { positiveInteger } from '../../stages/contract.js';
import { cosineSimilarity, normalize } from '../../vision/embedding.js';

/** When a face is embedded again, and what a decision takes. */
export const recognitionSettings = z.object({
  /** The best person must be this much nearer (cosine) than the second. */
  margin: z.number().min(0).max(1),
  /** Whoever was recognized stays so down to this much below the threshold. */
  hysteresis: z.number().min(0).max(1),
  /** The first sights of a track that are embedded, whatever they look like. */
  new_samples: positiveInteger.max(100),
  /** A sight of this many times the best quality so far is embedded. */
  better_ratio: z.number().min(1).max(100),
  /** A track is embedded at least this often, and its people are looked up again. */
  due_ms: z.number().nonnegative().max(600_000),
  /** Below this cosine to the track's mean, an embedding is that of another face; the second one in a row begins the track's memory anew. */
  same_face_cosine: z.number().min(-1).max(1),
});

export const defaultRecognition: RecognitionSettings = { margin: 0.03, hysteresis: 0.05, new_samples: 3, better_ratio: 1.2, due_ms: 1000, same_face_cosine: 0.3 };

export type RecognitionSettings = z.output<typeof recognitionSettings>;

/** What is known of a track. */
export interface Memory {
  /** Sum of the embeddings, each times its quality. */
  sum: Float32Array;
  samples: number;
  bestQuality: number;
  /** Of the last embedding. */
  atMs: number;
  /** The last embedding was that of another face. */
  doubtful: boolean;
  /** Null: nobody of the gallery. */
  identity: Identity | null;
}

/** An embedding of unit length, and how good the sight was: above 0. */
export interface Sample {
  embedding: Float32Array;
  quality: number;
  nowMs: number;
}

/** Whether a sight that can at most be of this quality is worth an embedding. `found`: the track had been lost before it. */
export function isWorthIt(memory: Memory | undefined, { quality, nowMs, found }: { quality: number; nowMs: number; found: boolean }, settings: RecognitionSettings): boolean {
  if (memory === undefined || memory.doubtful || found || memory.samples < settings.new_samples) return true;
  return quality >= memory.bestQuality * settings.better_ratio || nowMs - memory.atMs >= settings.due_ms;
}

/** The memory with one more embedding; who it is, is decided afterwards. */
export function remember(memory: Memory | undefined, sample: Sample, { same_face_cosine }: RecognitionSettings): Memory {
  const { embedding, quality, nowMs } = sample;
  const fresh: Memory = { sum: embedding.map((value) => value * quality), samples: 1, bestQuality: quality, atMs: nowMs, doubtful: false, identity: null };
  if (memory === undefined) return fresh;
  if (cosineSimilarity(memory.sum, embedding) < same_face_cosine) return memory.doubtful ? fresh : { ...memory, atMs: nowMs, doubtful: true };
  return {
    ...memory, sum: memory.sum.map((value, i) => value + (embedding[i] ?? 0) * quality), samples: memory.samples + 1,
    bestQuality: Math.max(memory.bestQuality, quality), atMs: nowMs, doubtful: false,
  };
}

/** What is compared with the gallery; null when the embeddings cancel each other. */
export const meanOf = ({ sum }: Memory): Float32Array | null => normalize(sum);

/** @param ranked the nearest two people, best first @param before whom the track was taken for */
export function decide(before: Identity | null, ranked: readonly Identity[], threshold: number, { margin, hysteresis }: RecognitionSettings): Identity | null {
  const [best, second] = ranked;
  if (best === undefined) return null;
  const isClear = best.similarity >= threshold && (second === undefined || best.similarity - second.similarity >= margin);
  const same = before === null ? undefined : ranked.find(({ personId }) => personId === before.personId);
  if (same !== undefined && same.similarity >= threshold - hysteresis && (same === best || !isClear)) return same;
  return isClear ? best : null;
}
