import { DEFAULT_PIPELINE } from '../../agent/contracts/index.js';
import { DeployError } from '../errors.js';

/**
 * The pipeline of a device that a command means: the named one; without a name its only one, or `main` among several.
 * @param reported names that the device has reported; empty when it has not reported yet
 * @throws DeployError E_DEVICE_PIPELINE
 */
export function chosenPipeline(device: string, reported: readonly string[], name?: string): string {
  const has = `${device} has the ${reported.length === 1 ? 'pipeline' : 'pipelines'} ${reported.join(', ')}`;
  if (name !== undefined) {
    if (reported.length === 0 || reported.includes(name)) return name;
    throw new DeployError('E_DEVICE_PIPELINE', `${has}, and no pipeline ${name}`, { details: { device, pipeline: name, known: reported } });
  }
  const [only = DEFAULT_PIPELINE] = reported;
  if (reported.length <= 1) return only;
  if (reported.includes(DEFAULT_PIPELINE)) return DEFAULT_PIPELINE;
  throw new DeployError('E_DEVICE_PIPELINE', `${has}: choose one with --pipeline`, { details: { device, known: reported } });
}
