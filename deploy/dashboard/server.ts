import { readFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { getRequestListener } from '@hono/node-server';
import { Hono } from 'hono';
import { secureHeaders } from 'hono/secure-headers';
import type { Collector } from '../collector/collector.js';
import { FleetMetrics } from '../collector/fleet-metrics.js';
import { FleetTable } from '../collector/fleet-table.js';
import type { CollectorStore } from '../collector/store.js';
import { projectFolder } from '../demo/folder.js';
import { DeployError } from '../errors.js';
import { fleetApi } from './fleet-api.js';
import { deviceProxy, type DeviceGateway } from './device-proxy.js';
import { EventStreams } from './event-streams.js';
import { failure } from './failure.js';
import { rolloutApi, type RolloutSource } from './rollout-api.js';

export interface DashboardOptions {
  /** 0 takes any free port. */
  port: number;
  collector: Collector;
  store: CollectorStore;
  /** Where the local API of a device can be reached from here; null when it cannot. */
  gateway?: DeviceGateway;
  /** Roll-outs that the page shows; it leaves requests there. */
  rollouts?: RolloutSource;
}

/** The files of the page beside its document: name in the URL, and type. Nothing else is served. */
const PAGE_FILES: Readonly<Record<string, string>> = {
  'style.css': 'text/css; charset=utf-8',
  'icon.svg': 'image/svg+xml',
  ...Object.fromEntries(['app', 'api', 'charts', 'dom', 'exits', 'filters', 'finding', 'fleet-table', 'format', 'live', 'overlay', 'panels', 'people', 'recordings', 'rollouts', 'sound', 'start', 'strip', 'theme'].map((name) => [`${name}.js`, 'text/javascript; charset=utf-8'])),
};

/** More than the table is high on any screen. */
const FIRST_ROWS = 40;
/** What the table of the fleet is made of. */
const FIRST_MODULES: readonly string[] = ['/start.js', '/fleet-table.js', '/api.js', '/dom.js', '/format.js'];

/**
 * The page and its API on loopback. Everything that the page loads comes from here, and a strict Content-Security-Policy
 * says so. Requests under another host name are refused: a web page elsewhere must not read a camera through DNS tricks.
 */
export class Dashboard {
  readonly #options: DashboardOptions;
  readonly #streams: EventStreams;
  readonly #table: FleetTable;
  readonly #metrics: FleetMetrics;
  #server: Server | null = null;

  constructor(options: DashboardOptions) {
    this.#options = options;
    this.#streams = new EventStreams(options.collector);
    this.#table = new FleetTable(options.collector, options.store);
    this.#metrics = new FleetMetrics(options.collector, this.#table);
  }

  get port(): number {
    const address = this.#server?.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** @throws DeployError E_PORT_BUSY */
  async start(): Promise<void> {
    if (this.#server !== null) return;
    const app = await this.#routes();
    const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false });
    const server = createServer((request, response) => void listener(request, response));
    await listen(server, this.#options.port);
    this.#server = server;
    this.#streams.start();
    this.#table.start();
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (server === null) return;
    this.#server = null;
    this.#streams.stop();
    this.#table.stop();
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  }

  async #routes(): Promise<Hono> {
    const { collector, store, gateway, rollouts } = this.#options;
    const app = new Hono();
    app.use(async (context, next) => {
      const host = context.req.header('host') ?? '';
      if (!/^(127\.0\.0\.1|localhost|\[::1\])(:\d+)?$/.test(host)) return failure(context, 403, 'E_HOST', `Expected a loopback host name but received ${JSON.stringify(host)}`);
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
    const { index, files } = await pageFiles();
    const pages = { one: withPreloads(index, [...FIRST_MODULES, ...files.keys()]), many: withPreloads(index, FIRST_MODULES) };
    for (const path of ['/', '/index.html']) app.get(path, (context) => context.html(this.#document(pages), 200, { 'cache-control': 'no-cache' }));
    for (const [path, file] of files) {
      app.get(path, (context) => context.body(new Uint8Array(file.data), 200, { 'content-type': file.type, 'cache-control': 'no-cache' }));
    }
    app.get('/metrics', async (context) => context.text(await this.#metrics.text(), 200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' }));
    app.route('/api', fleetApi({ collector, store, streams: this.#streams, table: this.#table, ...(gateway === undefined ? {} : { gateway }) }));
    app.route('/api/rollouts', rolloutApi(rollouts ?? (() => null)));
    if (gateway !== undefined) app.route('/api/devices', deviceProxy(gateway));
    app.notFound((context) => failure(context, 404, 'E_NOT_FOUND', `Nothing at ${context.req.path}`));
    app.onError((error, context) => failure(context, 500, 'E_INTERNAL', error.message));
    return app;
  }

  /** The document of one device, or that of many with the rows that it shows at first. */
  #document({ one, many }: { one: string; many: string }): string {
    const first = this.#table.first(FIRST_ROWS);
    return first.size < 2 ? one : withData(many, 'fleet-first', { now_ms: Date.now(), ...first });
  }
}

/** Everything static is read once: a page of a few files, and no path of a request ever reaches the file system. */
async function pageFiles(): Promise<{ index: string; files: Map<string, { type: string; data: Buffer }> }> {
  const folder = join(projectFolder(import.meta.url), 'deploy', 'dashboard', 'public');
  const files = new Map<string, { type: string; data: Buffer }>();
  const index = await readFile(join(folder, 'index.html'), 'utf8');
  for (const [name, type] of Object.entries(PAGE_FILES)) files.set(`/${name}`, { type, data: await readFile(join(folder, name)) });
  const uplot = createRequire(import.meta.url).resolve('uplot/dist/uPlot.min.css');
  files.set('/vendor/uPlot.min.css', { type: 'text/css; charset=utf-8', data: await readFile(uplot) });
  files.set('/vendor/uPlot.esm.js', { type: 'text/javascript; charset=utf-8', data: await readFile(uplot.replace('uPlot.min.css', 'uPlot.esm.js')) });
  return { index, files };
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

async function listen(server: Server, port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      const busy = cause.code === 'EADDRINUSE';
      reject(new DeployError('E_PORT_BUSY', busy
        ? `Port ${port} on 127.0.0.1 is used by another program. Stop it, or choose another port: --port ${port + 1}`
        : `Cannot listen on 127.0.0.1:${port}: ${cause.message}. Choose another port with --port`, { cause, details: { port } }));
    });
    server.listen(port, '127.0.0.1', resolve);
  });
}
