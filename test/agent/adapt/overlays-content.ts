/** What the process that is killed writes, for itself and for the test that looks at it. */
export const packageDigest = 'a'.repeat(64);

/** The n-th overlay, large enough that writing it takes a while. */
export const contentOf = (n: number): Uint8Array => Buffer.from(JSON.stringify({ n, thresholds: Array.from({ length: 20_000 }, (_, i) => i + n) }));
