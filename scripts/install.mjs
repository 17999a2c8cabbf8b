// npm runs this after it has installed the package. Where no prebuilt addon loads, it builds one from source if the tools for that are there.
// It never fails: without an addon, the first session says what was tried and what to do.
import { isCheckout } from './lib/checkout.mjs';

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
