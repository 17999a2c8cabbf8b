// npm runs this after it has installed the package. Where no prebuilt addon loads, it builds one from source if the tools for that are there.
// It never fails: without an addon, the first session says what was tried and what to do; without V8's code, first compilations take longer.
import { fileURLToPath } from 'node:url';
import { isCheckout } from './lib/checkout.mjs';
import { makeCode } from './lib/code-cache.mjs';

if (!isCheckout) {
  try {
    makeCode(fileURLToPath(new URL('../dist', import.meta.url)));
  } catch (error) {
    process.stderr.write(`sterna: ${error.message}\n`);
  }
}

if (!isCheckout && process.env.STERNA_SKIP_BUILD !== '1') {
  const { addonLoads, buildAddon } = await import('./build-native.mjs');
  if (!addonLoads()) {
    try {
      buildAddon();
    } catch (error) {
      process.stderr.write(`sterna: ${error.message}\n`);
    }
  }
}
