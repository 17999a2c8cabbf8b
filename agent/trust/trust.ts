/**
 * What this device trusts: two pinned roots, and what was verified since. Every message that would change the device is checked here first. Nothing
 * of a message is remembered unless all of it was verified; then everything is remembered in one transaction.
 */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { largestGeneration, type Command, type Desired, type Settings } from '../contracts/index.js';
import { AgentError, toCodedError, type CodedError } from '../errors.js';
import { isBusy, type OtaState } from '../ota/state.js';
import type { TrustJournal } from '../ota/trust-journal.js';
import type { Clock } from '../platform/clock.js';
import { verifyCommand } from './command.js';
import { verifyDesired, type Identity, type TrustedPair } from './desired.js';
import type { Decoded, RepositoryName } from './metadata.js';
import { floorsWith, latestSignedMs, pipelineTrust, settleReleases, trustRecordSchema, withPipeline, withSettings, type PipelineTrust, type TrustRecord } from './record.js';
import { decodePinnedRoot, decodeRoot } from './repository.js';
import type { SettingsRule } from './settings.js';
import { TrustedTime } from './time.js';

export interface TrustOptions {
  identity: Identity;
  /** Files of the pinned roots. */
  roots: Readonly<Record<RepositoryName, string>>;
  /** The unsigned mode for development, in which signatures are neither needed nor read. */
  unsigned: boolean;
  /** Who must have signed a change of settings. */
  settingsRule: SettingsRule;
}

export interface TrustParts {
  journal: Pick<TrustJournal, 'load' | 'save' | 'spend'>;
  clock: Clock;
  /** Called for trouble that lasts: no roots, the unsigned mode, a record that cannot be read. */
  onFault: (error: CodedError, severity: 'warning' | 'error') => void;
  /** Called when the record was saved, so a fault that says that it could not be is over. */
  onSaved?: () => void;
}

/** What `reported` says of trust. */
export interface TrustReport {
  mode: 'signed' | 'unsigned' | 'unprovisioned';
  image_root: number | null;
  director_root: number | null;
}

/** The record, and its roots in decoded form. */
interface Trusted {
  record: TrustRecord;
  image: Decoded<'root'>;
  director: Decoded<'root'>;
}

export class Trust {
  readonly #options: TrustOptions;
  readonly #parts: TrustParts;
  readonly #time: TrustedTime;
  /** The roots and the record; null when there are no usable roots. */
  #trusted: Trusted | null = null;

  private constructor(options: TrustOptions, parts: TrustParts) {
    this.#options = options;
    this.#parts = parts;
    this.#time = new TrustedTime(parts.clock);
  }

  /** Never throws: a device without usable roots runs the package that it has, and takes nothing new. */
  static open(options: TrustOptions, parts: TrustParts): Trust {
    const trust = new Trust(options, parts);
    if (options.unsigned) {
      parts.onFault({ code: 'E_TRUST_OFF', message: 'trust.unsigned is set: whoever may publish to this device decides what it runs. Use it for development only' }, 'warning');
      return trust;
    }
    try {
      trust.#load();
    } catch (error) {
      parts.onFault({ code: 'E_TRUST_ROOT', message: `No update can be verified: ${toCodedError(error).message}. Write both roots with sterna provision, or set trust.unsigned for development` }, 'error');
    }
    return trust;
  }

