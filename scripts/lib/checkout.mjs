// Whether these scripts stand in a checkout, which sets itself up, or in an installed package, which runs as it is.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const packageRoot = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/** npm never packs the lock file, so an installed package has none. */
export const isCheckout = existsSync(join(packageRoot, 'package-lock.json'));
