import { loadAddon } from './load.js';

/**
 * Sends a notification such as `READY=1` or `WATCHDOG=1` to the service manager (sd_notify(3)): one datagram to the socket that the
 * environment variable `NOTIFY_SOCKET` names, a path or an abstract name that starts with `@`.
 * @returns whether it was sent; false when there is no service manager to tell
 */
export function notifySystemd(message: string): boolean {
  return loadAddon().notifySystemd(message);
}
