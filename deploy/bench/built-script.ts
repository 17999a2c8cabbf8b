import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** A compiled file of this project that a bench starts as a process. @param path from the folder of the build; where sources run (tests), that is `dist` */
export function builtScript(path: string): string {
  const built = fileURLToPath(new URL(`../../${path}`, import.meta.url));
  return existsSync(built) ? built : fileURLToPath(new URL(`../../dist/${path}`, import.meta.url));
}
