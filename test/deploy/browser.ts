/** Pages in a browser, for the tests of what they show. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect } from 'vitest';

interface Chromium {
  chromiumMissing: string | undefined;
  launchChromium(): Promise<Browser>;
}
const { chromiumMissing, launchChromium } = await import(new URL('../../scripts/lib/chromium.mjs', import.meta.url).href) as Chromium;
export { chromiumMissing };

/** Text that would run as markup. */
export const HOSTILE = '<img src=x onerror="document.title=1">';

export interface Pages {
  /** Opens an address; the page is closed after the test. */
  open(url: string, options?: BrowserContextOptions): Promise<Page>;
  /** What the pages logged or threw, and what they asked of other servers. A test fails unless it takes them out. */
  problems: string[];
}

/** A browser for the tests of the enclosing `describe`. */
export function usePages(): Pages {
  let browser: Browser | undefined;
  const problems: string[] = [];
  const pages: Page[] = [];
  beforeAll(async () => { browser = await launchChromium(); });
  afterAll(() => browser?.close());
  afterEach(async () => {
    for (const page of pages.splice(0)) await page.close();
    expect(problems.splice(0)).toEqual([]);
  });

  async function open(url: string, options: BrowserContextOptions = {}): Promise<Page> {
    if (browser === undefined) throw new Error('the browser did not start');
    const page = await browser.newPage({ viewport: { width: 1440, height: 900 }, ...options });
    pages.push(page);
    page.on('console', (message) => { if (message.type() !== 'info' && message.type() !== 'log') problems.push(`${message.type()}: ${message.text()}`); });
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('request', (request) => { if (!request.url().startsWith(url) && !request.url().startsWith('blob:')) problems.push(`request to ${request.url()}`); });
    await page.goto(url);
    return page;
  }
  return { open, problems };
}

/** A picture of a page for people to look at; STERNA_SCREENSHOTS names the folder. */
export async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env.STERNA_SCREENSHOTS;
  if (folder === undefined) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
}
