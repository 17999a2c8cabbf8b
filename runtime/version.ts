/** Version of this runtime, as packages state it in `minimum_runtime`. A test keeps it equal to package.json. */
export const runtimeVersion = '0.1.0';

/** Compares two x.y.z versions: negative when a < b. */
export function compareVersions(a: string, b: string): number {
  const left = a.split('.').map(Number);
  const right = b.split('.').map(Number);
  for (let i = 0; i < 3; i++) {
    const difference = (left[i] ?? 0) - (right[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
