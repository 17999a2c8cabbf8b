/** Names of the files that hold adapted thresholds: beside the package, `{package}.{overlay}.overlay`, both by SHA-256. */

export const overlayName = (digest: string, hash: string): string => `${digest}.${hash}.overlay`;

/** The digest of the package and of the overlay; null for any other file. */
export function overlayNamed(name: string): { digest: string; hash: string } | null {
  const [, digest, hash] = /^([0-9a-f]{64})\.([0-9a-f]{64})\.overlay$/.exec(name) ?? [];
  return digest === undefined || hash === undefined ? null : { digest, hash };
}
