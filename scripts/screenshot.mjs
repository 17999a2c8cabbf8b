// `npm run screenshot`: runs the demonstration, waits until somebody is recognized and telemetry has filled the page, and takes the picture
// that README shows. Wants Chromium (Debian: apt-get install chromium; STERNA_CHROMIUM names another one).
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import sharp from 'sharp';
import { launchChromium } from './lib/chromium.mjs';
import { ensureSetup, log, root } from './lib/setup.mjs';

const PORT = 8490;
const picture = join(root, 'deploy', 'dashboard', 'screenshot.png');
const WAIT_MS = 240_000;
/** So that the charts have lines. */
const SETTLE_MS = 30_000;

async function shoot(url) {
  const browser = await launchChromium();
  try {
    const page = await browser.newPage({ viewport: { width: 1440, height: 1000 }, colorScheme: 'dark' });
    await page.goto(url);
    const somebody = page.locator('#findings .finding').filter({ hasText: /Franck|Martin/ }).first();
    await somebody.waitFor({ timeout: WAIT_MS });
    await sleep(SETTLE_MS);
    await somebody.waitFor({ timeout: WAIT_MS });
    return await page.screenshot();
  } finally {
    await browser.close();
  }
}

async function waitFor(url, child) {
  for (const end = Date.now() + WAIT_MS; Date.now() < end && child.exitCode === null; await sleep(500)) {
    if ((await fetch(url).catch(() => null))?.ok === true) return;
  }
  throw new Error(`${url} did not answer within ${WAIT_MS / 1000} s`);
}

ensureSetup();
const state = mkdtempSync(join(tmpdir(), 'sterna-screenshot-'));
const child = spawn(process.execPath, [join(root, 'scripts', 'start.mjs'), '--port', String(PORT), '--state', state], { stdio: ['ignore', 'ignore', 'inherit'] });
try {
  const url = `http://127.0.0.1:${PORT}/`;
  await waitFor(url, child);
  await sharp(await shoot(url)).png({ palette: true, quality: 90, effort: 10 }).toFile(picture);
  log(`${picture} written`);
} finally {
  child.once('exit', () => rmSync(state, { recursive: true, force: true }));
  child.kill('SIGINT');
}
