import type { Session } from '../session-types.js';

/** Sessions kept, the least recently used going first. */
const kept = 8;

/** The sessions of one model that was compiled for several shapes or values: those that ran last. */
export class RecentSessions<Kept extends Pick<Session, 'close'>> {
  private readonly sessions = new Map<string, Kept>();

  get(key: string): Kept | undefined {
    return this.sessions.get(key);
  }

  /** Notes that a session is used now. */
  set(key: string, session: Kept): void {
    this.sessions.delete(key);
    this.sessions.set(key, session);
  }

  /** The same; closes the one that was used longest ago when there are too many. */
  async use(key: string, session: Kept): Promise<void> {
    this.set(key, session);
    const [oldest] = this.sessions;
    if (oldest === undefined || this.sessions.size <= kept) return;
    this.sessions.delete(oldest[0]);
    await oldest[1].close();
  }

  async close(): Promise<void> {
    await Promise.all([...this.sessions.values()].map((session) => session.close()));
    this.sessions.clear();
  }
}
