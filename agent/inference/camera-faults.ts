import type { CodedError } from '../errors.js';
import type { FaultPort } from '../ground/faults.js';
import type { Log } from '../platform/log.js';
import type { PipelineCounters } from '../ground/counters.js';
import { lostCodes, type CameraState, type Medium } from './loop.js';

export interface CameraFaultParts {
  medium: Medium;
  faults: FaultPort;
  counters: PipelineCounters;
  log: Log;
  /** Called when nothing is delivered any more. Everybody who was seen has then left, and every sound has ended. */
  onGone: () => void;
}

/** What each state of the camera or microphone means for faults, counters, and the people who were seen. @returns the loop's `onCamera` */
export function cameraFaults({ medium, faults, counters, log, onGone }: CameraFaultParts): (state: CameraState, error: CodedError | null) => void {
  let lost = 0;
  return (state, error) => {
    log.info(medium, { state, code: error?.code });
    if (state === 'running') faults.clear(medium);
    if (state === 'opening' && lost > 0) counters.add('camera_reopened_total');
    if (state === 'lost' && error !== null) {
      lost += 1;
      const code = lostCodes[medium];
      faults.raise(medium, { code, message: error.code === code ? error.message : `${error.code}: ${error.message}` });
    }
    if (state === 'lost' || state === 'ended' || state === 'none') onGone();
  };
}
