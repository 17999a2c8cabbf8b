/** Every fifth item judges; the others are tuned on. */
export function divided<T>(all: readonly T[]): { tuned: T[]; judged: T[] } {
  return { tuned: all.filter((_, i) => i % 5 !== 4), judged: all.filter((_, i) => i % 5 === 4) };
}