  report(): TrustReport {
    if (this.#options.unsigned) return { mode: 'unsigned', image_root: null, director_root: null };
    if (this.#trusted === null) return { mode: 'unprovisioned', image_root: null, director_root: null };
    const { image, director } = this.#trusted;
    return { mode: 'signed', image_root: image.signed.version, director_root: director.signed.version };
  }

  /**
   * Verifies a `desired` and remembers what was verified.
   * @param inForce the settings that the pipeline has
   * @returns whether it may be passed on; false for a repetition that changes nothing
   * @throws AgentError E_TRUST_*, E_OTA_GENERATION, and E_DISK_FULL or E_STATE when what was verified cannot be saved
   */
  accept(pipeline: string, desired: Desired, deployed: OtaState, inForce: Settings = {}): boolean {
    if (this.#options.unsigned) return true;
    const { record } = this.#required();
    const before = pipelineTrust(record, pipeline);
    const sha256 = createHash('sha256').update(JSON.stringify(desired)).digest('hex');
    if (before.accepted?.sha256 === sha256 && isSettled(desired, deployed)) return false;
    // A generation out of bounds must not be remembered, whoever signed it, because every later update would then be older than it.
    const largest = largestGeneration(deployed.generation_seen);
    if (desired.generation > largest) throw new AgentError('E_OTA_GENERATION', `Expected a generation of at most ${largest} but received ${desired.generation}; the message was ignored. Publish again with generation ${(deployed.generation_seen ?? 0) + 1} or the time in milliseconds`);
    const trusted: TrustedPair = { image: { root: record.image.root, versions: before.image }, director: { root: record.director.root, versions: before.director } };
    const verified = verifyDesired(desired, {
      identity: this.#options.identity, pipeline, trusted, floors: floorsWith(before, deployed.active?.digest ?? null), nowMs: this.#time.now(),
      settings: { rule: this.#options.settingsRule, inForce, floors: before.settings_floors },
    });
    const releases = verified.release === null || desired.package === null ? before.releases : { ...before.releases, [desired.package.digest]: verified.release };
    const { image, director } = verified.trusted;
    const next: PipelineTrust = { ...before, image: image.versions, director: director.versions, accepted: { generation: desired.generation, sha256 }, releases, settings_floors: withSettings(before, verified.settings) };
    this.#save(withPipeline({ ...record, image: { ...record.image, root: image.root }, director: { ...record.director, root: director.root } }, pipeline, next));
    return true;
  }

  /**
   * Verifies a command and notes its id, so that it cannot be carried out again later.
   * @returns false when it was noted before: its answer may be sent again, but it must not be carried out again
   * @throws AgentError E_TRUST_UNSIGNED, E_TRUST_COMMAND*, E_TRUST_ROOT, E_COMMAND
   */
  acceptCommand(name: string, command: Command): boolean {
    if (this.#options.unsigned) return true;
    const { director: root } = this.#required();
    const nowMs = this.#time.now();
    const { expires_ms: expiresMs, id } = verifyCommand(name, command, { root, identity: this.#options.identity, nowMs });
    const digest = createHash('sha256').update(command.signed ?? '').digest('hex');
    const spent = this.#parts.journal.spend(id, digest, { expiresMs, nowMs });
    if (spent === 'other') {
      throw new AgentError('E_TRUST_COMMAND_REPLAYED', `The id ${id} was used for another command before; every command needs an id of its own`);
    }
    return spent === 'new';
  }

  /** Called when a deployment has changed. A package that passed its probation raises the smallest counter of its name. */
  settle(pipeline: string, { active, previous, candidate, probation }: OtaState): void {
    if (this.#trusted === null) return;
    const { record } = this.#trusted;
    const before = pipelineTrust(record, pipeline);
    const kept = [active, previous, candidate].flatMap((found) => (found === null ? [] : [found.digest]));
    const next = settleReleases(before, { proven: probation === null ? active?.digest ?? null : null, kept });
    if (next === before) return;
    try {
      this.#save(withPipeline(record, pipeline, next));
    } catch (error) {
      this.#parts.onFault(toCodedError(error), 'error'); // It is tried again at the next change.
    }
  }

  get clockIsBehind(): boolean {
    return this.#time.clockIsBehind;
  }

  #required(): Trusted {
    if (this.#trusted === null) throw new AgentError('E_TRUST_ROOT', 'This device has no pinned roots, so it can verify nothing. Write them with sterna provision');
    return this.#trusted;
  }

  #save(record: TrustRecord): void {
    this.#parts.journal.save(record);
    this.#parts.onSaved?.();
    this.#take(record);
  }

  #take(record: TrustRecord): void {
    this.#trusted = { record, image: decodeRoot('image', record.image.root), director: decodeRoot('director', record.director.root) };
    this.#time.raise(latestSignedMs(record));
  }

  #load(): void {
    const pinned = { image: this.#pinned('image'), director: this.#pinned('director') };
    const record = this.#stored();
    const fits = (name: RepositoryName): boolean => record?.[name].pinned_sha256 === pinned[name].pinned_sha256;
    this.#take({
      version: 1,
      image: record !== null && fits('image') ? record.image : pinned.image,
      director: record !== null && fits('director') ? record.director : pinned.director,
      pipelines: record === null ? {} : fits('image') && fits('director') ? record.pipelines : withoutVersions(record.pipelines),
    });
    for (const name of ['image', 'director'] as const) this.#time.raise(decodeRoot(name, pinned[name].root).issuedMs ?? 0);
  }

  /** The saved record; null when none was saved, or (with a fault) when it cannot be read. */
  #stored(): TrustRecord | null {
    const stored = this.#parts.journal.load();
    if (stored === null) return null;
    try {
      const record = trustRecordSchema.parse(stored);
      for (const name of ['image', 'director'] as const) decodeRoot(name, record[name].root);
      return record;
    } catch {
      this.#parts.onFault({ code: 'E_STATE_CORRUPT', message: 'The record of verified metadata cannot be read; the device begins again with its pinned roots' }, 'error');
      return null;
    }
  }

  /** @throws AgentError E_TRUST_ROOT */
  #pinned(name: RepositoryName): { pinned_sha256: string; root: string } {
    const path = this.#options.roots[name];
    try {
      const root = readFileSync(path, 'utf8');
      decodePinnedRoot(name, root);
      return { pinned_sha256: createHash('sha256').update(root).digest('hex'), root };
    } catch (cause) {
      throw new AgentError('E_TRUST_ROOT', `the pinned ${name} root ${path} cannot be used (${cause instanceof Error ? cause.message : String(cause)})`, { cause });
    }
  }
}

/** After the roots have changed, versions that were verified under the old roots no longer count; the release counters still do. */
function withoutVersions(pipelines: TrustRecord['pipelines']): TrustRecord['pipelines'] {
  return Object.fromEntries(Object.entries(pipelines).map(([name, trust]) => [name, { ...trust, image: null, director: null, accepted: null }]));
}

/**
 * The broker repeats the last message at each connection. If the message was verified, and its deployment is under way or done, it is not verified
 * again: its metadata may have expired since, and an installation that was begun is finished in any case.
 */
function isSettled({ generation }: Desired, deployed: OtaState): boolean {
  return deployed.generation_seen === generation && (isBusy(deployed) || deployed.generation_applied === generation);
}
