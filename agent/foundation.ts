/**
 * The parts on which all others of the daemon are built: state folder, databases, clock, log, counters, faults. They are opened first and closed
 * last.
 */
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { loadToken, TOKEN_FILE } from './api/auth.js';
import { rootFiles } from './config/root-files.js';
import type { Config } from './config/schema.js';
import { toCodedError, type AgentError } from './errors.js';
import { EventSink } from './events/sink.js';
import { Faults } from './events/faults.js';
import { DeviceGallery } from './gallery/device-gallery.js';
import { EnrolmentPictures } from './gallery/pictures.js';
import { runtimePort } from './inference/runtime-port.js';
import type { GalleryKeySource, RuntimePort } from './ground/runtime.js';
import { Lifecycle, type StopFailure } from '../runtime/lifecycle.js';
import type { Journal } from './ota/journal.js';
import { diskCodes } from './ota/failure.js';
import { openJournal, type OpenJournal } from './ota/open-journal.js';
import { openLedger, openMemoryLedger } from './outbox/ledger.js';
import { Outbox } from './outbox/outbox.js';
import { systemBootClock, systemClock, type BootClock, type Clock } from './platform/clock.js';
import { credentialFile } from './platform/credentials.js';
import { openOrRenew } from './platform/database.js';
import { hostFiles, type HostFiles } from './platform/host-files.js';
import { createLog, type Log } from './platform/log.js';
import { keepPrivate, takeStateFolder } from './platform/state-folder.js';
import { Counters, deviceCounterNames, type DeviceCounters } from './ground/counters.js';
import { Trust } from './trust/trust.js';

/** Parts that tests replace. */
export interface AgentDeps {
  runtime?: RuntimePort;
  clock?: Clock;
  bootClock?: BootClock;
  files?: HostFiles;
  log?: Log;
  env?: NodeJS.ProcessEnv;
  /** Delays between attempts to connect and reopen; tests give shorter ones. */
  backoff?: { baseMs: number; capMs: number };
  /** Milliseconds between attempts to write on a full disk; tests give less. */
  diskRetryMs?: number;
  /** Aborts the start: everything that was started is stopped, and `startAgent` rejects with the signal's reason. */
  signal?: AbortSignal;
}

export interface Foundation {
  config: Config;
  runtime: RuntimePort;
  clock: Clock;
  files: HostFiles;
  log: Log;
  bootId: string;
  counters: DeviceCounters;
  faults: Faults;
  journal: Journal;
  /** Verifies every message that would change this device. */
  trust: Trust;
  /** How the run of the daemon before this one ended. */
  lastRun: OpenJournal['lastRun'];
  outbox: Outbox;
  events: EventSink;
  gallery: DeviceGallery;
  /** Pictures from which people were enrolled; null when the configuration keeps none. */
  pictures: EnrolmentPictures | null;
  /** Where the gallery is, so that another process of this daemon can open it. */
  galleryFile: { path: string; key: GalleryKeySource };
  /** Bearer token of the local API. */
  token: string;
  /** Closes what is open, in the reverse order. The daemon adds its own parts to it. */
  lifecycle: Lifecycle;
}

/** How much larger than its messages the outbox's file may become before SQLite refuses to write. */
const FILE_OVERHEAD = 1.5;
/** Within this time everything is stopped. `main.ts` ends the process at 10 s. */
const STOP_BUDGET_MS = 8000;

/** Name of the credential, and of the file in the state folder. */
const GALLERY_KEY_FILE = 'gallery.key';

