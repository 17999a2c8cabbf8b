/**
 * The deployment state machine, pure: (state, event) -> {state, effects}. The shell (`manager.ts`) writes the new state in one synchronous
 * transaction and only then starts the effects; each effect answers with an event. So power may fail at any time: the journal says what had been
 * decided, and the event `booted` starts that step again. Every effect is idempotent.
 *
 *   idle > checking > downloading > verifying > staged > warming > shadow > committed | rejected | rolled_back
 *
 * Some rules come from known failures of other update systems: a status report cannot change the state; a failed deployment never blocks the next
 * one; a rejected generation is not tried for ever; progress never goes backwards; the running package changes only by `committed` and `rolled_back`.
 */
import type { CodedError } from '../errors.js';
import { largestGeneration } from '../contracts/index.js';
import type { RunEnd } from '../platform/last-run.js';
import { isBusy, type BusyPhase, type BusyState, type Candidate, type OtaState, type RestPhase, type RestState } from './state.js';
import type { PackageId, Slot } from '../ground/package.js';

/** Answers of effects carry the generation that they belong to. Answers for a generation that was overtaken are ignored. */
export type OtaEvent =
  | { type: 'desired'; generation: number; package: Omit<Candidate, 'generation'> | null }
  /** A package from this device itself (`pipeline.package`), when nothing is active. It has no generation of its own. */
  | { type: 'install'; package: Omit<Candidate, 'generation'> }
  | { type: 'checked'; generation: number; present: boolean }
  | { type: 'downloaded'; generation: number }
  | { type: 'verified'; generation: number }
  | { type: 'warming'; generation: number }
  | { type: 'warmed'; generation: number }
  | { type: 'shadowed'; generation: number; now_ms: number }
  | { type: 'failed'; generation: number; error: CodedError }
  /** `opening`: the digest of the package that was being opened when the last run ended. */
  | { type: 'booted'; ended: RunEnd; opening: string | null; now_ms: number }
  /** `up_ms`: how long the active package has run since it was opened, by a clock that never jumps. */
  | { type: 'time'; up_ms: number }
  | { type: 'active_failed'; digest: string; error: CodedError; now_ms: number }
  | { type: 'rollback'; now_ms: number };

export type OtaEffect =
  | { type: 'check'; candidate: Candidate }
  | { type: 'download'; candidate: Candidate }
  | { type: 'verify'; candidate: Candidate }
  | { type: 'warm'; candidate: Candidate; delay_ms: number }
  | { type: 'shadow'; candidate: Candidate }
  /** The journal already names the candidate as the active package; put its warmed pipeline in place of the running one. */
  | { type: 'switch'; candidate: Candidate; previous: Slot | null }
  /** Open this slot and run it (at the start, and after a roll-back). Null means to run without a package. */
  | { type: 'activate'; slot: Slot | null }
  /** Stop the work on a candidate, and close its pipeline. */
  | { type: 'cancel'; generation: number }
  /** Delete files that belong to no slot. `keep_partial` names a partial download that is kept, because it may be continued. */
  | { type: 'collect'; keep: string[]; keep_partial: string | null }
  | { type: 'announce'; action: 'activated' | 'rejected' | 'rolled_back'; package: PackageId; previous: PackageId | null; error: CodedError | null };

export interface OtaLimits {
  max_tries: number;
  /** After this many crashes of the process that tests a candidate, the candidate is rejected. */
  max_warm_crashes: number;
  /** The wait after the second test that was cut off. It doubles with each further one, up to an hour. The first one is repeated at once. */
  retry_base_ms: number;
  max_crashes: number;
  probation_ms: number;
  /** After this many runs in a row that crash or hang within `healthy_ms`, the device goes back to another package. */
  max_failed_starts: number;
  healthy_ms: number;
  /** The package that runs when there is no other; null or absent means that there is none. */
  factory?: PackageId | null;
}

/** Longest wait between two tests of one candidate. Milliseconds. */
const RETRY_CAP_MS = 3_600_000;

export interface OtaStep {
  state: OtaState;
  effects: OtaEffect[];
}

