/**
 * The state machine of a roll-out, pure: (state, event) -> (state, action). Of a device only its own row takes part in a step, so that a step costs the same
 * with ten devices and ten thousand. The shell (`runner.ts`) stores state and row in one transaction and only then begins the action; every action can be
 * repeated, and `WORKING` lists the phases in which one is due. So the process may be killed anywhere.
 *
 * A wave opens, its devices start at their times, and it passes when enough of them have succeeded; after the soak the next one opens. Failures halt it.
 */
import { brokenRule, haltOf, wavePasses } from './rules.js';
import { devicesText, nameOfWave, type RolloutSpec } from './spec.js';
import {
  countOfPhases, isFinished, MAX_FAILURES, OPEN, TOUCHED, type CodedFailure, type DevicePhase, type Halt, type RolloutDevice, type RolloutState, type WaveState,
} from './state.js';

export type DeviceOutcome = 'committed' | 'proven' | 'rejected' | 'rolled_back' | 'superseded';

type DeviceEvent =
  /** Its time to start may have come. `generation`: with which it will be told; null: it is not known yet. */
  | { type: 'due'; before: RolloutDevice['before']; generation: number | null }
  /** It was told. */
  | { type: 'asked'; generation: number }
  /** It could not be told. `final`: nor can any other device. */
  | { type: 'not_asked'; error: CodedFailure; final: boolean }
  /** What it reports. */
  | { type: 'ended'; outcome: DeviceOutcome; error: CodedFailure | null }
  /** Its time is over. */
  | { type: 'late'; online: boolean }
  /** The roll-out is being aborted, and this device is next. `generation`: with which it will be told; null: somebody else told it to run another package, which holds. */
  | { type: 'withdraw'; generation: number | null }
  /** It was told that nothing is wanted. */
  | { type: 'withdrawn' }
  /** It has seen that, and runs something else. */
  | { type: 'returned' }
  /** It cannot be made to return. */
  | { type: 'kept'; error: CodedFailure };

export type RolloutEvent = { now_ms: number } & (
  | { type: 'tick' }
  | { type: 'pause' | 'resume' | 'abort'; by: string }
  | (DeviceEvent & { device: RolloutDevice })
);

/** `ask`: tell it to run the package. `withdraw`: tell it that nothing is wanted. `return`: make it run its previous package. */
export interface RolloutAction {
  type: 'ask' | 'withdraw' | 'return';
  device: RolloutDevice;
}

export interface RolloutNote {
  kind: 'opened' | 'passed' | 'halted' | 'paused' | 'resumed' | 'aborting' | 'aborted' | 'complete';
  wave: number | null;
  by: string | null;
  text: string;
}

export interface RolloutStep {
  state: RolloutState;
  /** The row of the event's device, when it changed. */
  device: RolloutDevice | null;
  action: RolloutAction | null;
  notes: RolloutNote[];
}

const stay = (state: RolloutState): RolloutStep => ({ state, device: null, action: null, notes: [] });
const note = (kind: RolloutNote['kind'], text: string, { wave = null, by = null }: { wave?: number | null; by?: string | null } = {}): RolloutNote => ({ kind, wave, by, text });

/** Never throws; an event that makes no sense in this state changes nothing. */
export function stepRollout(spec: RolloutSpec, state: RolloutState, event: RolloutEvent): RolloutStep {
  if (isFinished(state)) return stay(state);
  switch (event.type) {
    case 'tick': return onTick(spec, state, event.now_ms);
    case 'pause': return state.phase === 'running' ? { ...stay({ ...state, phase: 'paused', stopped_ms: event.now_ms }), notes: [note('paused', `Paused by ${event.by}`, event)] } : stay(state);
    case 'resume': return onResume(state, event);
    case 'abort': return onAbort(state, event.now_ms, event.by);
    default: return onDevice(spec, state, event);
  }
}

function onTick(spec: RolloutSpec, state: RolloutState, now: number): RolloutStep {
  if (state.phase === 'aborting') return finishAbort(state);
  if (state.phase !== 'running') return stay(state);
  const opened = openCurrent(spec, state, now);
  const judged = judge(spec, opened.state, now);
  if (judged.state.phase !== 'running') return { ...judged, notes: [...opened.notes, ...judged.notes] };
  const advanced = advance(spec, opened.state, now);
  return { ...advanced, notes: [...opened.notes, ...advanced.notes] };
}

function openCurrent(spec: RolloutSpec, state: RolloutState, now: number): RolloutStep {
  const wave = state.waves[state.wave];
  if (wave === undefined || wave.opened_ms !== null) return stay(state);
  const text = `Wave ${state.wave + 1} of ${state.waves.length} (${nameOfWave(spec, state.wave)}) opened: ${devicesText(wave.size)}`;
  return { ...stay(withWave(state, state.wave, { ...wave, opened_ms: now })), notes: [note('opened', text, state)] };
}

