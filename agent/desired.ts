import type { LiveSettings } from './config/settings.js';
import type { Settings } from './contracts/index.js';
import { toCodedError } from './errors.js';
import type { Faults } from './events/faults.js';
import type { InferenceLoop } from './inference/loop.js';
import type { OtaManager } from './ota/manager.js';
import type { Reporter } from './report/reporter.js';
import type { TelemetryCollector } from './telemetry/collector.js';

export interface SettingsParts {
  settings: LiveSettings;
  faults: Faults;
  loop: Pick<InferenceLoop, 'restartSource'>;
  ota: Pick<OtaManager, 'reload'>;
  collector: Pick<TelemetryCollector, 'setInterval'>;
  reporter: Pick<Reporter, 'changed'>;
}

/** The settings of a `desired` that was taken: kept, and whatever they change is opened again. Never throws. */
export function applySettings({ settings, faults, loop, ota, collector, reporter }: SettingsParts, next: Settings): void {
  try {
    const changed = settings.apply(next);
    if (changed.source) loop.restartSource();
    if (changed.pipeline) ota.reload();
  } catch (error) {
    faults.raise('agent', toCodedError(error));
  }
  collector.setInterval(settings.telemetryIntervalMs);
  reporter.changed();
}
