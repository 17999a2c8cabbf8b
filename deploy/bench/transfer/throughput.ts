/** How fast a package travels to a real daemon on this machine, and how much memory the daemon takes for it. */
import type { PipelineReport } from '../../../agent/contracts/index.js';
import { DeployError } from '../../errors.js';
import type { Bar } from '../bars.js';
import { memoryOf } from '../process-figures.js';
import { percentile } from '../statistics.js';
import { noisePackage } from './packages.js';
import { openBench, type BenchDevice, type TransferBench } from './transfer-bench.js';

const MB = 1e6;
const MIB = 2 ** 20;
/**
 * What the window bounds does not grow with the package, so one of twice the size may add no more than the peaks of equal packages differ. Smaller packages
 * than 80 MB would not do: what V8 has not collected yet grows until then, to a bound of its own.
 */
const MEMORY_BAR_MIB = 2;
const SAMPLE_MS = 25;
const TIMEOUT_MS = 300_000;

export interface ThroughputOptions {
  /** Of the package whose rate is measured; the one with which its memory is compared has twice as many. */
  bytes?: number;
  /** Transfers of each. */
  rounds?: number;
}

interface Transfer {
  bytesPerS: number;
  /** Largest resident memory of the daemon. */
  peakBytes: number;
}

export async function throughputBars(signal: AbortSignal, { bytes = 80 * MB, rounds = 3 }: ThroughputOptions = {}): Promise<Bar[]> {
  const bench = await openBench(signal, { blocksPerSecond: 1e6 });
  try {
    const device = await bench.startDevice('near', bench.brokerUrl);
    await bench.known(device.name);
    await transfer(bench, device, { bytes: bytes / 4, seed: 1, signal }); // the code is compiled now
    const [once, twice]: [Transfer[], Transfer[]] = [[], []];
    for (let round = 0; round < rounds; round++) {
      once.push(await transfer(bench, device, { bytes, seed: 2 + 2 * round, signal }));
      twice.push(await transfer(bench, device, { bytes: 2 * bytes, seed: 3 + 2 * round, signal }));
    }
    const rates = once.map(({ bytesPerS }) => bytesPerS / MB).sort((a, b) => a - b);
    const rate = percentile(rates, 50);
    const peaks = [once, twice].map((transfers) => transfers.map(({ peakBytes }) => peakBytes / MIB).sort((a, b) => a - b));
    const [before = 0, after = 0] = peaks.map((sorted) => percentile(sorted, 50));
    const [small, large] = peaks.map((sorted) => sorted.map((value) => value.toFixed(1)).join(', '));
    const grown = after - before;
    return [
      { id: 'transfer.throughput', what: `throughput of a package of ${bytes / MB} MB through ${bench.broker} on loopback, median of ${rounds} (${rates.map((value) => value.toFixed(1)).join(', ')})`, value: rate, unit: 'MB/s', bar: '>= 20', met: rate >= 20 },
      { id: 'transfer.memory', what: `largest resident memory of the daemon while ${2 * bytes / MB} MB arrive (${large ?? ''} MiB), above that of ${bytes / MB} MB (${small ?? ''} MiB), medians of ${rounds}`, value: grown, unit: 'MiB', bar: `<= ${MEMORY_BAR_MIB}`, met: grown <= MEMORY_BAR_MIB },
    ];
  } finally {
    await bench.close();
  }
}

/** From the request for the first piece until the device has them all. */
async function transfer({ publisher }: TransferBench, device: BenchDevice, { bytes, seed, signal }: { bytes: number; seed: number; signal: AbortSignal }): Promise<Transfer> {
  const held = noisePackage(bytes, seed);
  let [began, ended, peakBytes] = [0, 0, 0];
  const onServing = (): void => { if (began === 0) began = performance.now(); };
  const onReported = (_: unknown, { pipelines: [report] }: { pipelines: PipelineReport[] }): void => {
    if (ended === 0 && report?.ota.package?.digest === held.digest && !['checking', 'downloading'].includes(report.ota.state)) ended = performance.now();
  };
  publisher.on('serving', onServing).on('reported', onReported);
  const sampling = setInterval(() => { peakBytes = Math.max(peakBytes, residentBytes(device)); }, SAMPLE_MS);
  try {
    const generation = await publisher.publish(device.name, held);
    const { error } = await publisher.outcome(device.name, held.digest, generation, { timeoutMs: TIMEOUT_MS, signal });
    if (error?.code !== 'E_OTA_PACKAGE') throw new DeployError('E_BENCH', `Expected that noise arrives whole and is then refused as no package, but the device says ${error?.code ?? 'nothing'}: ${error?.message ?? ''}`);
    publisher.release(held.digest);
    return { bytesPerS: held.bytes.byteLength * 1000 / (ended - began), peakBytes };
  } finally {
    clearInterval(sampling);
    publisher.off('serving', onServing).off('reported', onReported);
  }
}

/** Of the daemon's process, from the kernel. */
const residentBytes = ({ process: { pid } }: BenchDevice): number => memoryOf(pid ?? process.pid, 'VmRSS');
