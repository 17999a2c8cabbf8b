import type { Log } from './log.js';

/** The service manager's side channel (sd_notify(3)). */
export interface ServiceManager {
  ready(status: string): void;
  status(text: string): void;
  stopping(): void;
  watchdog(): void;
  /** Longest time between two `watchdog` calls, milliseconds; null when nobody watches. */
  readonly watchdogMs: number | null;
}

/** Loaded only under systemd: elsewhere the addon need not even be built. */
const SENDER_MODULE: string = new URL('../../kernels/systemd.js', import.meta.url).href;

type Send = (state: string) => boolean;

/** Speaks to systemd through the native addon; does nothing outside systemd or without the addon. */
export async function systemdServiceManager(env: NodeJS.ProcessEnv, log: Log): Promise<ServiceManager> {
  const send = env['NOTIFY_SOCKET'] === undefined ? null : await loadSender(log);
  const watchdogUs = Number(env['WATCHDOG_USEC']);
  const watched = send !== null && watchdogUs > 0 && (env['WATCHDOG_PID'] === undefined || Number(env['WATCHDOG_PID']) === process.pid);
  const tell = (state: string): void => {
    if (send !== null && !send(state)) log.warn('systemd did not take a notification', { state });
  };
  return {
    ready: (status) => tell(`READY=1\nSTATUS=${status}`),
    status: (text) => tell(`STATUS=${text}`),
    stopping: () => tell('STOPPING=1'),
    watchdog: () => tell('WATCHDOG=1'),
    watchdogMs: watched ? watchdogUs / 1000 : null,
  };
}

async function loadSender(log: Log): Promise<Send | null> {
  try {
    const addon: unknown = await import(SENDER_MODULE);
    if (typeof addon === 'object' && addon !== null && 'notifySystemd' in addon && typeof addon.notifySystemd === 'function') {
      const { notifySystemd } = addon;
      return (state) => notifySystemd(state) === true;
    }
    throw new Error(`${SENDER_MODULE} has no notifySystemd`);
  } catch (error) {
    log.warn('started by systemd, but the native addon cannot notify it: set Type=simple or build the addon', { error: String(error) });
    return null;
  }
}
