/** Whole numbers of 32 bits that look random, the same ones on every machine: a linear congruence (Press et al., "Numerical Recipes", 7.1). */
export function noise(seed = 1): () => number {
  let state = seed;
  return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0);
}