/** Codes of troubles that may pass. After them the same generation may be begun again, a bounded number of times. */
const PASSING_CODES: ReadonlySet<string> = new Set([
  'E_OTA_STALL', 'E_OTA_SLOW', 'E_OTA_UNAVAILABLE', 'E_OTA_BLOCK', 'E_OTA_CHUNK', 'E_OTA_LIST', 'E_DISK_FULL', 'E_STATE', 'E_STATE_READ_ONLY', 'E_OTA_GATE_TIMEOUT',
  'E_OTA_SHADOW_SAMPLES', 'E_NATIVE_MISSING', 'E_ENGINE_MISSING', 'E_OUT_OF_MEMORY',
]);
/** Code of the error that the daemon itself can no longer use the file of a slot. */
const UNUSABLE: string = 'E_ACTIVE_UNUSABLE';

const stay = (state: OtaState): OtaStep => ({ state, effects: [] });

/** Makes the next state. It never throws; an event that makes no sense in this state changes nothing. */
export function stepOta(state: OtaState, event: OtaEvent, limits: OtaLimits): OtaStep {
  switch (event.type) {
    case 'desired': return onDesired(state, event, limits);
    case 'install':
      if (state.active !== null || isBusy(state)) return stay(state);
      return begin({ ...state, tries: 0 }, { ...event.package, generation: state.generation_seen ?? 0 }, []);
    case 'booted': return onBooted(state, event, limits);
    case 'time': return onTime(state, event.up_ms, limits);
    case 'active_failed': return onActiveFailed(state, event, limits);
    case 'rollback': return onRollback(state, event.now_ms, limits);
    default: return onAnswer(state, event, limits);
  }
}

function onDesired(state: OtaState, event: Extract<OtaEvent, { type: 'desired' }>, limits: OtaLimits): OtaStep {
  const seen = state.generation_seen;
  if (seen !== null && event.generation < seen) return stay(state);
  if (event.generation > largestGeneration(seen)) return stay(state);
  if (seen === event.generation) return onRepeated(state, event.package, limits);
  const next: OtaState = { ...state, generation_seen: event.generation };
  if (event.package === null) return withdraw(next, event.generation);
  const candidate: Candidate = { ...event.package, generation: event.generation };
  if (isBusy(state) && state.candidate.digest === candidate.digest && state.candidate.size_bytes === candidate.size_bytes) {
    return adopt(next, candidate, state.candidate.generation);
  }
  const effects = abandon(state);
  if (state.active?.digest === candidate.digest) {
    const confirmed = { ...settled(next, 'committed'), candidate, generation_applied: event.generation, keep_all: false };
    return { state: confirmed, effects: [...effects, ...collectFor(confirmed, null)] };
  }
  return begin({ ...next, tries: 0 }, candidate, effects);
}

/** Handles a `desired` that wants no package: an installation under way ends, and the running package stays. */
function withdraw(state: OtaState, generation: number): OtaStep {
  const effects = abandon(state);
  return { state: { ...settled(state, 'idle'), candidate: null, generation_applied: generation }, effects: [...effects, ...collectFor(state, null)] };
}

/**
 * A new generation wants the package that is being installed already. The installation goes on for the new generation; its present step is begun
 * again, because its answer would carry the old number.
 */
function adopt(state: OtaState, candidate: Candidate, old: number): OtaStep {
  return begin(state, candidate, [{ type: 'cancel', generation: old }]);
}

/** The effects that end an installation under way. */
function abandon(state: OtaState): OtaEffect[] {
  return isBusy(state) ? [{ type: 'cancel', generation: state.candidate.generation }] : [];
}

function begin(state: OtaState, candidate: Candidate, before: OtaEffect[]): OtaStep {
  const next: BusyState = { ...state, phase: 'checking', candidate, error: null, warm_crashes: 0, interruptions: 0 };
  return { state: next, effects: [...before, { type: 'check', candidate }] };
}

/**
 * Handles the last `desired` once more, as the broker sends it at every connection. A deployment that failed for a reason which may pass is begun
 * again, and a device whose packages were damaged fetches the wanted one again. Both happen a bounded number of times.
 */
function onRepeated(state: OtaState, wanted: Omit<Candidate, 'generation'> | null, limits: OtaLimits): OtaStep {
  const { error, generation_seen: generation } = state;
  if (isBusy(state) || generation === null || state.tries + 1 >= limits.max_tries) return stay(state);
  const again = { ...state, tries: state.tries + 1 };
  if (state.phase === 'rejected') {
    const { candidate } = state;
    if (candidate.generation !== generation || !PASSING_CODES.has(state.error.code)) return stay(state);
    return begin(again, candidate, []);
  }
  const lost = state.phase === 'rolled_back' ? error?.code === UNUSABLE : state.active === null;
  if (!lost || wanted === null || state.active?.digest === wanted.digest) return stay(state);
  return begin(again, { ...wanted, generation }, []);
}

