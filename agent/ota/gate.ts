/** The acceptance gate: whether a package, opened and tested on this device, may become the active one. Pure. */
import { AgentError } from '../errors.js';
import type { GateReport, PackageId } from '../ground/package.js';

/** @throws AgentError E_OTA_PACKAGE, E_OTA_GATE_ACCURACY, E_OTA_GATE_MEMORY, E_OTA_GATE_LATENCY */
export function passGate(expected: PackageId, report: GateReport): void {
  if (report.name !== expected.name || report.version !== expected.version) {
    throw new AgentError('E_OTA_PACKAGE', `Expected package ${expected.name} ${expected.version} but the file is ${report.name} ${report.version}`);
  }
  const wrong = report.golden.filter((vector) => !vector.passed);
  if (wrong.length > 0) {
    throw new AgentError('E_OTA_GATE_ACCURACY', `${wrong.length} of ${report.golden.length} golden vectors failed: ${wrong.map((v) => `${v.name} (${v.detail})`).slice(0, 3).join(', ')}`);
  }
  if (report.memory_bytes > report.budget.ram_bytes) {
    throw new AgentError('E_OTA_GATE_MEMORY', `Expected at most ${report.budget.ram_bytes} bytes but the pipeline needs ${report.memory_bytes}`);
  }
  if (report.p99_ms !== null && report.p99_ms > report.budget.p99_ms) {
    throw new AgentError('E_OTA_GATE_LATENCY', `Expected a p99 of at most ${report.budget.p99_ms} ms but measured ${report.p99_ms.toFixed(2)} ms`);
  }
}
