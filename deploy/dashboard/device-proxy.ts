import { Hono, type Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type { DeviceAddress } from '../../agent/contracts/index.js';
import { fetchMessageOf } from '../../runtime/errors.js';
import { addressOf } from './address.js';
import { failure } from './failure.js';
import { deviceRoutes } from './routes.js';
import { untilEnded } from './until-ended.js';

/** The local API of a device. The token stays on this side: the page never sees it. */
export interface DeviceAccess {
  /** Without a slash at the end. */
  baseUrl: string;
  /** Bearer token; null for an API that needs none. */
  token: string | null;
}

/** How to reach a device's local API, or null when it cannot be reached from here. */
export type DeviceGateway = (address: DeviceAddress) => DeviceAccess | null;

const MAX_BODY_BYTES = 12 * 2 ** 20;
/** Until the first byte: a device that hangs must not hang the page. */
const HEADERS_TIMEOUT_MS = 8000;
const PASSED_HEADERS = ['content-type', 'cache-control', 'x-frame-sequence'] as const;

/**
 * `.../{fleet}/{device}/local/...`: the local API of a device, where it can be reached. Faces and pictures never travel
 * over the broker; they go from the device to the page directly, through here.
 */
export function deviceProxy(gateway: DeviceGateway): Hono {
  const proxy = new Hono();
  const limit = bodyLimit({ maxSize: MAX_BODY_BYTES, onError: (context) => failure(context, 413, 'E_DEVICE_API', `Expected at most ${MAX_BODY_BYTES} bytes`) });
  for (const { method, path } of deviceRoutes) {
    const handler = (context: Context): Response | Promise<Response> => {
      const address = addressOf(context);
      const access = address === null ? null : gateway(address);
      if (access === null) return failure(context, 404, 'E_DEVICE_API', 'The local API of this device cannot be reached from here');
      // The parts before it are `/api/devices/FLEET/DEVICE/local`.
      const local = context.req.path.split('/').slice(6).join('/');
      return forward(context, `${access.baseUrl}/api/${local}${new URL(context.req.url).search}`, access.token);
    };
    if (method === 'POST') proxy.post(path, limit, handler);
    else proxy.on(method, path, handler);
  }
  return proxy;
}

async function forward(context: Context, url: string, token: string | null): Promise<Response> {
  const headersIn = new AbortController();
  const timer = setTimeout(() => headersIn.abort(new Error(`no answer within ${HEADERS_TIMEOUT_MS} ms`)), HEADERS_TIMEOUT_MS);
  const { method } = context.req;
  const contentType = context.req.header('content-type');
  const lastEventId = context.req.header('last-event-id');
  try {
    const answer = await fetch(url, {
      method,
      signal: AbortSignal.any([headersIn.signal, context.req.raw.signal]),
      headers: {
        ...(contentType === undefined ? {} : { 'content-type': contentType }),
        ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
        ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      },
      ...(method === 'POST' ? { body: await context.req.arrayBuffer() } : {}),
    });
    if (answer.status === 404 && new URL(url).pathname === '/api/snapshot.jpg') return noPicture(answer);
    const headers = new Headers();
    for (const name of PASSED_HEADERS) {
      const value = answer.headers.get(name);
      if (value !== null) headers.set(name, value);
    }
    const stream = answer.headers.get('content-type')?.startsWith('text/event-stream') === true;
    return new Response(stream && answer.body !== null ? untilEnded(answer.body) : await answer.arrayBuffer(), { status: answer.status, headers });
  } catch (error) {
    return failure(context, 502, 'E_DEVICE_API', `The device does not answer: ${fetchMessageOf(error)}`);
  } finally {
    clearTimeout(timer);
  }
}

/** A camera without a picture is a state of the device, not a failure of the request: browsers would log each 404 as an error. */
async function noPicture(answer: Response): Promise<Response> {
  await answer.body?.cancel();
  return new Response(null, { status: 204, headers: { 'cache-control': 'no-store' } });
}
