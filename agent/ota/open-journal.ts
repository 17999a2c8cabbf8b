import { join } from 'node:path';
import { toCodedError, type CodedError } from '../errors.js';
import { cannotBeWritten, copyToMemory, moveAside, openOrRenew, volatileFault, type Sqlite } from '../platform/database.js';
import { endOfRun, takeRunEvidence, type LastRun } from '../platform/last-run.js';
import { JOURNAL_VERSION, journalVersion } from './journal-schema.js';
import { Journal } from './journal.js';

export interface OpenJournal {
  journal: Journal;
  lastRun: LastRun;
  close(): void;
}

/**
 * Opens the journal and begins a run in it. A damaged database is moved aside. One that cannot be written (full or read-only disk) is copied to
 * memory. In both cases the last model runs.
 * @param kernelBoot which start of the kernel this is; null when that cannot be told
 * @throws AgentError E_STATE_LOCKED, E_STATE
 */
export function openJournal(folder: string, kernelBoot: string | null, onFault: (error: CodedError) => void): OpenJournal {
  const path = join(folder, 'state.db');
  const begin = (db: Sqlite): OpenJournal => {
    try {
      const journal = new Journal(db, onFault);
      const before = journal.markRunning({ pid: process.pid, kernel_boot: kernelBoot, opening: {}, hung: [] });
      const lastRun = { ended: endOfRun(before, takeRunEvidence(folder, kernelBoot)), opening: before?.opening ?? {}, hung: before?.hung ?? [] };
      return { journal, lastRun, close: () => db.close() };
    } catch (error) {
      db.close();
      throw error;
    }
  };
  try {
    return begin(openReadable(path, onFault));
  } catch (error) {
    if (!cannotBeWritten(error)) throw error;
    onFault(volatileFault('The journal of updates', path, error));
    return begin(copyToMemory(path));
  }
}

/** A database that a newer agent wrote is moved aside like a damaged one; the second copy of the slots and the packages are still there. */
function openReadable(path: string, onFault: (error: CodedError) => void): Sqlite {
  const open = (): Sqlite => openOrRenew(path, { durability: 'full' }, (error) => onFault(toCodedError(error)));
  const db = open();
  const version = journalVersion(db);
  if (version <= JOURNAL_VERSION) return db;
  db.close();
  moveAside(path);
  onFault({ code: 'E_STATE_CORRUPT', message: `The journal ${path} has version ${version}, written by a newer agent; this one reads ${JOURNAL_VERSION}. It was moved aside` });
  return open();
}