/** @throws AgentError E_STATE_LOCKED, E_STATE, E_DISK_FULL, E_CONFIG */
export function layFoundation(config: Config, deps: AgentDeps): Foundation {
  const clock = deps.clock ?? systemClock();
  const log = deps.log ?? createLog(config.log_level);
  const counters = new Counters(deviceCounterNames);
  const faults = new Faults(clock, log, counters);
  const runtime = deps.runtime ?? runtimePort(config, (warning) => faults.raise('pipeline', warning, 'warning'));
  const lifecycle = new Lifecycle({ budgetMs: STOP_BUDGET_MS, onFailure: (failure) => logStopFailure(log, failure) });
  try {
    const folder = takeStateFolder(config.state_dir, (error) => faults.raise('agent', toCodedError(error)));
    lifecycle.add({ name: 'state folder', stop: () => folder.release() });
    const damaged = (error: AgentError): void => faults.raise('agent', toCodedError(error));
    const bootClock = deps.bootClock ?? systemBootClock();
    const { journal, lastRun, close: closeJournal } = openJournal(folder.path, bootClock.id, (error) => faults.raise('ota', error));
    lifecycle.add({ name: 'state.db', stop: closeJournal });
    const outbox = new Outbox({
      open: () => openOrRenew(join(folder.path, 'outbox.db'), { durability: 'normal', maxBytes: config.outbox.max_bytes * FILE_OVERHEAD }, damaged),
      ledger: () => openLedger(join(folder.path, 'outbox.ledger')),
      memoryLedger: () => openMemoryLedger(folder.path, deps.env ?? process.env),
      maxBytes: config.outbox.max_bytes, boot: bootClock,
      onFault: (error) => faults.raise('outbox', error),
      onRecovered: () => { for (const code of ['E_DISK_FULL', 'E_STATE_READ_ONLY', 'E_STATE', 'E_STATE_LOCKED']) faults.clear('outbox', code); },
    });
    lifecycle.add({ name: 'outbox', stop: () => outbox.close() });
    const bootId = randomUUID();
    const events = new EventSink(outbox, clock, bootId, log);
    faults.connect(events);
    const env = deps.env ?? process.env;
    const galleryFile = { path: join(folder.path, 'gallery.db'), key: gallerySource(folder.path, config, env) };
    const gallery = DeviceGallery.open(runtime, galleryFile.path, galleryFile.key, faults);
    lifecycle.add({ name: 'gallery', stop: () => gallery.close() });
    const enrolled = new EnrolmentPictures(join(folder.path, 'enrolled'), galleryFile.key.file);
    gallery.onRemoved = (id) => enrolled.forget(id); // Earlier runs may have kept pictures, even if this one does not.
    const pictures = config.gallery.keep_pictures ? enrolled : null;
    const token = loadToken({ stateDir: folder.path, tokenFile: credentialFile(env, TOKEN_FILE) ?? config.api.token_file }, damaged);
    const trust = openTrust(folder.path, config, { clock, faults, journal: journal.trust });
    keepPrivate(folder.path, (error) => log.warn('the rights of the state folder cannot be changed', { ...toCodedError(error) }));
    return {
      config, token, trust, runtime, clock, log, counters, faults, outbox, events, gallery, galleryFile, pictures, bootId, lifecycle,
      files: deps.files ?? hostFiles(), journal, lastRun,
    };
  } catch (error) {
    void lifecycle.stop(); // Everything that was opened so far closes synchronously, so the promise need not be awaited.
    throw error;
  }
}

/** Opens the trusted roots. Without a broker no message can arrive, so missing roots are then no fault. */
function openTrust(folder: string, { trust, fleet, device_id: device, broker }: Config, { clock, faults, journal }: { clock: Clock; faults: Faults; journal: Journal['trust'] }): Trust {
  const roots = rootFiles(folder, trust);
  return Trust.open({ identity: { fleet, device, hardwareId: trust.hardware_id }, roots, unsigned: trust.unsigned, settingsRule: trust.settings_by }, {
    journal, clock,
    onFault: (error, severity) => { if (broker.url !== null) faults.raise('ota', error, severity); },
    onSaved: () => { for (const code of diskCodes) faults.clear('ota', code); },
  });
}

function logStopFailure(log: Log, { part, error, timedOut }: StopFailure): void {
  const { code, message } = toCodedError(error);
  log.error('a part of the daemon did not stop properly', { part, code: timedOut ? 'E_STOP_TIMEOUT' : code, error: message });
}

/** Where the gallery's key is. A key that somebody else provides is only read; the one in the state folder is made at the first start. */
function gallerySource(folder: string, config: Config, env: NodeJS.ProcessEnv): GalleryKeySource {
  const given = credentialFile(env, GALLERY_KEY_FILE) ?? config.gallery.key_file;
  return given === undefined ? { file: join(folder, GALLERY_KEY_FILE), create: true } : { file: given, create: false };
}
