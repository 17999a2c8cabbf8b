/**
 * Named fault points for the power-cut tests. `STERNA_FAULT=name[:n]` kills the process, as a power cut would, when it passes the point of that name
 * for the n-th time (1 by default). Without the variable, a point costs only a comparison.
 */
const [wanted, nth] = (process.env['STERNA_FAULT'] ?? '').split(':');
let remaining = Number(nth ?? 1);

export function faultPoint(name: string): void {
  if (wanted === undefined || wanted === '' || wanted !== name) return;
  remaining -= 1;
  if (remaining <= 0) process.kill(process.pid, 'SIGKILL');
}
