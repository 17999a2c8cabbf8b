/** What decides whether there is anything to hear. */
export interface SoundGateSettings {
  enabled: boolean;
  /** Opens this far above the floor of the noise, decibels. */
  margin_db: number;
  /** Never opens below this level, decibels below full scale: the noise of the microphone itself. */
  least_db: number;
  /** How fast the floor follows sound that lasts. It falls ten times as fast. */
  rise_db_per_s: number;
  /** Stays open after the last loud chunk or the last event. */
  hold_ms: number;
  /** In any case, a window is run every so often. */
  forced_pass_ms: number;
  /** Share of the stopped windows that are run in full for a check. */
  audit_share: number;
  /** Share of the stopped windows in which such a check may hear something. When it hears more, the gate tightens, then switches off. */
  miss_limit: number;
}

/** The floor falls so many times as fast as it rises. */
const fallFactor = 10;

/**
 * An energy gate over a slow floor of the noise. A hum that lasts becomes the floor; what rises above it by the margin opens the gate. While an event
 * lasts, the floor stands still: a siren must not become background.
 */
export class SoundGate {
  readonly #settings: SoundGateSettings;
  #floorDb: number | undefined;
  #openUntilMs = -Infinity;
  #lastPassMs = -Infinity;
  /** For the thresholds, as amplitudes; 0: the gate is off. */
  factor = 1;

  constructor(settings: SoundGateSettings) {
    this.#settings = settings;
  }

  /** Decibels below full scale. */
  get floorDb(): number {
    return this.#floorDb ?? this.#settings.least_db;
  }

  /**
   * @param nowMs end of the chunk, in the time of the samples
   * @param busy whether an event lasts
   */
  decide(levelDb: number, nowMs: number, durationMs: number, busy: boolean): boolean {
    const { enabled, margin_db: margin, least_db: least, hold_ms: hold, forced_pass_ms: forced } = this.#settings;
    if (!enabled || this.factor === 0) return true;
    const loud = levelDb > Math.max(this.floorDb + margin * this.factor, least + 20 * Math.log10(this.factor));
    if (loud || busy) this.#openUntilMs = nowMs + hold;
    if (!busy) this.#follow(levelDb, durationMs / 1000);
    const open = nowMs <= this.#openUntilMs || nowMs - this.#lastPassMs >= forced;
    if (open) this.#lastPassMs = nowMs;
    return open;
  }

  #follow(levelDb: number, seconds: number): void {
    const { rise_db_per_s: rise, least_db: least } = this.#settings;
    // The first chunk may be loud: the floor begins where the microphone's own noise is.
    const known = this.#floorDb ?? Math.min(levelDb, least);
    const step = levelDb > known ? rise * seconds : rise * fallFactor * seconds;
    this.#floorDb = levelDb > known ? Math.min(levelDb, known + step) : Math.max(levelDb, known - step);
  }
}
