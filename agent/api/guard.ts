/** Which programs and pages may talk to the local API at all. Pure. Who may see faces and names is the token's matter (`auth.ts`). */

export interface GuardOptions {
  /** Address that the server listens on. */
  host: string;
  port: number;
  allowedOrigins: readonly string[];
}

/**
 * DNS rebinding: a web page of a stranger's domain that resolves to 127.0.0.1 comes with its own name in `Host`. So only
 * names of this machine pass. A server that is open to the network on purpose (0.0.0.0) takes IP addresses as well.
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

/** A browser tells where a page comes from; everything else sends no `Origin`. */
export function allowedOrigin(origin: string | undefined, host: string | undefined, options: GuardOptions): boolean {
  if (origin === undefined) return true;
  return options.allowedOrigins.includes(origin) || (host !== undefined && origin === `http://${host}`);
}
