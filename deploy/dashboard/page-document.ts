/** The document of the page: what the browser needs for the first paint is in it, so that one answer is enough. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { FirstRows, FleetRow } from '../collector/fleet-table.js';
import { projectFolder } from '../demo/folder.js';
import { pageScripts } from './routes.js';

/** What the server uses of `public/fleet-columns.js`, which the browser loads as well: a row looks the same from both. */
interface Columns {
  COLUMNS: readonly { id: string; title: string; text(row: FleetRow, nowMs: number): string }[];
  LEVELS: Readonly<Record<string, readonly [title: string, order: number]>>;
  noteOf(shown: number, size: number, partly: boolean): string;
}

/** The files of the page beside its document: name in the URL, and type. Nothing else is served. */
const PAGE_FILES: Readonly<Record<string, string>> = {
  'style.css': 'text/css; charset=utf-8',
  'icon.svg': 'image/svg+xml',
  ...Object.fromEntries(pageScripts.map((path) => [path.slice(1), 'text/javascript; charset=utf-8'])),
};
const STYLES = ['/vendor/uPlot.min.css', '/style.css'];
const THEME = '/theme.js';

/** More than the table is high on any screen. */
export const FIRST_ROWS = 40;

interface StaticFile { type: string; data: Buffer }

/** Everything static is read once: a page of a few files, and no path of a request ever reaches the file system. */
export class PageDocument {
  /** By path. */
  readonly files: ReadonlyMap<string, StaticFile>;
  readonly login: string;
  /** Sources for the content security policy: hashes of what is inline. */
  readonly inline: { style: string; script: string };
  readonly #one: string;
  readonly #many: string;
  readonly #columns: Columns;

  private constructor(index: string, login: string, files: ReadonlyMap<string, StaticFile>, columns: Columns) {
    const textOf = (path: string): string => files.get(path)?.data.toString('utf8').trim() ?? '';
    const [style, theme] = [STYLES.map(textOf).join('\n'), textOf(THEME)];
    const whole = replaced(replaced(index, /( *<link rel="stylesheet"[^\n]*\n)+/, `  <style>${style}</style>\n`), /<script src="\/theme\.js"><\/script>/, `<script>${theme}</script>`);
    this.files = files;
    this.login = login;
    this.inline = { style: hashOf(style), script: hashOf(theme) };
    this.#columns = columns;
    this.#one = withPreloads(whole, [...files.keys()].filter((path) => path.endsWith('.js') && path !== THEME));
    // The first rows need no module. The figures of one device are empty until they are loaded: nobody has to lay them out before.
    const shown = replaced(replaced(whole, /<main id="main">/, '<main id="main" hidden>'), /(<section class="card fleet" id="fleet"[^>]*) hidden>/, '$1>');
    this.#many = replaced(replaced(shown, /id="fleet-body"/, 'id="fleet-body" aria-busy="true"'), /class="fleet-rows"/, 'class="fleet-rows as-sent"');
  }

  static async read(): Promise<PageDocument> {
    const folder = join(projectFolder(import.meta.url), 'deploy', 'dashboard', 'public');
    const files = new Map<string, StaticFile>();
    const [index, login] = await Promise.all([readFile(join(folder, 'index.html'), 'utf8'), readFile(join(folder, 'login.html'), 'utf8')]);
    for (const [name, type] of Object.entries(PAGE_FILES)) files.set(`/${name}`, { type, data: await readFile(join(folder, name)) });
    const uplot = createRequire(import.meta.url).resolve('uplot/dist/uPlot.min.css');
    files.set('/vendor/uPlot.min.css', { type: 'text/css; charset=utf-8', data: await readFile(uplot) });
    files.set('/vendor/uPlot.esm.js', { type: 'text/javascript; charset=utf-8', data: await readFile(uplot.replace('uPlot.min.css', 'uPlot.esm.js')) });
    const columns = await import(pathToFileURL(join(folder, 'fleet-columns.js')).href) as Columns;
    return new PageDocument(index, login, files, columns);
  }

  /** The document of one device, or that of many with the rows that it shows at first: as markup to be painted, and as data to be worked on. */
  html(first: FirstRows, session: object, nowMs: number): string {
    const html = first.size < 2 ? this.#one : withData(this.#withRows(first, nowMs), 'fleet-first', { now_ms: nowMs, ...first });
    return withData(html, 'session', session);
  }

  #withRows({ rows, size, levels }: FirstRows, nowMs: number): string {
    const { COLUMNS, LEVELS, noteOf } = this.#columns;
    const cell = (row: FleetRow, { id, text }: Columns['COLUMNS'][number], timed: boolean): string =>
      `<span role="cell" class="fleet-${id}"${timed && id === 'device' ? ' elementtiming="first-row"' : ''}>${id === 'health' ? `<span class="dot level-${row.health}"></span> ` : ''}${escaped(text(row, nowMs))}</span>`;
    const parts: Readonly<Record<string, string>> = {
      'fleet-note': escaped(noteOf(rows.length, size, true)),
      'fleet-levels': Object.entries(LEVELS).flatMap(([level, [title]]) => {
        const n = levels[level as keyof typeof levels];
        return n === undefined ? [] : [`<button type="button" class="switch" aria-pressed="false"><span class="dot level-${level}"></span> ${title} ${n.toLocaleString('en')}</button>`];
      }).join(''),
      'fleet-head': COLUMNS.map(({ id, title }) => `<button type="button" role="columnheader" class="fleet-${id}">${title}${id === 'health' ? ' ▾' : ''}</button>`).join(''),
      'fleet-rows': rows.map((row, i) => `<div role="row" class="fleet-row">${COLUMNS.map((column) => cell(row, column, i === 0)).join('')}</div>`).join(''),
    };
    // In one pass: what a device says is never looked through for places to fill.
    return this.#many.replace(/<(?:div|p)\b[^>]*\bid="(fleet-(?:note|levels|head|rows))"[^>]*>/g, (tag, id: string) => tag + (parts[id] ?? ''));
  }
}

const hashOf = (text: string): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`;
const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escaped = (text: string): string => text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');

/** @throws Error when the document is not what this module was written for */
function replaced(html: string, what: RegExp, by: string): string {
  if (!what.test(html)) throw new Error(`The document of the page has no ${what}`);
  return html.replace(what, (...found: unknown[]) => by.replace('$1', typeof found[1] === 'string' ? found[1] : ''));
}

/** The browser asks for these modules at once, instead of finding them import by import. */
function withPreloads(html: string, paths: readonly string[]): string {
  return html.replace('  <script type="module"', () => `${paths.map((path) => `  <link rel="modulepreload" href="${path}">\n`).join('')}  <script type="module"`);
}

/** The document with data for a module. A block of JSON is not a script that runs; no text in it can end it, because it has no `<`. */
function withData(html: string, id: string, value: unknown): string {
  return html.replace('</body>', () => `  <script type="application/json" id="${id}">${JSON.stringify(value).replaceAll('<', '\\u003c')}</script>\n</body>`);
}
