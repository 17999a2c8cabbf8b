import { Hono, type Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type { DeviceAddress } from '../../agent/contracts/index.js';
import { addressOf } from './address.js';
import { failure } from './failure.js';
import { sameOrigin } from './same-origin.js';

/** The local API of a device. The token stays on this side: the page never sees it. */
export interface DeviceAccess {
  /** Without a slash at the end. */
  baseUrl: string;
  /** Bearer token; null for an API that needs none. */
  token: string | null;
}

/** How to reach a device's local API, or null when it cannot be reached from here. */
export type DeviceGateway = (address: DeviceAddress) => DeviceAccess | null;

/** What of a device's local API the page may use: anything else is not there. */
const ROUTES: readonly { method: string; path: RegExp }[] = [
  { method: 'GET', path: /^(status|snapshot\.jpg|events|gallery|recordings)$/ },
  { method: 'GET', path: /^recordings\/[0-9a-f-]{36}\/(snapshot\.jpg|clip\/\d{1,4}\.jpg)$/ },
  { method: 'POST', path: /^gallery$/ },
  { method: 'DELETE', path: /^gallery\/\d{1,15}$/ },
  { method: 'DELETE', path: /^recordings\/[0-9a-f-]{36}$/ },
];
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
  proxy.post('/:fleet/:device/local/*', bodyLimit({ maxSize: MAX_BODY_BYTES, onError: (context) => failure(context, 413, 'E_DEVICE_API', `Expected at most ${MAX_BODY_BYTES} bytes`) }));
  proxy.all('/:fleet/:device/local/:path{.+}', async (context) => {
    const address = addressOf(context);
    const access = address === null ? null : gateway(address);
    if (access === null) return failure(context, 404, 'E_DEVICE_API', 'The local API of this device cannot be reached from here');
    const { method } = context.req;
    const path = context.req.param('path');
    if (!ROUTES.some((route) => route.method === method && route.path.test(path))) return failure(context, 404, 'E_NOT_FOUND', `Nothing at ${method} ${path}`);
    if (method !== 'GET' && !sameOrigin(context)) return failure(context, 403, 'E_ORIGIN', 'Only this page may change what a device knows');
    return forward(context, `${access.baseUrl}/api/${path}${new URL(context.req.url).search}`, access.token);
  });
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
    return new Response(stream ? untilEither(answer.body) : await answer.arrayBuffer(), { status: answer.status, headers });
  } catch (error) {
    return failure(context, 502, 'E_DEVICE_API', `The device does not answer: ${reasonOf(error)}`);
  } finally {
    clearTimeout(timer);
  }
}

/** A camera without a picture is a state of the device, not a failure of the request: browsers would log each 404 as an error. */
async function noPicture(answer: Response): Promise<Response> {
  await answer.body?.cancel();
  return new Response(null, { status: 204, headers: { 'cache-control': 'no-store' } });
}

/** The stream, ending where the page or the device goes away: neither is an error of this server. */
function untilEither(body: ReadableStream<Uint8Array> | null): ReadableStream<Uint8Array> | null {
  const reader = body?.getReader();
  if (reader === undefined) return null;
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const next = await reader.read().catch(() => null);
      if (next === null || next.done) controller.close();
      else controller.enqueue(next.value);
    },
    cancel: (reason) => reader.cancel(reason).catch(() => undefined),
  });
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
}
