/** Decides which programs and pages may talk to the local API at all. Pure. `auth.ts` decides who may see faces and names. */

export interface GuardOptions {
  /** Address that the server listens on. */
  host: string;
  port: number;
  allowedOrigins: readonly string[];
}

/**
 * Protects against DNS rebinding: a web page of a stranger's domain that resolves to 127.0.0.1 sends its own domain in `Host`. So only names of this
 * machine pass. A server that is open to the network on purpose (0.0.0.0) takes IP addresses as well.
 */
export function allowedHost(header: string | undefined, options: GuardOptions): boolean {
  if (header === undefined) return false;
  const match = /^(\[[0-9a-f:]+\]|[a-z0-9.-]+)(?::(\d{1,5}))?$/i.exec(header);
  if (match === null) return false;
  const [, name = '', port] = match;
  if (Number(port ?? 80) !== options.port) return false;
  if (['127.0.0.1', 'localhost', '[::1]', options.host.toLowerCase()].includes(name.toLowerCase())) return true;
  const open = options.host === '0.0.0.0' || options.host === '::';
  return open && (/^\d{1,3}(\.\d{1,3}){3}$/.test(name) || name.startsWith('['));
}

/** Whether only this machine reaches a server that listens on this address. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);
}

/** Browsers send an `Origin` that names the site of the page; other programs send none, and are not restricted here. */
export function allowedOrigin(origin: string | undefined, host: string | undefined, options: GuardOptions): boolean {
  if (origin === undefined) return true;
  return options.allowedOrigins.includes(origin) || (host !== undefined && origin === `http://${host}`);
}
