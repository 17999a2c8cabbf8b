import { stated } from '../../runtime/options.js';
import type { FindingRules } from '../../runtime/vision/zones/settings.js';
import type { Settings } from '../contracts/index.js';
import type { PipelineOverrides } from '../ground/runtime.js';
import type { UpdateRules } from '../ground/update-rules.js';
import type { PipelineSpec } from './pipelines.js';
import type { Config } from './schema.js';

/** Where settings are kept. */
export interface SettingsStore {
  settings(): Settings;
  /** @throws AgentError E_DISK_FULL, E_STATE_READ_ONLY, E_STATE */
  saveSettings(settings: Settings): void;
}

/**
 * The settings of one pipeline: those that `desired` sets override those of the configuration file. They are journalled, so they also hold while
 * there is no broker.
 */
export class LiveSettings {
  readonly #spec: PipelineSpec;
  readonly #store: SettingsStore;
  #current: Settings;

  constructor(spec: PipelineSpec, store: SettingsStore) {
    this.#spec = spec;
    this.#store = store;
    this.#current = store.settings();
  }

  get current(): Settings {
    return this.#current;
  }

  get fps(): number | undefined {
    return this.#current.fps ?? this.#spec.source.fps;
  }

  /** What the pipeline is opened with. */
  get overrides(): PipelineOverrides {
    const match = this.#current.match_threshold ?? this.#spec.pipeline.match_threshold;
    const detect = this.#current.detect_threshold ?? this.#spec.pipeline.detect_threshold;
    const { tracking } = this.#spec.pipeline;
    const { gates, feature_threshold } = this.#current;
    return {
      ...(match === undefined ? {} : { match_threshold: match }), ...(detect === undefined ? {} : { detect_threshold: detect }),
      ...(tracking === undefined ? {} : { tracking }), ...(gates === undefined ? {} : { gates }), ...(feature_threshold === undefined ? {} : { feature_threshold }),
    };
  }

  /** Which findings count. These rules can be changed while the pipeline runs. */
  get rules(): FindingRules {
    const { zones, labels, sizes } = this.#spec.pipeline;
    return { zones: this.#current.zones ?? zones, labels: this.#current.labels ?? labels, sizes: this.#current.sizes ?? sizes };
  }

  /**
   * Takes new settings.
   * @returns what must be opened again, and whether other findings count
   * @throws AgentError E_DISK_FULL, E_STATE_READ_ONLY, E_STATE when they cannot be written; those before then hold
   */
  apply(next: Settings): { source: boolean; pipeline: boolean; rules: boolean } {
    const before = { fps: this.fps, overrides: JSON.stringify(this.overrides), rules: JSON.stringify(this.rules) };
    const same = JSON.stringify(next) === JSON.stringify(this.#current);
    if (!same) this.#store.saveSettings(next);
    this.#current = next;
    return { source: before.fps !== this.fps, pipeline: before.overrides !== JSON.stringify(this.overrides), rules: before.rules !== JSON.stringify(this.rules) };
  }
}

/** The rules by which a pipeline judges packages. Settings that come from afar can tighten a limit of the gate, but not loosen it. */
export function updateRules({ gate, shadow, probation }: Pick<Config['ota'], 'gate' | 'shadow' | 'probation'>, { update }: Settings): UpdateRules {
  const tighter = (name: 'p99_ms' | 'ram_bytes' | 'joules'): number | undefined => {
    const stated = [gate[name], update?.gate?.[name]].filter((limit) => limit !== undefined);
    return stated.length === 0 ? undefined : Math.min(...stated);
  };
  return {
    gate: {
      p99_ms: tighter('p99_ms'), ram_bytes: tighter('ram_bytes'), joules: tighter('joules'),
      allow_without_golden: update?.gate?.allow_without_golden ?? gate.allow_without_golden,
    },
    shadow: { ...shadow, ...stated(update?.shadow ?? {}) },
    probation: { ...probation, ...stated(update?.probation ?? {}) },
  };
}

/** The shortest interval that a pipeline asks for; if none asks, that of the configuration. Milliseconds. */
export function telemetryInterval(settings: readonly Settings[], configuredMs: number): number {
  const asked = settings.flatMap(({ telemetry_interval_ms: ms }) => (ms === undefined ? [] : [ms]));
  return asked.length === 0 ? configuredMs : Math.min(...asked);
}