type Answer = Extract<OtaEvent, { type: 'checked' | 'downloaded' | 'verified' | 'warming' | 'warmed' | 'shadowed' | 'failed' }>;

function onAnswer(state: OtaState, event: Answer, limits: OtaLimits): OtaStep {
  if (!isBusy(state) || event.generation !== state.candidate.generation) return stay(state);
  const { candidate } = state;
  switch (event.type) {
    case 'failed': return onFailed(state, event.error, limits);
    case 'checked':
      if (state.phase !== 'checking') return stay(state);
      return event.present ? go(state, 'verifying', { type: 'verify', candidate }) : go(state, 'downloading', { type: 'download', candidate });
    case 'downloaded': return state.phase === 'downloading' ? go(state, 'verifying', { type: 'verify', candidate }) : stay(state);
    case 'verified': return state.phase === 'verifying' ? go(state, 'staged', { type: 'warm', candidate, delay_ms: 0 }) : stay(state);
    case 'warming': return beginWarming(state);
    case 'warmed': return state.phase === 'warming' ? go(state, 'shadow', { type: 'shadow', candidate }) : stay(state);
    case 'shadowed': return state.phase === 'shadow' ? commit(state, event.now_ms) : stay(state);
  }
}

function go(state: BusyState, phase: BusyPhase, effect: OtaEffect): OtaStep {
  return { state: { ...state, phase }, effects: [effect] };
}

/**
 * The step from `staged` to `warming` is a transition of its own, and is journalled before the package is tested, so that the next start knows that a
 * test was cut off. A warmed pipeline exists in memory only, so a start that finds `warming` or `shadow` comes through here again.
 */
function beginWarming(state: BusyState): OtaStep {
  if (state.phase !== 'staged' && state.phase !== 'warming' && state.phase !== 'shadow') return stay(state);
  return state.phase === 'warming' ? stay(state) : stay({ ...state, phase: 'warming' });
}

function onFailed(state: BusyState, error: CodedError, limits: OtaLimits): OtaStep {
  if (error.code === 'E_OTA_GATE_CRASH') return warmAgain({ ...state, warm_crashes: state.warm_crashes + 1 }, error, limits);
  if (error.code === 'E_OTA_GATE_KILLED') return warmAgain({ ...state, interruptions: state.interruptions + 1 }, error, limits);
  return reject(state, error);
}

/**
 * Repeats a test that was cut off, with a longer delay each time. In the meantime the phase is `staged`, in which no test runs. Only crashes lead to
 * a rejection: however often something outside cuts the test off, the package may be good, and the running package goes on in any case.
 */
function warmAgain(state: BusyState, error: CodedError, limits: OtaLimits): OtaStep {
  if (state.warm_crashes >= limits.max_warm_crashes) return reject(state, error);
  return go({ ...state, error }, 'staged', { type: 'warm', candidate: state.candidate, delay_ms: retryDelay(state.warm_crashes + state.interruptions, limits) });
}

function retryDelay(attempts: number, { retry_base_ms: base }: OtaLimits): number {
  return attempts <= 1 ? 0 : Math.min(RETRY_CAP_MS, base * 2 ** (attempts - 2));
}

function commit(state: BusyState, nowMs: number): OtaStep {
  const { candidate } = state;
  const active = slotOf(candidate, nowMs);
  const previous = state.active;
  const next: OtaState = {
    ...settled(state, 'committed'),
    active,
    previous: previous?.digest === active.digest ? state.previous : previous,
    generation_applied: candidate.generation,
    probation: { digest: active.digest, crashes: 0 },
    failed_starts: 0,
    // When the package that was wanted runs, the slots are known again. One that was only found in the store says nothing about the others.
    keep_all: state.keep_all && (state.generation_seen === null || state.generation_seen === state.generation_applied),
  };
  return {
    state: next,
    effects: [
      { type: 'switch', candidate, previous },
      { type: 'announce', action: 'activated', package: idOf(active), previous: previous === null ? null : idOf(previous), error: null },
      ...collectFor(next, null),
    ],
  };
}

