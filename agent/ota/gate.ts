/** The acceptance gate. It decides whether a package that was opened and tested on this device may become the active one. Pure. */
import { AgentError, type AgentErrorCode } from '../errors.js';
import type { GateReport, PackageId } from '../ground/package.js';
import type { GateRules } from '../ground/update-rules.js';

/** Rules for a package that runs already. It was accepted once, and this device's limits are for packages that are still to be accepted. */
export const noLimits: GateRules = { allow_without_golden: true };

/**
 * Checks the budget, which the package promises of itself, and the rules, which say what this device allows. Each of the two has its own codes.
 * @throws AgentError E_OTA_PACKAGE, E_OTA_GATE_GOLDEN, E_OTA_GATE_ACCURACY, E_OTA_GATE_MEMORY, E_OTA_GATE_LATENCY, E_OTA_GATE_ENERGY, E_OTA_LIMIT_*
 */
export function passGate(expected: PackageId, report: GateReport, rules: GateRules): void {
  if (report.name !== expected.name || report.version !== expected.version) {
    throw new AgentError('E_OTA_PACKAGE', `Expected package ${expected.name} ${expected.version} but the file is ${report.name} ${report.version}`);
  }
  checkGolden(report, rules);
  const { budget, memory_bytes: memory, p99_ms: p99, energy } = report;
  within('E_OTA_GATE_MEMORY', memory, budget.ram_bytes, (limit) => `Expected at most ${limit} bytes but the pipeline needs ${memory}`);
  within('E_OTA_LIMIT_MEMORY', memory, rules.ram_bytes, (limit) => `This device allows a pipeline ${limit} bytes (gate.ram_bytes) but it needs ${memory}`);
  within('E_OTA_GATE_LATENCY', p99, budget.p99_ms, (limit) => `Expected a p99 of at most ${limit} ms but measured ${p99?.toFixed(2)} ms`);
  within('E_OTA_LIMIT_LATENCY', p99, rules.p99_ms, (limit) => `This device allows a p99 of ${limit} ms (gate.p99_ms) but measured ${p99?.toFixed(2)} ms`);
  const joules = energy?.joules ?? null;
  const measured = `${joules?.toPrecision(3)} J (${energy?.source})`;
  within('E_OTA_GATE_ENERGY', joules, budget.joules, (limit) => `Expected at most ${limit} J for an inference but it took ${measured}`);
  within('E_OTA_LIMIT_ENERGY', joules, rules.joules, (limit) => `This device allows ${limit} J for an inference (gate.joules) but it took ${measured}`);
}

/**
 * Embeddings of two spaces cannot be compared, so with another embedder the enrolled people would be strangers.
 * @param lost people who would not be recognized any more
 * @throws AgentError E_OTA_GATE_SPACE
 */
export function passGallery({ name, version, embedding_space_id: space, gallery_plan: plan }: GateReport, lost: number): void {
  if (lost === 0 || plan !== null) return;
  throw new AgentError('E_OTA_GATE_SPACE', `${name} ${version} recognizes faces in the embedding space ${space}, and ${lost} people are enrolled in another one: it would know none of them. Pack it with --gallery-plan re-embed or enroll to have them enrolled again`);
}

function checkGolden({ golden, name, version }: GateReport, { allow_without_golden: allowed }: GateRules): void {
  if (golden.length === 0 && !allowed) {
    throw new AgentError('E_OTA_GATE_GOLDEN', `${name} ${version} has no golden vectors, so its results cannot be checked on this device. Pack it again with golden vectors, or publish it with the setting update.gate.allow_without_golden`);
  }
  const wrong = golden.filter((vector) => !vector.passed);
  if (wrong.length > 0) {
    throw new AgentError('E_OTA_GATE_ACCURACY', `${wrong.length} of ${golden.length} golden vectors failed: ${wrong.map((v) => `${v.name} (${v.detail})`).slice(0, 3).join(', ')}`);
  }
}

/** Refuses a value above its limit. If there is no limit, or if the value could not be measured, nothing is refused. */
function within(code: AgentErrorCode, value: number | null, limit: number | undefined, describe: (limit: number) => string): void {
  if (value !== null && limit !== undefined && !(value <= limit)) throw new AgentError(code, describe(limit));
}
