/** The page's only way to the outside: the server that it came from. */
export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

let loggingOut = false;
/** From now on requests may find no session any more. They must not lead away before the answer says where to log out, too. */
export const beginLogout = () => { loggingOut = true; };

export async function request(path, options = {}) {
  const answer = await fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(10_000), ...options });
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => null);
  // The session has ended, or a login is needed since.
  if (answer.status === 401 && body?.error?.code === 'E_SESSION' && !loggingOut) location.replace(`/login${location.hash}`);
  throw new ApiError(answer.status, body?.error?.code ?? `HTTP ${answer.status}`, body?.error?.message ?? answer.statusText);
}

export const getJson = async (path) => (await request(path)).json();

const enc = encodeURIComponent;
export const deviceKey = ({ fleet, device }) => `${fleet}/${device}`;
/** The part of the page's address that names a device. */
export const deviceHash = (address) => `#${enc(deviceKey(address))}`;
export const devicePath = ({ fleet, device }) => `/api/devices/${enc(fleet)}/${enc(device)}`;
export const localPath = (address, path) => `${devicePath(address)}/local/${path}`;

export function sendJson(path, method, value) {
  return request(path, { method, headers: { 'content-type': 'application/json' }, ...(value === undefined ? {} : { body: JSON.stringify(value) }) });
}

/** Server-sent events with one handler by event name. The browser reconnects by itself. */
export function listen(path, handlers, onState) {
  const source = new EventSource(path);
  source.onopen = () => onState?.(true);
  source.onerror = () => onState?.(false);
  for (const [name, handler] of Object.entries(handlers)) {
    source.addEventListener(name, (event) => {
      let value;
      try {
        value = JSON.parse(event.data);
      } catch {
        return; // not for us
      }
      handler(value);
    });
  }
  return source;
}
