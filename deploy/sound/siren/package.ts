/** The package of the siren student: its model, and what the manifest says of it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { WrittenPackage } from '../../../runtime/package/package.js';
import { projectFolder } from '../../demo/folder.js';
import { buildPipelinePackage, type PipelinePackageOptions } from '../../package/build.js';
import { merge } from '../../package/describe.js';
import { patch } from '../student.js';
import { scaledFeatures } from './features.js';
import { decisionSettings, decisionStep, shortest, type Rule } from './decide.js';

/** Outputs of the student, in their order: the classes of ESC-10 that it learned beside, then its own. */
export const sirenOutputs = ['dog_bark', 'rain', 'sea_waves', 'baby_cry', 'clock_tick', 'person_sneeze', 'helicopter', 'chainsaw', 'rooster', 'fire_crackling', 'siren', 'horn'] as const;

export const outputOf = (label: (typeof sirenOutputs)[number]): number => sirenOutputs.indexOf(label);

/** Thresholds were chosen on a fold that is neither learned from nor that of the measurement in README.md. */
export const rules = { siren: { on: 0.982, minMs: shortest.siren }, horn: { on: 0.69, minMs: shortest.horn } } as const satisfies Record<string, Rule>;

const told = (label: keyof typeof rules): { label: string; members: number[]; on: number; off: number; min_ms: number } => {
  const { on, minMs } = rules[label];
  return { label, members: [outputOf(label)], on, off: decisionSettings.offShare * on, min_ms: minMs };
};

const sirenPackage = {
  stages: {
    classifier: {
      input: {
        type: 'features', tensor: 'patch', frames: patch.rows, step: decisionStep, layout: 'time-bands',
        definition: scaledFeatures,
      },
    },
  },
  settings: {
    activation: 'none', labels: [...sirenOutputs],
    classes: [told('siren'), told('horn')],
    smoothing_windows: decisionSettings.smoothing_windows, release_ms: decisionSettings.release_ms, deadline_ms: 250,
  },
};

/** The student as it is in the checkout. */
export const readSirenModel = (): Promise<Uint8Array> => readFile(join(projectFolder(), 'deploy', 'sound', 'siren', 'siren.onnx'));

/**
 * Packs the student. `overrides` replaces fields of what its package says; `model` is another student with the same outputs.
 * @throws RuntimeError E_MODEL_*
 */
export async function buildSirenPackage(overrides: object = {}, { model, ...options }: Pick<PipelinePackageOptions, 'engine'> & { model?: Uint8Array } = {}): Promise<WrittenPackage> {
  return buildPipelinePackage('sound', { classifier: model ?? await readSirenModel() }, { name: 'siren', version: '1.0.0', overrides: merge(sirenPackage, overrides), ...options });
}
