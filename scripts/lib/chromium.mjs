// Chromium without a window, for what looks at pages: tests, the screenshot, the bench of the fleet's page.
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';

/** Debian: apt-get install chromium; STERNA_CHROMIUM names another one. */
export const chromiumPath = process.env.STERNA_CHROMIUM ?? '/usr/bin/chromium';

/** Why no page can be looked at here, or undefined. */
export const chromiumMissing = existsSync(chromiumPath) ? undefined : `skipped without ${chromiumPath}`;

export const launchChromium = () => chromium.launch({
  executablePath: chromiumPath,
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
