/** One bound for the bodies of all requests together, because each body is in memory several times while it is read. */
import type { MiddlewareHandler } from 'hono';
import { AgentError } from '../errors.js';

export const MAX_BODY_BYTES = 12 * 1024 * 1024;
/** Upper bound for the bodies of all requests that are in progress at the same time. */
export const BODY_BUDGET_BYTES = 16 * 1024 * 1024;

/**
 * Refuses a request by the length that it states, before any of its body is read; Node's HTTP parser holds the sender to that length. A body without
 * a length (chunked) is refused, because its size would be known too late.
 * @throws AgentError E_REQUEST_LENGTH, E_REQUEST_SIZE, E_BUSY
 */
export function bodyBudget(maxBytes = MAX_BODY_BYTES, budgetBytes = BODY_BUDGET_BYTES): MiddlewareHandler {
  let held = 0;
  return async (c, next) => {
    if (c.req.header('transfer-encoding') !== undefined) throw new AgentError('E_REQUEST_LENGTH', 'Expected a Content-Length; chunked bodies are not accepted');
    const bytes = Number(c.req.header('content-length') ?? 0);
    if (!(bytes <= maxBytes)) throw new AgentError('E_REQUEST_SIZE', `Expected a body of at most ${maxBytes} bytes but received one of ${bytes}; send fewer or smaller pictures`);
    if (held + bytes > budgetBytes) throw new AgentError('E_BUSY', `Other requests with large bodies are being read (${held} of ${budgetBytes} bytes); try again`);
    held += bytes;
    try {
      await next();
    } finally {
      held -= bytes;
    }
  };
}
