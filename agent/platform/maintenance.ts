import { createTask, type ScheduledTask } from 'node-cron';

export interface MaintenanceWindow {
  /** When the window opens: five cron fields, in local time. */
  start: string;
  minutes: number;
}

const MINUTE_MS = 60_000;

/** Times in which something may be done. Without any window, it may always be done. */
export class MaintenanceWindows {
  readonly #windows: { task: ScheduledTask; minutes: number }[];
  #judged: { minute: number; open: boolean } | null = null;

  constructor(windows: readonly MaintenanceWindow[]) {
    this.#windows = windows.map(({ start, minutes }) => ({ task: createTask(start, () => undefined), minutes }));
  }

  /** Looks back for an opening whose window has not ended, because the device may have been off when it opened. */
  isOpen(now: Date): boolean {
    if (this.#windows.length === 0) return true;
    const minute = Math.floor(now.getTime() / MINUTE_MS);
    if (this.#judged?.minute === minute) return this.#judged.open;
    const open = this.#windows.some(({ task, minutes }) => {
      for (let ago = 0; ago < minutes; ago++) if (task.match(new Date((minute - ago) * MINUTE_MS))) return true;
      return false;
    });
    this.#judged = { minute, open };
    return open;
  }
}