function reject(state: BusyState, error: CodedError): OtaStep {
  const { candidate } = state;
  const next: OtaState = { ...settled(state, 'idle'), phase: 'rejected', candidate, error };
  const keepPartial = PASSING_CODES.has(error.code) ? candidate.digest : null;
  return {
    state: next,
    effects: [
      { type: 'cancel', generation: candidate.generation },
      { type: 'announce', action: 'rejected', package: idOf(candidate), previous: state.active === null ? null : idOf(state.active), error },
      ...collectFor(next, keepPartial),
    ],
  };
}

/** The same state, with no deployment under way. */
function settled(state: OtaState, phase: RestPhase): RestState {
  return { ...state, phase, error: null, warm_crashes: 0, interruptions: 0 };
}

/**
 * A power cut or a kill from outside says nothing about the packages. A crash counts against the package that was at work: the candidate while the
 * daemon opened it, else the active one. A hang always counts against the active one, because no candidate processes frames in the daemon.
 */
function onBooted(before: OtaState, event: Extract<OtaEvent, { type: 'booted' }>, limits: OtaLimits): OtaStep {
  const { probation, active } = before;
  const testing = before.phase === 'warming' || before.phase === 'shadow' ? before : null;
  const ofCandidate = testing !== null && event.opening === testing.candidate.digest;
  const ofActive = event.ended === 'hang' || (event.ended === 'crash' && !ofCandidate);
  const state = countStart(before, ofActive, event.ended === 'clean');
  if (ofActive && active !== null) {
    const inProbation = probation !== null && active.digest === probation.digest;
    const crashes = inProbation ? probation.crashes + 1 : 0;
    const error = failureOfStarts({ active, crashes, starts: state.failed_starts }, limits);
    // Without another package to run, the present one is kept, because it is still better than none. Within its probation it is given up all the
    // same, because it has not proved itself yet.
    if (error !== null && (inProbation || before.previous !== null || factoryBeside(active, limits) !== null)) {
      const back = rollBack(state, error, event.now_ms, limits);
      return { state: back.state, effects: [...back.effects, ...resume(back.state).effects] };
    }
    const counted = inProbation ? { ...state, probation: { ...probation, crashes } } : state;
    return withActive(resume(counted), event.now_ms, limits);
  }
  if (testing === null || event.ended === 'clean' || !isBusy(state)) return withActive(resume(state), event.now_ms, limits);
  return withActive(afterCutTest(state, event.ended === 'crash' && ofCandidate, limits), event.now_ms, limits);
}

/** Counts failed starts in a row. A kill from outside or a power cut neither adds to the count nor ends it. */
function countStart(state: OtaState, failed: boolean, clean: boolean): OtaState {
  const failedStarts = failed && state.active !== null ? state.failed_starts + 1 : clean ? 0 : state.failed_starts;
  return failedStarts === state.failed_starts ? state : { ...state, failed_starts: failedStarts };
}

function failureOfStarts({ active, crashes, starts }: { active: Slot; crashes: number; starts: number }, limits: OtaLimits): CodedError | null {
  const name = `${active.name} ${active.version}`;
  if (crashes >= limits.max_crashes) return { code: 'E_OTA_PROBATION', message: `The daemon crashed or hung ${crashes} times within the probation of ${name}` };
  if (starts >= limits.max_failed_starts) return { code: 'E_OTA_STARTS', message: `The daemon crashed or hung at ${starts} starts in a row, before ${name} had run for ${limits.healthy_ms} ms` };
  return null;
}

/** The factory package; null when there is none, or when it is the one that failed. */
function factoryBeside(failed: PackageId, { factory }: OtaLimits): PackageId | null {
  return factory === undefined || factory === null || factory.digest === failed.digest ? null : factory;
}

/** Handles the end of the daemon in the middle of a test. */
function afterCutTest(state: BusyState, crashed: boolean, limits: OtaLimits): OtaStep {
  const name = `${state.candidate.name} ${state.candidate.version}`;
  if (crashed) {
    const error = { code: 'E_OTA_GATE_CRASH', message: `The daemon crashed ${state.warm_crashes + 1} times while it opened ${name}` };
    return warmAgain({ ...state, warm_crashes: state.warm_crashes + 1 }, error, limits);
  }
  const error = { code: 'E_OTA_GATE_KILLED', message: `The test of ${name} was cut off from outside ${state.interruptions + 1} times` };
  return warmAgain({ ...state, interruptions: state.interruptions + 1 }, error, limits);
}

