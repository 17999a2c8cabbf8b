/** Decides whether the settings of a `desired` may be taken: a change needs a release that the image repository has signed. Pure. */
import { createHash } from 'node:crypto';
import { settingsText, type Settings } from '../contracts/index.js';
import { AgentError } from '../errors.js';
import type { VerifiedRepository } from './repository.js';
import { customOf, signedTarget } from './target.js';

/** Who must have signed a change of settings: the director and the image repository, or the director alone. */
export type SettingsRule = 'both' | 'director';

/** What the device knows about its settings. */
export interface SettingsSituation {
  rule: SettingsRule;
  inForce: Settings;
  /** Smallest release counter that may be taken, by the name of the settings. */
  floors: Readonly<Record<string, number>>;
}

export interface SettingsRelease {
  name: string;
  counter: number;
}

/** The release as the director names it; null: the director names none, or the device asks for no second signature. */
export interface NamedSettings {
  path: string;
  fleet: string;
  image: VerifiedRepository;
}

/**
 * @returns the release that the settings are; null when they are those that the device has, or were signed by the director alone
 * @throws AgentError E_TRUST_SETTINGS, E_TRUST_ADDRESS, E_TRUST_ARBITRARY, E_TRUST_DISAGREE, E_TRUST_FORMAT, E_TRUST_RELEASE
 */
export function verifySettings(settings: Settings, named: NamedSettings | null, { rule, inForce, floors }: SettingsSituation): SettingsRelease | null {
  const text = settingsText(settings);
  if (named === null) {
    if (rule === 'director' || text === settingsText(inForce)) return null;
    throw new AgentError('E_TRUST_SETTINGS', 'The message changes settings, and names no release of them that the image repository has signed. Sign them with sterna repository add FILE.json, and publish them with --settings');
  }
  const listed = signedTarget(named.path, named.fleet, named.image);
  const { kind, name, version, release_counter: counter } = customOf(named.path, listed);
  if (kind !== 'settings') throw new AgentError('E_TRUST_FORMAT', `The director names ${named.path} as settings, and it is none`);
  const bytes = Buffer.from(text);
  if (listed.length !== bytes.byteLength || listed.hashes['sha256'] !== createHash('sha256').update(bytes).digest('hex')) {
    throw new AgentError('E_TRUST_DISAGREE', `The settings of the message are not those that the image repository has signed as ${named.path}`);
  }
  const floor = Object.hasOwn(floors, name) ? floors[name] ?? 0 : 0;
  if (counter < floor) throw new AgentError('E_TRUST_RELEASE', `The settings ${name} ${version} have the release counter ${counter}, but this device has had ${name} with ${floor}: it does not go back. Add them again to get a new one`);
  return { name, counter };
}
