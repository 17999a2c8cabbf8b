/**
 * Kills a device at random moments of its updates, and looks after each kill at what is left. The moments are even over the time that an update takes
 * here, as measured in the run of this device that was left alone last. Seeded: the same seed chooses the same moments, as shares of that time.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { random } from '../../runtime/support/random.js';
import { packageBytes } from '../support/fake-runtime.js';
import { deviceScript } from '../support/bundle.js';

export interface KillPlan {
  folder: string;
  seed: number;
  kills: number;
  camera: boolean;
  /** An update is killed between once and so many times. */
  mostPerUpdate: number;
}

export interface KillReport {
  kills: number;
  updates: number;
  committed: number;
  /** In which phase the kills were, as far as the device had said; `starting` is before its model ran. */
  phases: Record<string, number>;
  frames: number;
  /** What must never happen, in words. */
  violations: string[];
}

interface Line {
  atStart?: string;
  phase?: string;
  action?: string;
  version?: string;
  code?: string | null;
  running?: string | null;
  frames?: number;
}

interface Run {
  killed: boolean;
  lines: Line[];
  /** From the line that says what runs to the end. */
  workMs: number;
  startMs: number;
}

export class Killer {
  readonly #plan: KillPlan;
  readonly #next: () => number;
  readonly #report: KillReport = { kills: 0, updates: 0, committed: 0, phases: {}, frames: 0, violations: [] };
  #startMs = 500;
  #workMs = 500;

  constructor(plan: KillPlan) {
    this.#plan = plan;
    this.#next = random(plan.seed);
  }

  async run(): Promise<KillReport> {
    await this.#update(1, 0);
    for (let generation = 2; this.#report.kills < this.#plan.kills; generation++) {
      const kills = 1 + Math.floor(this.#next() * this.#plan.mostPerUpdate);
      await this.#update(generation, Math.min(kills, this.#plan.kills - this.#report.kills));
    }
    return this.#report;
  }

  /** Offers one good package, kills the device so many times meanwhile, and then lets it finish. */
  async #update(generation: number, kills: number): Promise<void> {
    const [before, version] = [`${generation - 1}.0.0`, `${generation}.0.0`];
    const bytes = packageBytes({ name: 'faces', version, padding: 2000 + Math.floor(this.#next() * 20_000) });
    writeFileSync(join(this.#plan.folder, version), bytes);
    this.#report.updates += 1;
    let allowed = generation === 1 ? ['none'] : [before, version];
    for (let left = kills, last = kills === 0; ;) {
      const run = await this.#device(generation, version, last ? null : this.#moment());
      allowed = this.#judge(run, { allowed, version, fresh: generation === 1 });
      this.#lookAtFiles(generation === 1 ? null : before, version);
      if (!run.killed) return this.#finish(run, version);
      left -= 1;
      last = left <= 0;
    }
  }

  /** Two thirds in the work on the update, the others from the start of the process on. */
  #moment(): { afterStart: boolean; ms: number } {
    const afterStart = this.#next() < 0.67;
    return { afterStart, ms: this.#next() * (afterStart ? this.#workMs : this.#startMs + this.#workMs) };
  }

  #device(generation: number, offer: string, kill: { afterStart: boolean; ms: number } | null): Promise<Run> {
    const { folder, camera } = this.#plan;
    const began = performance.now();
    const child = spawn(process.execPath, [deviceScript, folder, String(generation), offer, camera ? 'camera' : ''], {
      env: { ...process.env, STERNA_FAULT: '', STERNA_TEST_APART: '1' }, stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [out, err, startedMs] = ['', '', 0];
    let timer: NodeJS.Timeout | undefined;
    const arm = (): void => { timer ??= kill === null ? undefined : setTimeout(() => child.kill('SIGKILL'), kill.ms); };
    if (kill?.afterStart === false) arm();
    child.stderr.on('data', (piece: Buffer) => { err += piece.toString(); });
    child.stdout.on('data', (piece: Buffer) => {
      out += piece.toString();
      if (startedMs > 0 || !out.includes('"atStart"')) return;
      startedMs = performance.now();
      arm();
    });
    return new Promise((resolve, reject) => {
      child.once('close', (code, signal) => {
        clearTimeout(timer);
        if (signal !== 'SIGKILL' && code !== 0) return reject(new Error(`the device ended with ${code ?? signal ?? ''}: ${err}`));
        resolve({ killed: signal === 'SIGKILL', lines: linesOf(out), startMs: startedMs - began, workMs: performance.now() - startedMs });
      });
    });
  }

  /** @returns which versions may run first at the next start */
  #judge({ killed, lines }: Run, { allowed, version, fresh }: { allowed: string[]; version: string; fresh: boolean }): string[] {
    const { phases, violations } = this.#report;
    const atStart = lines.find((line) => line.atStart !== undefined)?.atStart;
    const activated = lines.some((line) => line.action === 'activated');
    if (atStart !== undefined && !allowed.includes(atStart)) violations.push(`${atStart} ran first, but ${allowed.join(' or ')} was accepted`);
    for (const line of lines) {
      if (line.action !== undefined && line.action !== 'activated') violations.push(`${line.version ?? ''} was ${line.action}: ${line.code ?? 'no code'}`);
    }
    if (killed) {
      this.#report.kills += 1;
      const phase = atStart === undefined ? 'starting' : lines.findLast((line) => line.phase !== undefined)?.phase ?? 'at rest';
      phases[phase] = (phases[phase] ?? 0) + 1;
    }
    return atStart === version || activated ? [version] : fresh ? ['none', version] : allowed;
  }

  /** Without the device's own code: every package hashes to its name, and the one that was accepted before is there. */
  #lookAtFiles(before: string | null, version: string): void {
    const folder = join(this.#plan.folder, 'packages');
    const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.sterna')) : [];
    for (const name of names) {
      if (`${sha256(join(folder, name))}.sterna` !== name) this.#report.violations.push(`the file ${name} is damaged in the update to ${version}`);
    }
    if (before !== null && !names.includes(`${sha256(join(this.#plan.folder, before))}.sterna`)) this.#report.violations.push(`the file of ${before} is gone in the update to ${version}`);
  }

  #finish({ lines, startMs, workMs }: Run, version: string): void {
    const end = lines.at(-1);
    if (end?.phase === 'committed' && end.running === version) this.#report.committed += 1;
    else this.#report.violations.push(`the update to ${version} ended ${end?.phase ?? 'without a word'}: ${end?.code ?? 'no code'}`);
    this.#report.frames += end?.frames ?? 0;
    this.#startMs = startMs;
    this.#workMs = Math.max(50, workMs);
  }
}

function sha256(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** A kill may cut the last line off. */
function linesOf(out: string): Line[] {
  return out.split('\n').slice(0, -1).map((line) => JSON.parse(line) as Line);
}
