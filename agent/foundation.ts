/** What the daemon stands on: state folder, databases, clock, log, counters, faults. Opened first, closed last. */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { renameSync } from 'node:fs';
import type { Config } from './config/schema.js';
import { AgentError, toCodedError } from './errors.js';
import { EventSink } from './events/sink.js';
import { Faults } from './events/faults.js';
import { runtimePort } from './inference/runtime-port.js';
import type { Gallery, RuntimePort } from './inference/ports.js';
import { Journal } from './ota/journal.js';
import { Outbox } from './outbox/outbox.js';
import { systemClock, type Clock } from './platform/clock.js';
import { openOrRenew } from './platform/database.js';
import { hostFiles, type HostFiles } from './platform/host-files.js';
import { createLog, type Log } from './platform/log.js';
import { takeStateFolder } from './platform/state-folder.js';
import { Counters } from './telemetry/counters.js';

/** Parts that tests replace. */
export interface AgentDeps {
  runtime?: RuntimePort;
  clock?: Clock;
  files?: HostFiles;
  log?: Log;
  env?: NodeJS.ProcessEnv;
  /** Shorter back-offs for tests. */
  backoff?: { baseMs: number; capMs: number };
}

export interface Foundation {
  config: Config;
  runtime: RuntimePort;
  clock: Clock;
  files: HostFiles;
  log: Log;
  bootId: string;
  counters: Counters;
  faults: Faults;
  journal: Journal;
  outbox: Outbox;
  events: EventSink;
  gallery: Gallery;
  close(): void;
}

/** The file may be so much larger than the messages in it before SQLite itself says no. */
const FILE_OVERHEAD = 1.5;

/** @throws AgentError E_STATE_LOCKED, E_STATE, E_DISK_FULL; RuntimeError E_GALLERY for a gallery of a newer version */
export function layFoundation(config: Config, deps: AgentDeps): Foundation {
  const clock = deps.clock ?? systemClock();
  const log = deps.log ?? createLog(config.log_level);
  const counters = new Counters();
  const faults = new Faults(clock, log, counters);
  const runtime = deps.runtime ?? runtimePort(config, (warning) => faults.raise('pipeline', warning, 'warning'));
  const closers: (() => void)[] = [];
  const close = (): void => { for (const closer of closers.splice(0).reverse()) closer(); };
  try {
    const folder = takeStateFolder(config.state_dir);
    closers.push(() => folder.release());
    const damaged = (error: AgentError): void => faults.raise('agent', toCodedError(error));
    const stateDb = openOrRenew(join(folder.path, 'state.db'), { durability: 'full' }, damaged);
    closers.push(() => stateDb.close());
    const outboxDb = openOrRenew(join(folder.path, 'outbox.db'), { durability: 'normal', maxBytes: config.outbox.max_bytes * FILE_OVERHEAD }, damaged);
    closers.push(() => outboxDb.close());
    const outbox = new Outbox(outboxDb, config.outbox.max_bytes, (error) => faults.raise('outbox', error));
    const bootId = randomUUID();
    const events = new EventSink(outbox, clock, bootId, log);
    faults.connect(events);
    const gallery = openGalleryOrRenew(runtime, join(folder.path, 'gallery.db'), damaged);
    closers.push(() => gallery.close());
    return {
      config, runtime, clock, log, counters, faults, outbox, events, gallery, bootId, close,
      files: deps.files ?? hostFiles(), journal: new Journal(stateDb),
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** A damaged gallery costs the enrolments, not the device; the file is kept aside for whoever wants to save it. */
function openGalleryOrRenew(runtime: RuntimePort, path: string, onRenewed: (error: AgentError) => void): Gallery {
  try {
    return runtime.openGallery(path);
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : null;
    const code = cause !== null && 'code' in cause ? String(cause.code) : '';
    if (!code.startsWith('SQLITE_CORRUPT') && code !== 'SQLITE_NOTADB') throw error;
    renameSync(path, `${path}.corrupt`);
    onRenewed(new AgentError('E_STATE_CORRUPT', `The gallery ${path} is damaged; it was moved to ${path}.corrupt, and everybody must be enrolled again`, { cause: error }));
    return runtime.openGallery(path);
  }
}
