import { readFile } from 'node:fs/promises';
import { createServer, type RequestListener, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { getRequestListener } from '@hono/node-server';
import { Hono, type Context } from 'hono';
import { secureHeaders } from 'hono/secure-headers';
import type { Collector } from '../collector/collector.js';
import { FleetMetrics } from '../collector/fleet-metrics.js';
import { FleetTable } from '../collector/fleet-table.js';
import type { CollectorStore } from '../collector/store.js';
import { projectFolder } from '../demo/folder.js';
import { messageOf } from '../../runtime/errors.js';
import { DeployError } from '../errors.js';
import { Access, type AccessOptions, type PageEnv } from './access.js';
import { fleetApi } from './fleet-api.js';
import { deviceProxy, type DeviceGateway } from './device-proxy.js';
import { EventStreams } from './event-streams.js';
import { failure } from './failure.js';
import { allowedHosts, isLoopback, urlHost } from './hosts.js';
import { rolloutApi, type RolloutSource } from './rollout-api.js';
import { pageScripts } from './routes.js';

export interface DashboardOptions {
  /** 0 takes any free port. */
  port: number;
  collector: Collector;
  store: CollectorStore;
  /** Where the local API of a device can be reached from here; null when it cannot. */
  gateway?: DeviceGateway;
  /** Roll-outs that the page shows; it leaves requests there. */
  rollouts?: RolloutSource;
  /** Address to listen on; default 127.0.0.1. Others than loopback need `tls`, and users in `access`. */
  listen?: string;
  /** Certificate chain and private key in PEM. */
  tls?: { cert: Buffer; key: Buffer };
  /** Host names, beside those of loopback and `listen`, under which the page may be asked for. */
  hosts?: readonly string[];
  access?: AccessOptions;
}

/** The files of the page beside its document: name in the URL, and type. Nothing else is served. */
const PAGE_FILES: Readonly<Record<string, string>> = {
  'style.css': 'text/css; charset=utf-8',
  'icon.svg': 'image/svg+xml',
  ...Object.fromEntries(pageScripts.map((path) => [path.slice(1), 'text/javascript; charset=utf-8'])),
};

/** More than the table is high on any screen. */
const FIRST_ROWS = 40;
/** What the table of the fleet is made of. */
const FIRST_MODULES: readonly string[] = ['/start.js', '/fleet-table.js', '/api.js', '/dom.js', '/format.js'];

/**
 * The page and its API, on loopback unless there are TLS and users. Everything that the page loads comes from here, and a strict Content-Security-Policy
 * says so. Requests under another host name are refused: a web page elsewhere must not read a camera through DNS tricks.
 */
export class Dashboard {
  readonly #options: DashboardOptions;
  readonly #streams: EventStreams;
  readonly #table: FleetTable;
  readonly #metrics: FleetMetrics;
  readonly #access: Access;
  readonly #listen: string;
  #server: Server | null = null;

  constructor(options: DashboardOptions) {
    this.#options = options;
    this.#streams = new EventStreams(options.collector);
    this.#table = new FleetTable(options.collector, options.store);
    this.#metrics = new FleetMetrics(options.collector, this.#table);
    this.#access = new Access(options.access ?? {}, options.tls !== undefined);
    this.#listen = options.listen ?? '127.0.0.1';
  }

  get port(): number {
    const address = this.#server?.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  get url(): string {
    return `${this.#options.tls === undefined ? 'http' : 'https'}://${urlHost(this.#listen, this.#options.hosts ?? [])}:${this.port}`;
  }

  /** Whether the page needs a login. */
  get login(): boolean {
    return this.#access.required;
  }

  /** @throws DeployError E_PORT_BUSY, E_LISTEN, E_TLS */
  async start(): Promise<void> {
    if (this.#server !== null) return;
    if (!isLoopback(this.#listen) && (this.#options.tls === undefined || !this.login)) {
      throw new DeployError('E_LISTEN', `Others could use the page on ${this.#listen}: it needs ${this.#options.tls === undefined ? 'a certificate (--tls-cert and --tls-key)' : 'at least one user (sterna users add NAME --role operator)'} first`, { details: { listen: this.#listen } });
    }
    const app = await this.routes();
    const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false });
    const server = makeServer((request, response) => void listener(request, response), this.#options.tls);
    await listen(server, this.#options.port, this.#listen);
    this.#server = server;
    this.#streams.start();
    this.#table.start();
    this.#access.start();
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (server === null) return;
    this.#server = null;
    this.#streams.stop();
    this.#table.stop();
    this.#access.stop();
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  }

  /** All of its routes; `pageRoutes` says which role each needs. */
  async routes(): Promise<Hono<PageEnv>> {
    const { collector, store, gateway, rollouts, hosts } = this.#options;
    const app = new Hono<PageEnv>();
    const allowed = allowedHosts(this.#listen, hosts ?? []);
    app.use(async (context, next) => {
      const host = context.req.header('host') ?? '';
      if (!allowed(host)) return failure(context, 403, 'E_HOST', `Expected a loopback host name, or one of --allow-host, but received ${JSON.stringify(host)}`);
      return next();
    });
    app.use(secureHeaders({
      contentSecurityPolicy: {
        defaultSrc: ["'none'"], scriptSrc: ["'self'"], styleSrc: ["'self'"], imgSrc: ["'self'", 'blob:', 'data:'], connectSrc: ["'self'"],
        baseUri: ["'none'"], formAction: ["'none'"], frameAncestors: ["'none'"],
      },
      referrerPolicy: 'no-referrer',
      xFrameOptions: 'DENY',
      strictTransportSecurity: false,
    }));
    app.use(this.#access.guard());
    const { index, login, files } = await pageFiles();
    const pages = { one: withPreloads(index, [...FIRST_MODULES, ...files.keys()]), many: withPreloads(index, FIRST_MODULES) };
    for (const path of ['/', '/index.html']) app.get(path, (context) => context.html(this.#document(pages, context), 200, { 'cache-control': this.login ? 'no-store' : 'no-cache' }));
    app.get('/login', (context) => context.html(login, 200, { 'cache-control': 'no-cache' }));
    for (const [path, file] of files) {
      app.get(path, (context) => context.body(new Uint8Array(file.data), 200, { 'content-type': file.type, 'cache-control': 'no-cache' }));
    }
    app.get('/metrics', async (context) => context.text(await this.#metrics.text(), 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }));
    app.route('/api', this.#access.api());
    app.route('/api', fleetApi({ collector, store, streams: this.#streams, table: this.#table, ...(gateway === undefined ? {} : { gateway }) }));
    app.route('/api/rollouts', rolloutApi(rollouts ?? (() => null)));
    if (gateway !== undefined) app.route('/', deviceProxy(gateway));
    app.notFound((context) => failure(context, 404, 'E_NOT_FOUND', `Nothing at ${context.req.path}`));
    app.onError((error, context) => failure(context, 500, error instanceof DeployError ? error.code : 'E_INTERNAL', error.message));
    return app;
  }

  /** The document of one device, or that of many with the rows that it shows at first. */
  #document({ one, many }: { one: string; many: string }, context: Context<PageEnv>): string {
    const first = this.#table.first(FIRST_ROWS);
    const html = first.size < 2 ? one : withData(many, 'fleet-first', { now_ms: Date.now(), ...first });
    return withData(html, 'session', this.#access.about(context.get('who')));
  }
}

/** Everything static is read once: a page of a few files, and no path of a request ever reaches the file system. */
async function pageFiles(): Promise<{ index: string; login: string; files: Map<string, { type: string; data: Buffer }> }> {
  const folder = join(projectFolder(import.meta.url), 'deploy', 'dashboard', 'public');
  const files = new Map<string, { type: string; data: Buffer }>();
  const [index, login] = await Promise.all([readFile(join(folder, 'index.html'), 'utf8'), readFile(join(folder, 'login.html'), 'utf8')]);
  for (const [name, type] of Object.entries(PAGE_FILES)) files.set(`/${name}`, { type, data: await readFile(join(folder, name)) });
  const uplot = createRequire(import.meta.url).resolve('uplot/dist/uPlot.min.css');
  files.set('/vendor/uPlot.min.css', { type: 'text/css; charset=utf-8', data: await readFile(uplot) });
  files.set('/vendor/uPlot.esm.js', { type: 'text/javascript; charset=utf-8', data: await readFile(uplot.replace('uPlot.min.css', 'uPlot.esm.js')) });
  return { index, login, files };
}

/**
 * The browser asks for these modules at once, instead of finding them import by import. Of many devices, these are the modules of their table: the others
 * are compiled when they arrive, which would delay the first rows.
 */
function withPreloads(html: string, paths: readonly string[]): string {
  const modules = [...new Set(paths)].filter((path) => path.endsWith('.js') && path !== '/theme.js');
  return html.replace('  <script type="module"', `${modules.map((path) => `  <link rel="modulepreload" href="${path}">\n`).join('')}  <script type="module"`);
}

/** The document with data for a module. A block of JSON is not a script that runs; no text in it can end it, because it has no `<`. */
function withData(html: string, id: string, value: unknown): string {
  return html.replace('</body>', () => `  <script type="application/json" id="${id}">${JSON.stringify(value).replaceAll('<', '\\u003c')}</script>\n</body>`);
}

/** @throws DeployError E_TLS for a certificate or key that cannot be used */
function makeServer(listener: RequestListener, tls: DashboardOptions['tls']): Server {
  if (tls === undefined) return createServer(listener);
  try {
    return createTlsServer(tls, listener);
  } catch (cause) {
    throw new DeployError('E_TLS', `The certificate and the key cannot be used: ${messageOf(cause)}`, { cause });
  }
}

async function listen(server: Server, port: number, host: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const busy = cause.code === 'EADDRINUSE';
      reject(new DeployError('E_PORT_BUSY', busy
        ? `Port ${port} on ${host} is used by another program. Stop it, or choose another port: --port ${port + 1}`
        : `Cannot listen on ${host}, port ${port}: ${cause.message}. Choose another port with --port, or another address with --listen`, { cause, details: { port } }));
    });
    server.listen(port, host, resolve);
  });
}
