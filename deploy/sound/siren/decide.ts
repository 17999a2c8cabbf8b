/** How scores of the student become events: what its package states, and what it is measured with. */

/** Samples from one decision to the next: ten a second. */
export const decisionStep = 1600;

/** When a class begins, and how long it has to last before it is told. */
export interface Rule {
  on: number;
  minMs: number;
}

/** Shortest event of each class, milliseconds. */
export const shortest = { siren: 200, horn: 400 } as const;

/** As the package states it. */
export const decisionSettings = { smoothing_windows: 2, release_ms: 300, offShare: 0.85 } as const;
