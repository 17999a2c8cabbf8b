import { chmodSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { z } from 'zod';
import { packageRef } from '../../agent/contracts/codec.js';
import type { DesiredPackage } from '../../agent/contracts/index.js';
import { openDatabase, type FleetDatabase } from '../database.js';
import { DeployError } from '../errors.js';
import type { RolloutNote, RolloutStep } from './machine.js';
import type { PlannedDevice } from './plan.js';
import { specSchema, type RolloutSpec } from './spec.js';
import { deviceSchema, isFinished, newRollout, stateSchema, WORKING, type DevicePhase, type RolloutDevice, type RolloutState } from './state.js';

/** What an operator may ask of a roll-out. */
export const requestKinds = ['pause', 'resume', 'abort'] as const;
export type RequestKind = (typeof requestKinds)[number];

export interface RolloutRequest { kind: RequestKind; by: string }

export interface Rollout {
  id: string;
  fleet: string;
  package: DesiredPackage;
  spec: RolloutSpec;
  state: RolloutState;
  created_ms: number;
  created_by: string;
}

export interface StoredStep extends RolloutStep { rollout: Rollout }

export interface LoggedNote extends RolloutNote { time_ms: number }

const MIGRATIONS = [`
  CREATE TABLE rollout (
    id TEXT PRIMARY KEY, fleet TEXT NOT NULL, package TEXT NOT NULL, spec TEXT NOT NULL, state TEXT NOT NULL, finished INTEGER NOT NULL,
    created_ms INTEGER NOT NULL, created_by TEXT NOT NULL
  ) STRICT;
  CREATE TABLE device (
    rollout_id TEXT NOT NULL REFERENCES rollout (id) ON DELETE CASCADE, device TEXT NOT NULL, pipeline TEXT NOT NULL, wave INTEGER NOT NULL, offset_ms INTEGER NOT NULL,
    phase TEXT NOT NULL, changed_ms INTEGER NOT NULL, asked_ms INTEGER, generation INTEGER, error TEXT, before TEXT,
    PRIMARY KEY (rollout_id, device)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX device_phase ON device (rollout_id, phase, wave, offset_ms);
  CREATE INDEX device_name ON device (device, rollout_id);
  CREATE TABLE note (
    id INTEGER PRIMARY KEY, rollout_id TEXT NOT NULL REFERENCES rollout (id) ON DELETE CASCADE,
    time_ms INTEGER NOT NULL, kind TEXT NOT NULL, wave INTEGER, by_whom TEXT, text TEXT NOT NULL
  ) STRICT;
  CREATE TABLE request (
    id INTEGER PRIMARY KEY, rollout_id TEXT NOT NULL REFERENCES rollout (id) ON DELETE CASCADE, kind TEXT NOT NULL, by_whom TEXT NOT NULL, time_ms INTEGER NOT NULL
  ) STRICT;
`];

const wantedSchema = packageRef.extend({ block_bytes: z.number() });

interface RolloutRow { id: string; fleet: string; package: string; spec: string; state: string; created_ms: number; created_by: string }
type DeviceRow = Omit<RolloutDevice, 'error' | 'before'> & { error: string | null; before: string | null };

/** Roll-outs in SQLite. The server of a fleet alone steps them; commands and pages read, and leave requests. A committed step survives a power cut. */
export class RolloutStore {
  readonly #db: FleetDatabase;

  /** @param path a file, or ':memory:'. @throws DeployError E_ROLLOUT */
  constructor(path: string) {
    if (path !== ':memory:') mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    this.#db = openDatabase(path, { migrations: MIGRATIONS, durability: 'full', code: 'E_ROLLOUT', user: 'A roll-out' });
    if (path !== ':memory:') chmodSync(path, 0o600);
  }

  close(): void {
    this.#db.close();
  }

  /**
   * Begins a roll-out. A device can be in one unfinished roll-out at a time.
   * @throws DeployError E_ROLLOUT
   */
  create(begun: Omit<Rollout, 'state'>, devices: readonly PlannedDevice[]): Rollout {
    const state = newRollout(begun.spec.waves.map((_wave, wave) => devices.filter((device) => device.wave === wave).length));
    return this.#db.transaction((): Rollout => {
      if (this.find(begun.id) !== null) throw new DeployError('E_ROLLOUT', `There is a roll-out ${begun.id} already: choose another --id`);
      const { id, fleet, spec, created_ms, created_by } = begun;
      this.#db.prepare('INSERT INTO rollout (id, fleet, package, spec, state, finished, created_ms, created_by) VALUES (?, ?, ?, ?, ?, 0, ?, ?)')
        .run(id, fleet, JSON.stringify(begun.package), JSON.stringify(spec), JSON.stringify(state), created_ms, created_by);
      const busy = this.#db.prepare<[string, string], { id: string }>('SELECT rollout.id FROM rollout JOIN device ON device.rollout_id = rollout.id WHERE device.device = ? AND rollout.fleet = ? AND finished = 0');
      const insert = this.#db.prepare("INSERT INTO device (rollout_id, device, pipeline, wave, offset_ms, phase, changed_ms) VALUES (?, ?, ?, ?, ?, 'waiting', ?)");
      for (const { device, pipeline, wave, offset_ms } of devices) {
        const other = busy.get(device, fleet);
        if (other !== undefined) throw new DeployError('E_ROLLOUT', `${device} is in the roll-out ${other.id}, which is not finished. Wait for its end, or abort it: sterna rollout abort ${other.id}`);
        insert.run(id, device, pipeline, wave, offset_ms, created_ms);
      }
      return { ...begun, state };
    });
  }

  /** Newest first. */
  list(fleet?: string): Rollout[] {
    const rows = fleet === undefined
      ? this.#db.prepare<[], RolloutRow>('SELECT * FROM rollout ORDER BY created_ms DESC, id').all()
      : this.#db.prepare<[string], RolloutRow>('SELECT * FROM rollout WHERE fleet = ? ORDER BY created_ms DESC, id').all(fleet);
    return rows.map(toRollout);
  }

  /** Ids of the unfinished roll-outs of a fleet, oldest first. */
  unfinished(fleet: string): string[] {
    return this.#db.prepare<[string], { id: string }>('SELECT id FROM rollout WHERE fleet = ? AND finished = 0 ORDER BY created_ms, id').all(fleet).map(({ id }) => id);
  }

  find(id: string): Rollout | null {
    const row = this.#db.prepare<[string], RolloutRow>('SELECT * FROM rollout WHERE id = ?').get(id);
    return row === undefined ? null : toRollout(row);
  }

  devices(id: string): RolloutDevice[] {
    return this.#db.prepare<[string], DeviceRow>('SELECT * FROM device WHERE rollout_id = ? ORDER BY wave, offset_ms, device').all(id).map(toDevice);
  }

  device(id: string, device: string): RolloutDevice | null {
    const row = this.#db.prepare<[string, string], DeviceRow>('SELECT * FROM device WHERE rollout_id = ? AND device = ?').get(id, device);
    return row === undefined ? null : toDevice(row);
  }

  /** Ids of the unfinished roll-outs of a fleet that have this device. */
  of(fleet: string, device: string): string[] {
    return this.#db.prepare<[string, string], { id: string }>('SELECT rollout.id FROM device JOIN rollout ON rollout.id = device.rollout_id WHERE device.device = ? AND rollout.fleet = ? AND finished = 0')
      .all(device, fleet).map(({ id }) => id);
  }

  /** Devices whose start has come. */
  due({ id, state }: Pick<Rollout, 'id' | 'state'>, nowMs: number, limit: number): RolloutDevice[] {
    const query = this.#db.prepare<[string, number, number, number], DeviceRow>("SELECT * FROM device WHERE rollout_id = ? AND phase = 'waiting' AND wave = ? AND offset_ms <= ? ORDER BY offset_ms LIMIT ?");
    return state.waves.slice(0, state.wave + 1).flatMap(({ opened_ms }, wave) => (opened_ms === null ? [] : query.all(id, wave, nowMs - opened_ms, limit))).slice(0, limit).map(toDevice);
  }

  /** Devices in one of these phases; `beforeMs`: since before this time only. */
  inPhases(id: string, phases: readonly DevicePhase[], { limit, beforeMs = Number.MAX_SAFE_INTEGER }: { limit: number; beforeMs?: number }): RolloutDevice[] {
    const marks = phases.map(() => '?').join(', ');
    return this.#db.prepare<unknown[], DeviceRow>(`SELECT * FROM device WHERE rollout_id = ? AND phase IN (${marks}) AND changed_ms < ? ORDER BY changed_ms, device LIMIT ?`)
      .all(id, ...phases, beforeMs, limit).map(toDevice);
  }

  /** Devices for which the fleet side has work to do. */
  working(id: string, limit: number): RolloutDevice[] {
    return this.inPhases(id, WORKING, { limit });
  }

  /** Asks the server for something; it is done at the server's next look. @throws DeployError E_ROLLOUT */
  request(id: string, { kind, by }: RolloutRequest, nowMs: number): void {
    const { state } = this.require(id);
    if (isFinished(state)) throw new DeployError('E_ROLLOUT', `The roll-out ${id} is ${state.phase}: there is nothing to ${kind}`, { details: { id, phase: state.phase } });
    this.#db.prepare('INSERT INTO request (rollout_id, kind, by_whom, time_ms) VALUES (?, ?, ?, ?)').run(id, kind, by, nowMs);
  }

  /** The oldest request that is not done yet, or null. */
  nextRequest(id: string): (RolloutRequest & { request: number }) | null {
    return this.#db.prepare<[string], RolloutRequest & { request: number }>('SELECT id AS request, kind, by_whom AS by FROM request WHERE rollout_id = ? ORDER BY id LIMIT 1').get(id) ?? null;
  }

  /** @throws DeployError E_ROLLOUT */
  require(id: string): Rollout {
    const found = this.find(id);
    if (found !== null) return found;
    const known = this.list().map((rollout) => rollout.id);
    throw new DeployError('E_ROLLOUT', `There is no roll-out ${id}; ${known.length === 0 ? 'there are none here' : `these are here: ${known.slice(0, 20).join(', ')}`}`, { details: { id, known } });
  }

  /**
   * One step: reads state and row, and stores what `step` makes of them, all or nothing. `request`: the one that it carries out.
   * Returns it with the roll-out as it is afterwards; null when roll-out or device is unknown.
   */
  step(id: string, { device, request, nowMs }: { device?: string; request?: number; nowMs: number }, step: (rollout: Rollout, device: RolloutDevice | null) => RolloutStep): StoredStep | null {
    return this.#db.transaction((): StoredStep | null => {
      const rollout = this.find(id);
      const row = device === undefined ? null : this.device(id, device);
      if (rollout === null || (device !== undefined && row === null)) return null;
      const next = step(rollout, row);
      if (next.state !== rollout.state) this.#db.prepare('UPDATE rollout SET state = ?, finished = ? WHERE id = ?').run(JSON.stringify(next.state), isFinished(next.state) ? 1 : 0, id);
      if (next.device !== null) this.#write(id, next.device);
      for (const { kind, wave, by, text } of next.notes) this.#db.prepare('INSERT INTO note (rollout_id, time_ms, kind, wave, by_whom, text) VALUES (?, ?, ?, ?, ?, ?)').run(id, nowMs, kind, wave, by, text);
      if (request !== undefined) this.#db.prepare('DELETE FROM request WHERE id = ?').run(request);
      return { ...next, rollout: { ...rollout, state: next.state } };
    });
  }

  /** What happened to it, oldest first. */
  notes(id: string): LoggedNote[] {
    return this.#db.prepare<[string], LoggedNote>('SELECT time_ms, kind, wave, by_whom AS by, text FROM note WHERE rollout_id = ? ORDER BY id').all(id);
  }

  #write(id: string, { device, phase, changed_ms, asked_ms, generation, error, before }: RolloutDevice): void {
    const text = (value: unknown): string | null => (value === null ? null : JSON.stringify(value));
    this.#db.prepare('UPDATE device SET phase = ?, changed_ms = ?, asked_ms = ?, generation = ?, error = ?, before = ? WHERE rollout_id = ? AND device = ?')
      .run(phase, Math.round(changed_ms), asked_ms === null ? null : Math.round(asked_ms), generation, text(error), text(before), id, device);
  }
}

function toRollout({ package: wanted, spec, state, ...row }: RolloutRow): Rollout {
  return {
    id: row.id, fleet: row.fleet, created_ms: row.created_ms, created_by: row.created_by,
    package: wantedSchema.parse(JSON.parse(wanted)), spec: specSchema.parse(JSON.parse(spec)), state: stateSchema.parse(JSON.parse(state)),
  };
}

function toDevice({ error, before, ...row }: DeviceRow): RolloutDevice {
  const value = (text: string | null): unknown => (text === null ? null : JSON.parse(text));
  return deviceSchema.parse({ ...row, error: value(error), before: value(before) });
}
