/** Decides whether a `desired` may be taken: both repositories must verify it, for this device, hardware and pipeline. Pure. */
import { createHash } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { TargetFile } from '@tufjs/models';
import { desiredText, SIGNED_FIELDS, statementSchema, type Desired, type DesiredPackage, type Signed, type Statement, type TargetCustom } from '../contracts/index.js';
import { AgentError } from '../errors.js';
import type { Decoded } from './metadata.js';
import { verifyRepository, type TrustedRepository, type VerifiedRepository } from './repository.js';
import { verifySettings, type SettingsRelease, type SettingsSituation } from './settings.js';
import { customOf, signedTarget } from './target.js';

/** The names that signatures must contain: those of this device. */
export interface Identity {
  fleet: string;
  device: string;
  hardwareId: string;
}

export interface TrustedPair {
  image: TrustedRepository;
  /** The director's repository, with the versions of this pipeline. */
  director: TrustedRepository;
}

export interface VerifiedDesired {
  trusted: TrustedPair;
  /** The release of the wanted package; null when no package is wanted. */
  release: { name: string; counter: number } | null;
  /** The release of the settings; null when the message has no other settings than the device, or none that need one. */
  settings: SettingsRelease | null;
}

/** Inputs of a verification that come from the device. */
export interface Situation {
  identity: Identity;
  pipeline: string;
  trusted: TrustedPair;
  /** Smallest release counter that may be installed, by the package's name. */
  floors: Readonly<Record<string, number>>;
  settings: SettingsSituation;
  nowMs: number;
}

/** @throws AgentError E_TRUST_*; nothing of the message may be used then, and nothing has changed */
export function verifyDesired(desired: Desired, { identity, pipeline, trusted, floors, settings, nowMs }: Situation): VerifiedDesired {
  const { signed } = desired;
  if (signed === undefined) throw new AgentError('E_TRUST_UNSIGNED', 'Expected a `desired` with signatures. Publish with --repository; an unsigned message changes nothing on this device');
  const director = verifyRepository('director', trusted.director, signed.director, nowMs);
  const statement = statementOf(director.targets);
  requireAddress(statement, { identity, pipeline });
  requireSame(statement, desired);
  const directed = directorTarget(director.targets, statement);
  if ((desired.package === null) !== (directed === null)) throw new AgentError('E_TRUST_ADDRESS', 'The message and the director disagree on whether a package is wanted');
  const { settings_target: settingsPath } = statement;
  const image = directed === null && settingsPath === null ? null : verifyImage(signed, trusted.image, Math.max(nowMs, director.trusted.versions.issued_ms));
  const named = settingsPath === null || image === null ? null : { path: settingsPath, fleet: identity.fleet, image };
  const settingsRelease = verifySettings(desired.settings, named, settings);
  const release = desired.package === null || directed === null || image === null ? null : verifyPackage(desired.package, { path: statement.target ?? '', directed, image }, { identity, floors });
  return { trusted: { image: image?.trusted ?? trusted.image, director: director.trusted }, release, settings: settingsRelease };
}

function verifyImage({ image }: Signed, trusted: TrustedRepository, nowMs: number): VerifiedRepository {
  if (image === null) throw new AgentError('E_TRUST_PARTIAL', 'The metadata of the image repository is missing');
  return verifyRepository('image', trusted, image, nowMs);
}

function verifyPackage(wanted: DesiredPackage, { path, directed, image }: { path: string; directed: TargetFile; image: VerifiedRepository }, { identity, floors }: Pick<Situation, 'identity' | 'floors'>): NonNullable<VerifiedDesired['release']> {
  const custom = agreed({ path, fleet: identity.fleet }, directed, image);
  requirePackage(wanted, directed, custom);
  requireHardware(custom, identity);
  const floor = Object.hasOwn(floors, custom.name) ? floors[custom.name] ?? 0 : 0;
  if (custom.release_counter < floor) {
    throw new AgentError('E_TRUST_RELEASE', `${custom.name} ${custom.version} has the release counter ${custom.release_counter}, but this device has run ${custom.name} with ${floor}: it does not go back`);
  }
  return { name: custom.name, counter: custom.release_counter };
}

