/** Totals since the start, by Prometheus-style name. The same numbers go into telemetry and to `/metrics`. */

/** Of each pipeline. */
export const pipelineCounterNames = {
  frames_total: 'frames taken from the input',
  frames_processed_total: 'frames that a pipeline processed',
  frames_exit_pixels_total: 'frames that stopped at the pixel gate, because nothing moved',
  frames_exit_features_total: 'frames that stopped at the feature gate, after the first layers of the detector',
  frames_exit_partial_total: 'frames of which the detector computed a part',
  frames_exit_full_total: 'frames that ran in full',
  frames_exit_silence_total: 'pieces of sound that stopped because there was nothing to hear',
  frames_exit_late_total: 'pieces of sound that were dropped because their results would have been late',
  gate_audits_total: 'frames, or windows of sound, that had stopped at a gate and were run in full, to measure what the gates miss',
  gate_misses_total: 'audits in which the full run found something new',
  gate_unsure_total: 'audits in which a grey level of noise takes away what the full run found',
  gate_audits_skipped_total: 'frames that were drawn for an audit while another one was under way',
  kept_maps_dropped_total: 'times that the feature maps which a detector keeps between frames were given back, because memory was short',
  frames_without_model_total: 'frames that arrived while no package was active',
  frames_failed_total: 'frames on which the pipeline failed',
  frames_paced_total: 'frames that the governor left out to save energy or heat',
  frames_dropped_total: 'frames that the source dropped because the pipeline was busy',
  frames_broken_total: 'frames that were damaged on their way and left out or repaired',
  frames_dropped_by_swap_total: 'frames lost while one package replaced another',
  model_swaps_total: 'times that one running package replaced another',
  findings_total: 'findings in frames',
  finding_events_total: 'events about somebody or something that appeared or left',
  recordings_total: 'events of which a picture was kept',
  camera_reopened_total: 'times that the camera or the microphone was reopened',
  ota_requests_total: 'requests for blocks of packages',
} as const;

/** Of the whole device. */
export const deviceCounterNames = {
  faults_total: 'faults raised',
  commands_total: 'commands executed',
  messages_refused_total: 'messages from the broker that were malformed or exceeded the rate limit',
  messages_coalesced_total: 'messages from the broker that a newer message replaced before they were read',
  mqtt_reconnects_total: 'connections to the broker after the first',
  sensor_readings_invalid_total: 'readings of power, temperature and clock frequency that cannot be true and were not used',
  outbox_merged_total: 'telemetry windows merged in the outbox',
} as const;

export type PipelineCounter = keyof typeof pipelineCounterNames;
export type DeviceCounter = keyof typeof deviceCounterNames;

export class Counters<Name extends string> {
  readonly #values = new Map<string, number>();

  /** @param names the keys of this table */
  constructor(names: Readonly<Record<Name, string>>) {
    for (const name of Object.keys(names)) this.#values.set(name, 0);
  }

  add(name: Name, n = 1): void {
    this.#values.set(name, this.get(name) + n);
  }

  /** For totals that somebody else keeps. */
  set(name: Name, value: number): void {
    this.#values.set(name, value);
  }

  get(name: Name): number {
    return this.#values.get(name) ?? 0;
  }

  toRecord(): Record<string, number> {
    return Object.fromEntries(this.#values);
  }

  /** Without those that are 0, as telemetry carries them. */
  counted(): Record<string, number> {
    return Object.fromEntries([...this.#values].filter(([, n]) => n > 0));
  }
}

export type PipelineCounters = Counters<PipelineCounter>;
export type DeviceCounters = Counters<DeviceCounter>;
