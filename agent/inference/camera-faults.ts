import type { CodedError } from '../errors.js';
import type { FaultPort } from '../ground/faults.js';
import type { Log } from '../platform/log.js';
import type { PipelineCounters } from '../ground/counters.js';
import type { CameraState } from './loop.js';

export interface CameraFaultParts {
  faults: FaultPort;
  counters: PipelineCounters;
  log: Log;
  /** No camera delivers any more: whoever was seen has left. */
  onGone: () => void;
}

/** What each state of the camera means for faults, counters and the people who were seen. @returns the loop's `onCamera` */
export function cameraFaults({ faults, counters, log, onGone }: CameraFaultParts): (state: CameraState, error: CodedError | null) => void {
  let lost = 0;
  return (state, error) => {
    log.info('camera', { state, code: error?.code });
    if (state === 'running') faults.clear('camera');
    if (state === 'opening' && lost > 0) counters.add('camera_reopened_total');
    if (state === 'lost' && error !== null) {
      lost += 1;
      faults.raise('camera', { code: 'E_CAMERA_LOST', message: error.code === 'E_CAMERA_LOST' ? error.message : `${error.code}: ${error.message}` });
    }
    if (state === 'lost' || state === 'ended' || state === 'none') onGone();
  };
}