/** Makes a device that has no package, or has lost all of them, run the factory package. */
function withActive({ state, effects }: OtaStep, nowMs: number, { factory }: OtaLimits): OtaStep {
  if (state.active !== null || factory === undefined || factory === null) return { state, effects: [{ type: 'activate', slot: state.active }, ...effects] };
  const active: Slot = { ...idOf(factory), since_ms: nowMs };
  return {
    state: { ...state, active },
    effects: [{ type: 'activate', slot: active }, { type: 'announce', action: 'activated', package: idOf(factory), previous: null, error: null }, ...effects],
  };
}

/** Begins the journalled step again. */
function resume(state: OtaState): OtaStep {
  if (!isBusy(state)) return { state, effects: collectFor(state, null) };
  const { candidate } = state;
  switch (state.phase) {
    case 'checking': return { state, effects: [{ type: 'check', candidate }] };
    case 'downloading': return { state, effects: [{ type: 'download', candidate }] };
    case 'verifying': return { state, effects: [{ type: 'verify', candidate }] };
    default: return { state, effects: [{ type: 'warm', candidate, delay_ms: 0 }] };
  }
}

/** A package that has run well for the time of its probation has passed it. Earlier failed starts and tries are then forgotten. */
function onTime(before: OtaState, upMs: number, limits: OtaLimits): OtaStep {
  const state = before.failed_starts > 0 && upMs >= limits.healthy_ms ? { ...before, failed_starts: 0 } : before;
  return state.probation === null || upMs < limits.probation_ms ? stay(state) : stay({ ...state, probation: null, tries: 0 });
}

/** The running package cannot be opened, or keeps failing. The device goes back at once, also outside of a probation. */
function onActiveFailed(state: OtaState, event: Extract<OtaEvent, { type: 'active_failed' }>, limits: OtaLimits): OtaStep {
  if (state.active?.digest !== event.digest) return stay(state);
  return rollBack(state, event.error, event.now_ms, limits);
}

function onRollback(state: OtaState, nowMs: number, limits: OtaLimits): OtaStep {
  if (!canGoBack(state, limits)) return stay(state);
  const back = rollBack({ ...state, phase: 'idle' }, { code: 'E_OTA_ROLLBACK', message: 'Rolled back on request' }, nowMs, limits);
  return { state: back.state, effects: [...abandon(state), ...back.effects] };
}

/** Whether there is another package than the active one. */
export function canGoBack({ active, previous }: OtaState, limits: OtaLimits): boolean {
  return active !== null && (previous !== null || factoryBeside(active, limits) !== null);
}

/**
 * Goes back to the previous package, else to the factory package, else to none. An installation under way goes on, because it may repair the device.
 * The package that is left loses its slot, so that a later failure cannot lead back to it.
 */
function rollBack(state: OtaState, error: CodedError, nowMs: number, limits: OtaLimits): OtaStep {
  const failed = state.active;
  if (failed === null) return stay(state);
  const target = state.previous ?? factoryBeside(failed, limits);
  const back = target === null ? null : { ...idOf(target), since_ms: nowMs };
  const left = { generation_applied: null, active: back, previous: null, probation: null, failed_starts: 0 };
  const next: OtaState = isBusy(state) ? { ...state, ...left }
    : { ...state, ...left, phase: 'rolled_back', error, candidate: state.candidate?.digest === failed.digest ? state.candidate : null };
  return {
    state: next,
    effects: [
      { type: 'activate', slot: back },
      { type: 'announce', action: 'rolled_back', package: idOf(failed), previous: back === null ? null : idOf(back), error },
      ...(isBusy(state) ? [] : collectFor(next, null)),
    ],
  };
}

function collectFor(state: OtaState, keepPartial: string | null): OtaEffect[] {
  if (state.keep_all) return [];
  const keep = [state.active, state.previous, isBusy(state) ? state.candidate : null].flatMap((p) => (p === null ? [] : [p.digest]));
  return [{ type: 'collect', keep: [...new Set(keep)], keep_partial: keepPartial }];
}

function idOf(p: PackageId): PackageId {
  return { name: p.name, version: p.version, digest: p.digest, size_bytes: p.size_bytes };
}

function slotOf(candidate: Candidate, nowMs: number): Slot {
  return { ...idOf(candidate), since_ms: nowMs };
}
