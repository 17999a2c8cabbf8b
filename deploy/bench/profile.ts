import type { LayerProfile } from '../../runtime/session-types.js';
import { gmacPerSecond, shareOfPeak, type Peak } from './peaks.js';

/** Figures of a layer, or of layers summed; field names are part of `sterna bench --json`. */
export interface CostRow {
  op: string;
  kernel: string;
  /** Of the arithmetic; `none` moves data. */
  format: LayerProfile['format'];
  ms: number;
  macs: number;
  /** Null where nothing is multiplied. */
  gmac_s: number | null;
  /** Of the peak of all threads; null where nothing is multiplied, or no peak is known. */
  share_of_peak: number | null;
  bytes_read: number;
  bytes_written: number;
}

export interface OpRow extends CostRow {
  layers: number;
}

export interface LayerRow extends CostRow {
  name: string;
}

/** What a layer's speed is measured against. */
export interface PeakOfThreads {
  peak: Peak;
  threads: number;
}

function cost(of: Pick<LayerProfile, 'op' | 'kernel' | 'format' | 'ms' | 'macs' | 'bytesRead' | 'bytesWritten'>, { peak, threads }: PeakOfThreads): CostRow {
  const { op, kernel, format, ms, macs } = of;
  const speed = gmacPerSecond(macs, ms);
  const share_of_peak = format === 'none' ? null : shareOfPeak(speed, peak[format], threads);
  return { op, kernel, format, ms, macs, gmac_s: speed, share_of_peak, bytes_read: of.bytesRead, bytes_written: of.bytesWritten };
}

/** Layers in the order of execution. */
export function layerRows(layers: readonly LayerProfile[], against: PeakOfThreads): LayerRow[] {
  return layers.map((layer) => ({ name: layer.name, ...cost(layer, against) }));
}

/** Layers summed by operator, kernel and format, the slowest first. */
export function sumByOp(layers: readonly LayerProfile[], against: PeakOfThreads): OpRow[] {
  const groups = new Map<string, LayerProfile[]>();
  for (const layer of layers) {
    const key = [layer.op, layer.kernel, layer.format].join(' ');
    groups.set(key, [...(groups.get(key) ?? []), layer]);
  }
  const total = (group: readonly LayerProfile[], field: 'ms' | 'macs' | 'bytesRead' | 'bytesWritten'): number => group.reduce((sum, layer) => sum + layer[field], 0);
  return [...groups.values()]
    .flatMap((group) => {
      const [first] = group;
      if (first === undefined) return [];
      const sums = { ms: total(group, 'ms'), macs: total(group, 'macs'), bytesRead: total(group, 'bytesRead'), bytesWritten: total(group, 'bytesWritten') };
      return [{ layers: group.length, ...cost({ ...first, ...sums }, against) }];
    })
    .sort((a, b) => b.ms - a.ms);
}
