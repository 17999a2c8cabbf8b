/** How much of a package travels to a device that runs the version before, when little has changed. */
import type { Bar } from '../bars.js';
import { classifierPackage, wireBytes } from './packages.js';

export async function deltaBars(): Promise<Bar[]> {
  const net = 'resnet18_half';
  const before = await classifierPackage('1.0.0', { net });
  const threshold = await classifierPackage('2.0.0', { net, scoreThreshold: 0.25 });
  const layer = await classifierPackage('3.0.0', { net, lastLayerSeed: 7 });
  const share = (held: typeof before): number => 100 * wireBytes(held, before.bytes) / held.bytes.byteLength;
  const size = `${(before.bytes.byteLength / 1e6).toFixed(1)} MB`;
  return [
    { id: 'transfer.delta.threshold', what: `share of a package of ${size} that travels when one threshold has changed, with its list of chunks`, value: share(threshold), unit: '%', bar: '<= 1', met: share(threshold) <= 1 },
    { id: 'transfer.delta.layer', what: `the same when the last layer has changed (${net}: 9 % of the weights)`, value: share(layer), unit: '%', bar: '<= 25', met: share(layer) <= 25 },
  ];
}
