import { RuntimeError } from '../../errors.js';
import { elementCount } from '../../graph/tensor-value.js';
import { rateOf } from '../../stages/contract.js';
import type { StageContract, StageRecord, WaveContract } from '../../stages/contract.js';
import { defineKind } from '../kind.js';
import type { ModelInfo } from '../kind.js';
import { modelOf, modelPath } from '../pixel-input.js';
import { SoundPipeline } from './pipeline.js';
import type { SoundParts } from './pipeline.js';
import { defaultSoundSettings, soundSettings } from './settings.js';

const stage = 'classifier';
const usualRate = 16_000;

/** What is heard: one model over the newest sound, with one score for each class. */
export const sound = defineKind({
  name: 'sound',
  roles: { [stage]: { what: 'classifier of sound: samples [1, N] or features, with one score for each class', goldenVectors: 2, quantized: true } },
  settings: soundSettings,
  describe: describeSound,
  conflict: (stages, settings) => {
    const contract = listener(stages);
    if (contract === null) return `the stage ${stage} must have an input of type wave or features`;
    const { input } = contract;
    const stepMs = (1000 * input.step) / rateOf(input);
    const least = stepMs * settings.smoothing_windows;
    return least <= settings.deadline_ms ? null
      : `${settings.smoothing_windows} windows every ${stepMs} ms take ${least} ms, which is more than the deadline of ${settings.deadline_ms} ms (settings.deadline_ms)`;
  },
  override: (settings, { detectThreshold, motionGate }) => ({
    ...settings,
    ...(detectThreshold === undefined ? {} : { on: detectThreshold, off: Math.min(settings.off, detectThreshold), classes: settings.classes.map(({ on: _, off: __, ...rest }) => rest) }),
    gate: { ...settings.gate, enabled: motionGate ?? settings.gate.enabled },
  }),
  create: ({ name, version, stages }, settings, contracts) => {
    const contract = listener(contracts);
    if (contract === null) throw new RuntimeError('E_PACKAGE', `Expected a stage ${stage} that listens`);
    return new SoundPipeline({ name, version, stages, contract, settings });
  },
});

function listener(stages: StageRecord): SoundParts['contract'] | null {
  const contract: StageContract | undefined = stages[stage];
  return contract === undefined || contract.input.type === 'pixels' ? null : { ...contract, input: contract.input };
}

/**
 * A model of samples describes itself: its window is the length of its input, states are inputs that have an output of the same shape and of a name
 * that begins alike (`state` and `stateN`). Features must be stated, because no model says what its numbers are.
 */
function describeSound(models: Readonly<Record<string, ModelInfo>>): { stages: object; settings: object } {
  const model = modelOf(models, stage);
  const states = statesOf(model);
  const carried = new Set(states.map((state) => state.input));
  const given = model.inputs.filter(({ name }) => !carried.has(name));
  const main = given.find(({ type, dims }) => type === 'float32' && dims.length > 0) ?? given[0];
  if (main === undefined) throw new RuntimeError('E_MODEL_SHAPE', `Expected an input of sound for the ${stage} but received none`);
  const samples = elementCount(main.dims);
  const rates = given.filter(({ name }) => name !== main.name).map(({ name, type, dims }) => ({ input: name, type, dims, values: [usualRate] }));
  const ends = model.ends?.[model.outputs[0]?.name ?? ''] ?? [];
  const input: WaveContract = { type: 'wave', tensor: main.name, rate: usualRate, samples, step: Math.min(samples, usualRate / 10), gain: 1 };
  const outputs = model.outputs.map(({ name }) => name).filter((name) => !states.some((state) => state.output === name));
  return {
    stages: { [stage]: { model: modelPath(stage), input, outputs, ...(states.length === 0 ? {} : { states }), ...(rates.length === 0 ? {} : { constants: rates }) } },
    settings: { ...defaultSoundSettings, activation: ends.some((op) => op === 'Sigmoid' || op === 'Softmax') ? 'none' : 'sigmoid' },
  };
}

/** Inputs that come back: an output of the same type and shape whose name has the input's as its beginning, or the other way round. */
function statesOf({ inputs, outputs }: ModelInfo): { input: string; output: string; dims: readonly number[] }[] {
  return inputs.flatMap(({ name, type, dims }) => {
    const output = outputs.find((candidate) => candidate.type === type && type === 'float32' && String(candidate.dims) === String(dims) && (candidate.name.startsWith(name) || name.startsWith(candidate.name)));
    return output === undefined || dims.length < 2 ? [] : [{ input: name, output: output.name, dims }];
  });
}
