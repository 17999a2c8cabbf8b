import type { Settings } from '../contracts/index.js';
import type { PipelineOverrides } from '../inference/ports.js';
import type { Journal } from '../ota/journal.js';
import type { Config } from './schema.js';

/** The settings of `desired` over those of the configuration file. They are journalled, so they also hold without a broker. */
export class LiveSettings {
  readonly #config: Config;
  readonly #journal: Pick<Journal, 'settings' | 'saveSettings'>;
  #current: Settings;

  constructor(config: Config, journal: Pick<Journal, 'settings' | 'saveSettings'>) {
    this.#config = config;
    this.#journal = journal;
    this.#current = journal.settings();
  }

  get current(): Settings {
    return this.#current;
  }

  get telemetryIntervalMs(): number {
    return this.#current.telemetry_interval_ms ?? this.#config.telemetry.interval_ms;
  }

  get fps(): number | undefined {
    return this.#current.fps ?? this.#config.camera.fps;
  }

  /** What the pipeline is opened with. */
  get overrides(): PipelineOverrides {
    const match = this.#current.match_threshold ?? this.#config.pipeline.match_threshold;
    const detect = this.#current.detect_threshold ?? this.#config.pipeline.detect_threshold;
    return { ...(match === undefined ? {} : { match_threshold: match }), ...(detect === undefined ? {} : { detect_threshold: detect }) };
  }

  /** Takes new settings; they hold even when they cannot be written. @returns what must be opened again @throws AgentError E_DISK_FULL, after taking them */
  apply(next: Settings): { source: boolean; pipeline: boolean } {
    const before = { fps: this.fps, overrides: JSON.stringify(this.overrides) };
    const same = JSON.stringify(next) === JSON.stringify(this.#current);
    this.#current = next;
    if (!same) this.#journal.saveSettings(next);
    return { source: before.fps !== this.fps, pipeline: before.overrides !== JSON.stringify(this.overrides) };
  }
}
