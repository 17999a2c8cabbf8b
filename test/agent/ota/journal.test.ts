import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { Journal } from '../../../agent/ota/journal.js';
import { JOURNAL_VERSION, journalVersion } from '../../../agent/ota/journal-schema.js';
import { initialOtaState, type OtaState } from '../../../agent/ota/state.js';
import { openJournal } from '../../../agent/ota/open-journal.js';
import { encodeState } from '../../../agent/ota/stored-state.js';
import { openDatabase, type Sqlite } from '../../../agent/platform/database.js';
import { temporaryFolder } from '../support/tools.js';

const active = { name: 'faces', version: '1.0.0', digest: 'ab'.repeat(32), size_bytes: 7, since_ms: 1 };
const state: OtaState = { ...initialOtaState, phase: 'committed', generation_seen: 3, generation_applied: 3, active };

function database(folder: string): Sqlite {
  const db = openDatabase(join(folder, 'state.db'), { durability: 'full' });
  onTestFinished(() => { if (db.open) db.close(); });
  return db;
}

/** As the version before wrote it, in the middle of a run. */
function writeVersion0(db: Sqlite): void {
  db.exec(`
    CREATE TABLE value (key TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT;
    CREATE TABLE transition (id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, phase TEXT NOT NULL, event TEXT NOT NULL) STRICT;
    CREATE TABLE download (digest TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL, block_bytes INTEGER NOT NULL, bitmap BLOB NOT NULL) STRICT;
    CREATE TABLE command (id TEXT PRIMARY KEY, time_ms INTEGER NOT NULL, response TEXT NOT NULL) STRICT;
    INSERT INTO transition VALUES (5, 100, 'committed', 'shadowed');
    INSERT INTO download VALUES ('cd', 1000, 256, x'03');
    INSERT INTO command VALUES ('c1', 100, '{"ok":true}');`);
  const put = db.prepare('INSERT INTO value (key, json) VALUES (?, ?)');
  put.run('ota', JSON.stringify(encodeState({ sequence: 4, state })));
  put.run('settings', '{"fps":5}');
  put.run('birth_seq', '41');
  put.run('settings.unread', '{"fps":"?"}');
  put.run('running', JSON.stringify({ pid: 7, kernel_boot: 'one', opening: 'cd', hung: true }));
}

describe('a journal of the version with one pipeline', () => {
  it('becomes that of the pipeline main, and nothing of it is lost', () => {
    const db = database(temporaryFolder());
    writeVersion0(db);
    const journal = new Journal(db);
    const main = journal.of('main');
    expect(main.load()).toEqual({ kind: 'sound', value: { sequence: 4, state } });
    expect(main.settings()).toEqual({ fps: 5 });
    expect(main.progress('cd')).toEqual({ digest: 'cd', size_bytes: 1000, block_bytes: 256, bitmap: Buffer.from([3]) });
    expect(main.transitions()).toEqual([{ time_ms: 100, phase: 'committed', event: 'shadowed' }]);
    expect(journal.nextBirth(0)).toBe(42);
    expect(journal.response('c1')).toEqual({ ok: true });
    expect(journal.markRunning({ pid: 8, kernel_boot: 'one', opening: {}, hung: [] })).toEqual({ pid: 7, kernel_boot: 'one', opening: { main: 'cd' }, hung: ['main'] });
    expect(db.prepare('SELECT key FROM unread').all()).toEqual([{ key: 'settings.unread' }]);
    expect(journal.of('back').load()).toEqual({ kind: 'none' });
    expect(journalVersion(db)).toBe(JOURNAL_VERSION);
  });
});

describe('the journal', () => {
  it('numbers connections by the clock at least, so that a new journal goes on above the numbers of one that was lost', () => {
    const db = database(temporaryFolder());
    const journal = new Journal(db);
    const nowMs = 1_800_000_000_000;
    expect([journal.nextBirth(nowMs), journal.nextBirth(nowMs), journal.nextBirth(0), journal.nextBirth(nowMs + 10_000)]).toEqual([1_800_000_000, 1_800_000_001, 1_800_000_002, 1_800_000_010]);
    expect(new Journal(db).nextBirth(0)).toBe(1_800_000_011);
    expect(new Journal(database(temporaryFolder())).nextBirth(nowMs + 60_000)).toBe(1_800_000_060);
    const wrong = new Journal(database(temporaryFolder()));
    expect([wrong.nextBirth(-1), wrong.nextBirth(8.64e18), wrong.nextBirth(0)]).toEqual([1, 2 ** 40, 2 ** 40 + 1]);
  });

  it('keeps pipelines apart', () => {
    const journal = new Journal(database(temporaryFolder()));
    const [front, back] = [journal.of('front'), journal.of('back')];
    front.save(state, { event: 'shadowed', timeMs: 1, sequence: 1 });
    front.saveSettings({ fps: 9 });
    for (const one of [front, back]) one.saveProgress({ digest: 'cd', size_bytes: 9, block_bytes: 3, bitmap: Buffer.from([one === front ? 1 : 2]) });
    back.forgetProgressExcept(null);
    expect([front.load().kind, back.load().kind, back.settings(), front.progress('cd')?.bitmap, back.progress('cd')]).toEqual(['sound', 'none', {}, Buffer.from([1]), null]);
    for (let i = 0; i < 250; i++) back.save(state, { event: `${i}`, timeMs: i, sequence: 1 });
    expect([front.transitions().length, back.transitions().length, back.transitions().at(-1)?.event]).toEqual([1, 200, '249']);
  });

  it('notes which pipeline opens what, and forgets it at an orderly end', () => {
    const folder = temporaryFolder();
    const first = openJournal(folder, 'one', () => undefined);
    first.journal.noteOpening('front', 'aa');
    first.journal.noteOpening('back', 'bb');
    first.journal.noteOpening('front', null);
    first.close();
    const second = openJournal(folder, 'one', () => undefined);
    expect(second.lastRun).toEqual({ ended: 'killed', opening: { back: 'bb' }, hung: [] });
    second.journal.markStopped();
    second.close();
    const third = openJournal(folder, 'one', () => undefined);
    expect(third.lastRun).toEqual({ ended: 'clean', opening: {}, hung: [] });
    third.close();
  });

  it('of a newer version is moved aside', () => {
    const folder = temporaryFolder();
    const db = database(folder);
    db.exec('CREATE TABLE deployment (something TEXT); PRAGMA user_version = 9');
    db.close();
    const faults: string[] = [];
    const { journal, close } = openJournal(folder, null, ({ code }) => faults.push(code));
    expect([faults, journal.of('main').load()]).toEqual([['E_STATE_CORRUPT'], { kind: 'none' }]);
    close();
  });
});
