import { isIP } from 'node:net';

const LOOPBACK = ['127.0.0.1', 'localhost', '[::1]'];

/** Of an address to listen on. `localhost` is not one: what it means is up to the machine's configuration. */
export const isLoopback = (address: string): boolean => address === '::1' || (isIP(address) === 4 && address.startsWith('127.'));

const inUrl = (address: string): string => (isIP(address) === 6 ? `[${address}]` : address);
const isWildcard = (address: string): boolean => address === '0.0.0.0' || address === '::';

/** Whether a `Host` header names this server: through DNS tricks a web page elsewhere can reach it, but only under a name of its own. */
export function allowedHosts(listen: string, names: readonly string[]): (host: string) => boolean {
  const allowed = new Set([...LOOPBACK, ...(isWildcard(listen) ? [] : [inUrl(listen)]), ...names.map(inUrl)].map((name) => name.toLowerCase()));
  return (host) => allowed.has(host.toLowerCase().replace(/:\d+$/, ''));
}

/** What a browser calls the server. */
export const urlHost = (listen: string, names: readonly string[]): string => inUrl(names[0] ?? (isWildcard(listen) ? '127.0.0.1' : listen));