/** Passes the newest wave when it may, and goes on to the next one after the soak. The end comes when every device has a result. */
function advance(spec: RolloutSpec, state: RolloutState, now: number): RolloutStep {
  const wave = state.waves[state.wave];
  if (wave === undefined) return stay(state);
  if (!wavePasses(spec, wave)) return stay(wave.passed_ms === null ? state : withWave(state, state.wave, { ...wave, passed_ms: null }));
  const passed = wave.passed_ms ?? now;
  const notes = wave.passed_ms === null ? [note('passed', `Wave ${state.wave + 1} passed: ${wave.counts.succeeded} of ${wave.size} succeeded`, state)] : [];
  const next = withWave(state, state.wave, { ...wave, passed_ms: passed });
  if (state.wave === state.waves.length - 1) {
    if (next.waves.some((each) => countOfPhases(each, OPEN) > 0)) return { ...stay(next), notes };
    return { ...stay({ ...next, phase: 'complete' }), notes: [...notes, note('complete', 'Every device has a result')] };
  }
  if (wave.size > 0 && now - passed < spec.soak_ms) return { ...stay(next), notes };
  const opened = openCurrent(spec, { ...next, wave: state.wave + 1 }, now);
  return { ...opened, notes: [...notes, ...opened.notes] };
}

/** Halts a running roll-out that breaks a rule. */
function judge(spec: RolloutSpec, state: RolloutState, now: number): RolloutStep {
  const halt = state.phase === 'running' ? brokenRule(spec, state, now) : null;
  return halt === null ? stay(state) : halted(spec, state, halt);
}

function halted(spec: RolloutSpec, state: RolloutState, halt: Halt): RolloutStep {
  const next: RolloutState = { ...state, phase: 'halted', stopped_ms: halt.time_ms, halt };
  const notes = [note('halted', halt.text, halt)];
  if (spec.on_halt === 'wait') return { ...stay(next), notes };
  const aborting = onAbort(next, halt.time_ms, 'the rule');
  return { ...aborting, notes: [...notes, ...aborting.notes] };
}

/** After a halt the failures so far count as accepted: only new ones can halt it again. */
function onResume(state: RolloutState, { now_ms: now, by }: { now_ms: number; by: string }): RolloutStep {
  if (state.phase !== 'paused' && state.phase !== 'halted') return stay(state);
  const stopped = now - (state.stopped_ms ?? now);
  const waves = state.waves.map((wave): WaveState => {
    if (wave.opened_ms === null) return wave;
    const accepted = state.phase === 'halted' ? { accepted: true, forgiven: wave.counts.failed } : {};
    return { ...wave, opened_ms: wave.opened_ms + stopped, ...accepted };
  });
  const text = `Resumed by ${by}${state.halt === null ? '' : ': the failures so far are accepted'}`;
  return { ...stay({ ...state, phase: 'running', stopped_ms: null, halt: null, waves }), notes: [note('resumed', text, { by })] };
}

function onAbort(state: RolloutState, now: number, by: string): RolloutStep {
  if (state.phase === 'aborting') return stay(state);
  const told = state.waves.reduce((sum, wave) => sum + countOfPhases(wave, TOUCHED), 0);
  return { ...stay({ ...state, phase: 'aborting', aborted_ms: now }), notes: [note('aborting', `Aborted by ${by}: ${told} ${told === 1 ? 'device is' : 'devices are'} told to return`, { by })] };
}

function finishAbort(state: RolloutState): RolloutStep {
  const left = state.waves.reduce((sum, wave) => sum + countOfPhases(wave, [...TOUCHED, 'withdrawing', 'returning']), 0);
  if (left > 0) return stay(state);
  const kept = state.waves.reduce((sum, wave) => sum + wave.counts.kept, 0);
  const text = kept === 0 ? 'Every device runs what it ran before' : `${devicesText(kept)} could not be made to return`;
  return { ...stay({ ...state, phase: 'aborted' }), notes: [note('aborted', text)] };
}

function onDevice(spec: RolloutSpec, state: RolloutState, event: Extract<RolloutEvent, { device: RolloutDevice }>): RolloutStep {
  const { device, now_ms: now } = event;
  const to = (phase: DevicePhase, over: Partial<RolloutDevice> = {}): RolloutStep => {
    const next = { ...device, ...over, phase, changed_ms: phase === device.phase ? device.changed_ms : now };
    return { ...stay(moved(state, device, next)), device: next };
  };
  switch (event.type) {
    case 'due': return mayStart(state, device, now) ? acting('ask', to('asking', { before: event.before, generation: event.generation, asked_ms: now })) : stay(state);
    case 'asked': return device.phase === 'asking' ? to('asked', { generation: event.generation }) : stay(state);
    case 'not_asked': return onNotAsked(spec, state, event, to);
    case 'ended': return judged(spec, onEnded(state, event, to), now);
    case 'late': return judged(spec, onLate(state, event, to), now);
    case 'withdraw':
      if (state.phase !== 'aborting' || !TOUCHED.includes(device.phase)) return stay(state);
      return event.generation === null ? to('superseded') : acting('withdraw', to('withdrawing', { generation: event.generation }));
    case 'withdrawn': return device.phase === 'withdrawing' ? acting('return', to('returning')) : stay(state);
    case 'returned': return device.phase === 'returning' ? to('returned') : stay(state);
    case 'kept': return device.phase === 'returning' || device.phase === 'withdrawing' ? to('kept', { error: event.error }) : stay(state);
  }
}