function statementOf(targets: Decoded<'targets'>): Statement {
  const text = targets.signed.unrecognizedFields[SIGNED_FIELDS.statement];
  try {
    return statementSchema.parse(JSON.parse(typeof text === 'string' ? text : ''));
  } catch (cause) {
    throw new AgentError('E_TRUST_FORMAT', `The ${targets.label} metadata carries no usable statement`, { cause });
  }
}

function requireAddress(statement: Statement, { identity, pipeline }: { identity: Identity; pipeline: string }): void {
  const own = `${identity.fleet}/${identity.device}/${pipeline}`;
  const named = `${statement.fleet}/${statement.device}/${statement.pipeline}`;
  if (named !== own) throw new AgentError('E_TRUST_ADDRESS', `The director's statement is for ${named}, not for ${own}`);
}

/** Requires that the message is what the director signed, and not something else with the same signatures. */
function requireSame(statement: Statement, desired: Desired): void {
  const digest = createHash('sha256').update(desiredText(desired)).digest('hex');
  if (statement.generation !== desired.generation || statement.desired_sha256 !== digest) {
    throw new AgentError('E_TRUST_ADDRESS', `The director signed generation ${statement.generation} of another message than this one (generation ${desired.generation})`);
  }
}

/** Uptane lets the director name at most one package for one pipeline, and delegate to nobody. */
function directorTarget({ signed, label }: Decoded<'targets'>, { target }: Statement): TargetFile | null {
  const paths = Object.keys(signed.targets);
  if (signed.delegations !== undefined || paths.length > 1) throw new AgentError('E_TRUST_FORMAT', `The ${label} metadata delegates, or names ${paths.length} packages; expected one at most, without delegations`);
  if (target === null ? paths.length > 0 : paths[0] !== target) throw new AgentError('E_TRUST_ADDRESS', `The director's statement names ${target ?? 'no package'}, but its targets ${paths.join(', ') || 'none'}`);
  return target === null ? null : signed.targets[target] ?? null;
}

/** Requires that both repositories state the same about the package. */
function agreed({ path, fleet }: { path: string; fleet: string }, directed: TargetFile, image: VerifiedRepository): TargetCustom {
  const listed = signedTarget(path, fleet, image);
  const [theirs, ours] = [customOf(path, listed), customOf(path, directed)];
  const parts = { length: [listed.length, directed.length], hashes: [listed.hashes, directed.hashes], custom: [theirs, ours] };
  const different = Object.entries(parts).filter(([, [a, b]]) => !isDeepStrictEqual(a, b)).map(([name]) => name);
  if (different.length > 0) throw new AgentError('E_TRUST_DISAGREE', `Director and image repository disagree on ${different.join(' and ')} of ${path}`);
  return theirs;
}

function requirePackage(wanted: DesiredPackage, target: TargetFile, custom: TargetCustom): void {
  const same = wanted.digest === target.hashes['sha256'] && wanted.size_bytes === target.length && wanted.name === custom.name && wanted.version === custom.version;
  if (!isDeepStrictEqual(wanted.chunks, custom.chunks)) throw new AgentError('E_TRUST_ADDRESS', `The message names another list of chunks for ${custom.name} ${custom.version} than the signatures`);
  if (!same) throw new AgentError('E_TRUST_ADDRESS', `The message wants ${wanted.name} ${wanted.version} (${wanted.digest.slice(0, 8)}), but the signatures are for ${custom.name} ${custom.version} (${target.hashes['sha256']?.slice(0, 8) ?? 'no SHA-256'})`);
}

function requireHardware({ name, version, hardware_ids }: TargetCustom, { hardwareId }: Identity): void {
  if (!hardware_ids.includes(hardwareId)) throw new AgentError('E_TRUST_HARDWARE', `${name} ${version} is for ${hardware_ids.join(', ')}, and this device is ${hardwareId}`);
}
