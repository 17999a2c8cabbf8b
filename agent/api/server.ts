import type { AddressInfo } from 'node:net';
import { serve, type ServerType } from '@hono/node-server';
import type { Hono } from 'hono';
import { AgentError } from '../errors.js';

/** The HTTP server around the app. */
export class ApiServer {
  #server: ServerType | null = null;
  #port = 0;

  /** The port that it listens on; 0 while it does not. */
  get port(): number {
    return this.#port;
  }

  /** @throws AgentError E_CONFIG when the address cannot be listened on */
  start(app: Hono, host: string, port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      const server = serve({ fetch: app.fetch, hostname: host, port }, (info: AddressInfo) => {
        this.#port = info.port;
        resolve();
      });
      server.on('error', (cause) => reject(new AgentError('E_CONFIG', `api.host, api.port: cannot listen on ${host}:${port}: ${cause.message}`, { cause })));
      this.#server = server;
    });
  }

  /** Ends streams and connections. Idempotent. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    this.#port = 0;
    if (server === null) return;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      if ('closeAllConnections' in server) server.closeAllConnections();
    });
  }
}
