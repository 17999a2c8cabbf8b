/** Checks processor, memory, clock and sensors. The files of the system come from `HostFiles`, so that tests can describe a machine of their own. */
import { findMeters } from '../energy/monitor.js';
import type { Clock } from '../platform/clock.js';
import type { HostFiles } from '../platform/host-files.js';
import { readMachineMemory } from '../platform/meminfo.js';
import { ThermalMonitor } from '../thermal/thermal.js';
import { MAX_CLOCK_AHEAD_MS } from '../trust/repository.js';
import { checksOf, type Check } from './check.js';

const GiB = 2 ** 30;
const MiB = 2 ** 20;
/** Least memory for the daemon with a package for faces and one camera (measured: about 110 MB), and for the process that tests a candidate. */
const ENOUGH_MEMORY_BYTES = 192 * MiB;

export async function checkProcessor(files: HostFiles, { arch, cores }: { arch: string; cores: number }): Promise<Check[]> {
  const info = (await files.text('proc/cpuinfo')) ?? '';
  const model = /^(?:model name|Model)\s*:\s*(.+)$/m.exec(info)?.[1] ?? (await files.text('proc/device-tree/model'))?.replaceAll('\0', '') ?? arch;
  return [checksOf('processor').ok(`${model}, ${cores} ${cores === 1 ? 'core' : 'cores'}, Node.js ${process.versions.node}`, { details: { model, arch, cores, node: process.versions.node } })];
}

export async function checkMemory(files: HostFiles): Promise<Check[]> {
  const report = checksOf('memory');
  const { total, available } = await readMachineMemory(files);
  if (total === null || available === null) return [report.warning('/proc/meminfo cannot be read')];
  const text = `${(available / GiB).toFixed(2)} GiB of ${(total / GiB).toFixed(2)} GiB are available`;
  const details = { total_bytes: total, available_bytes: available };
  return [available >= ENOUGH_MEMORY_BYTES ? report.ok(text, { details }) : report.warning(text, { details, remedy: `the daemon and the test of a new package need about ${ENOUGH_MEMORY_BYTES / MiB} MiB: stop other programs, or add swap in compressed memory (zram)` })];
}

/** @param signedMs newest signed time that the broker holds for this device, or null @param builtMs when this program was built */
export function checkClock(clock: Clock, { signedMs, builtMs }: { signedMs: number | null; builtMs: number }): Check[] {
  const report = checksOf('clock');
  const nowMs = clock.nowMs();
  const details = { time_ms: nowMs, synchronized: clock.synchronized(), ...(signedMs === null ? {} : { newest_signed_ms: signedMs, ahead_of_signed_ms: nowMs - signedMs }) };
  const remedy = 'set the clock: timedatectl set-ntp true, and check that a time server can be reached; a board without a battery needs one';
  const stated = (ms: number): string => new Date(ms).toISOString().slice(0, 19);
  const floor = signedMs === null || signedMs < builtMs ? { ms: builtMs, what: 'this program was built' } : { ms: signedMs, what: 'the fleet signed' };
  if (nowMs < floor.ms - 60_000) return [report.failed(`${stated(nowMs)} UTC is too early: ${floor.what} at ${stated(floor.ms)}`, { details, remedy })];
  if (signedMs !== null && nowMs > signedMs + MAX_CLOCK_AHEAD_MS) return [report.failed(`${stated(nowMs)} UTC is years after the newest signed time, ${stated(signedMs)}`, { details, remedy })];
  if (!clock.synchronized()) return [report.warning(`${stated(nowMs)} UTC is plausible, but no time server has confirmed it`, { details, remedy })];
  return [report.ok(`${stated(nowMs)} UTC, synchronized${signedMs === null ? '' : `; the newest signed time is ${stated(signedMs)}`}`, { details })];
}

export async function checkTemperatures(files: HostFiles): Promise<Check[]> {
  const report = checksOf('temperature');
  const { zones, invalid = [], throttled, throttled_since_boot: throttledBefore } = await new ThermalMonitor(files).close();
  const details = { zones, invalid, throttled, throttled_since_boot: throttledBefore };
  if (invalid.length > 0) return [report.warning(`implausible readings: ${invalid.map(({ sensor, reason }) => `${sensor} (${reason})`).join(', ')}`, { details, remedy: 'these sensors are not used; update the firmware or the kernel' })];
  if (zones.length === 0) return [report.warning('no sensor was found, so overheating cannot be seen', { details, remedy: 'virtual machines have none; on a board, load the thermal or hwmon driver of the processor' })];
  const hottest = zones.reduce((a, b) => (b.celsius > a.celsius ? b : a));
  const text = `${hottest.zone} ${hottest.celsius.toFixed(1)} °C is the hottest of ${zones.length}`;
  if (throttled) return [report.warning(`${text}; the processor is slowed down now`, { details, remedy: 'improve the cooling or the power supply, or process fewer frames (fps)' })];
  return [report.ok(`${text}${throttledBefore ? '; the processor was slowed down since it started' : ''}`, { details })];
}

export async function checkEnergy(files: HostFiles, options: Parameters<typeof findMeters>[1]): Promise<Check[]> {
  const report = checksOf('energy');
  const meters = (await findMeters(files, options)).map(({ source, scope, quality }) => ({ source, scope, quality }));
  const measured = meters.filter(({ quality }) => quality === 'measured' || quality === 'estimated');
  if (measured.length > 0) return [report.ok(measured.map(({ source, scope, quality }) => `${source} ${scope} (${quality})`).join(', '), { details: { meters } })];
  const hidden = (await files.list('sys/class/powercap')).filter((name) => /^intel-rapl:\d+$/.test(name));
  if (hidden.length > 0) {
    return [report.warning('the energy counters of the processor (RAPL) cannot be read; energy is calculated from CPU time instead', {
      details: { meters, hidden }, remedy: 'install 60-sterna.rules and run `udevadm trigger --action=add --subsystem-match=powercap`; the reader must be in the group sterna-energy',
    })];
  }
  return [report.warning('no sensor was found; energy is calculated from CPU time', { details: { meters }, remedy: 'set energy.watts_per_core to a measured value, or fit a sensor (INA219, INA226, INA3221)' })];
}