type Move = (phase: DevicePhase, over?: Partial<RolloutDevice>) => RolloutStep;

function mayStart(state: RolloutState, { phase, wave: index, offset_ms: offset }: RolloutDevice, now: number): boolean {
  const opened = state.waves[index]?.opened_ms ?? null;
  return state.phase === 'running' && phase === 'waiting' && opened !== null && now >= opened + offset;
}

function onNotAsked(spec: RolloutSpec, state: RolloutState, { device, error, final, now_ms: now }: { device: RolloutDevice; error: CodedFailure; final: boolean; now_ms: number }, to: Move): RolloutStep {
  if (device.phase !== 'asking') return stay(state);
  if (!final) return judged(spec, to('failed', { error }), now);
  const back = to('waiting', { asked_ms: null, before: null, generation: null });
  const wave = back.state.waves[device.wave];
  if (back.state.phase !== 'running' || wave === undefined) return back;
  const halt = halted(spec, back.state, haltOf({ rule: 'unpublishable', wave: device.wave, time_ms: now }, spec, wave, `${error.code}: ${error.message}`));
  return { ...back, state: halt.state, notes: halt.notes };
}

/** A device that refused may try the same package again, and one that was away may come back: only `succeeded` and what an abort did are kept against new reports. */
function onEnded(state: RolloutState, { device, outcome, error }: { device: RolloutDevice; outcome: DeviceOutcome; error: CodedFailure | null }, to: Move): RolloutStep {
  const told: readonly DevicePhase[] = ['asked', 'proving', 'failed', 'absent'];
  switch (outcome) {
    case 'committed': return told.includes(device.phase) && device.phase !== 'proving' ? to('proving', { error: null }) : stay(state);
    case 'proven': return told.includes(device.phase) ? to('succeeded', { error: null }) : stay(state);
    case 'superseded': return told.includes(device.phase) && device.phase !== 'failed' ? to('superseded') : stay(state);
    default:
      if (device.phase === 'failed' || !(told.includes(device.phase) || device.phase === 'succeeded')) return stay(state);
      return to('failed', { error: error ?? { code: 'E_DEVICE_REJECTED', message: 'The device gives no reason' } });
  }
}

function onLate(state: RolloutState, { device, online }: { device: RolloutDevice; online: boolean }, to: Move): RolloutStep {
  const late = { code: 'E_DEVICE_TIMEOUT', message: 'The device did not finish in time' };
  if (device.phase === 'withdrawing' || device.phase === 'returning') return to('kept', { error: { ...late, message: 'The device did not say in time that it has returned' } });
  if (device.phase !== 'asked' && device.phase !== 'proving') return stay(state);
  return online ? to('failed', { error: late }) : to('absent', { error: { ...late, message: 'The device was away all the time' } });
}

const acting = (type: RolloutAction['type'], step: RolloutStep): RolloutStep => ({ ...step, action: step.device === null ? null : { type, device: step.device } });

/** The step, and the halt that its new counts may cause. */
function judged(spec: RolloutSpec, step: RolloutStep, now: number): RolloutStep {
  if (step.device === null) return step;
  const judgement = judge(spec, step.state, now);
  return { ...step, state: judgement.state, notes: [...step.notes, ...judgement.notes] };
}

/** The counts, codes and failures of the wave after a device has changed from one row to the other. */
function moved(state: RolloutState, before: RolloutDevice, after: RolloutDevice): RolloutState {
  const wave = state.waves[before.wave];
  if (wave === undefined || before.phase === after.phase) return state;
  const counts = { ...wave.counts, [before.phase]: wave.counts[before.phase] - 1, [after.phase]: wave.counts[after.phase] + 1 };
  const codes = { ...wave.codes };
  let { failures, forgiven } = wave;
  if (before.phase === 'failed' && before.error !== null) {
    const left = (codes[before.error.code] ?? 1) - 1;
    if (left > 0) codes[before.error.code] = left;
    else delete codes[before.error.code];
    failures = failures.filter(({ device }) => device !== before.device);
    forgiven = Math.min(forgiven, counts.failed);
  }
  if (after.phase === 'failed' && after.error !== null) {
    codes[after.error.code] = (codes[after.error.code] ?? 0) + 1;
    failures = [...failures, { device: after.device, ...after.error }].slice(0, MAX_FAILURES);
  }
  return withWave(state, before.wave, { ...wave, counts, codes, failures, forgiven });
}

function withWave(state: RolloutState, index: number, wave: WaveState): RolloutState {
  return { ...state, waves: state.waves.map((each, i) => (i === index ? wave : each)) };
}
