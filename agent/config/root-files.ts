import { join } from 'node:path';
import type { Config } from './schema.js';

/** Files of the pinned root metadata of both repositories: those that the configuration names, or else those in the state folder. */
export function rootFiles(stateDir: string, trust: Config['trust']): { image: string; director: string } {
  const inState = (name: string): string => join(stateDir, 'trust', `${name}-root.json`);
  return { image: trust.image_root ?? inState('image'), director: trust.director_root ?? inState('director') };
}
