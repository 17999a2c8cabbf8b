import type { Log } from './log.js';

/** Messages to the service manager (sd_notify(3)). */
export interface ServiceManager {
  ready(status: string): void;
  status(text: string): void;
  stopping(): void;
  watchdog(): void;
  /** Longest time between two calls of `watchdog`, milliseconds; null when no watchdog looks. */
  readonly watchdogMs: number | null;
}

type Send = (state: string) => boolean;

/** Sends messages to systemd through the native addon. It does nothing outside systemd, or when the addon cannot be loaded. */
export async function systemdServiceManager(env: NodeJS.ProcessEnv, log: Log): Promise<ServiceManager> {
  let send: Send | null = env['NOTIFY_SOCKET'] === undefined ? null : await loadSender();
  const watchdogUs = Number(env['WATCHDOG_USEC']);
  const watched = send !== null && watchdogUs > 0 && (env['WATCHDOG_PID'] === undefined || Number(env['WATCHDOG_PID']) === process.pid);
  const tell = (state: string): void => {
    try {
      if (send !== null && !send(state)) log.warn('systemd did not take a notification', { state });
    } catch (error) {
      send = null;
      log.warn('systemd cannot be notified without the native addon: build it, or set Type=simple', { error: String(error) });
    }
  };
  return {
    ready: (status) => tell(`READY=1\nSTATUS=${status}`),
    status: (text) => tell(`STATUS=${text}`),
    stopping: () => tell('STOPPING=1'),
    watchdog: () => tell('WATCHDOG=1'),
    watchdogMs: watched ? watchdogUs / 1000 : null,
  };
}

/** Loads the addon only under systemd, because elsewhere it need not even be built. */
async function loadSender(): Promise<Send> {
  const { notifySystemd } = await import('../../kernels/binding/systemd.js');
  return notifySystemd;
}
