/** Finds what the director names in the image repository. Pure. */
import type { TargetFile } from '@tufjs/models';
import { ALL_FLEETS, targetCustomSchema, type TargetCustom } from '../contracts/index.js';
import { AgentError } from '../errors.js';
import type { VerifiedRepository } from './repository.js';

/** The target at this path, for a device of this fleet. @throws AgentError E_TRUST_ADDRESS, E_TRUST_ARBITRARY */
export function signedTarget(path: string, fleet: string, image: VerifiedRepository): TargetFile {
  const owner = path.slice(0, path.indexOf('/'));
  if (owner !== ALL_FLEETS && owner !== fleet) throw new AgentError('E_TRUST_ADDRESS', `${path} is for another fleet than ${fleet}`);
  const listed = image.target(path);
  if (listed === null) throw new AgentError('E_TRUST_ARBITRARY', `The director names ${path}, which no trusted role of the image repository has signed`);
  return listed;
}

/** @throws AgentError E_TRUST_FORMAT */
export function customOf(path: string, { custom }: TargetFile): TargetCustom {
  const parsed = targetCustomSchema.safeParse(custom);
  if (!parsed.success) throw new AgentError('E_TRUST_FORMAT', `The target ${path} does not state name, version, release_counter and hardware_ids`);
  return parsed.data;
}
