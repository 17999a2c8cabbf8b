import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const folder = process.env['STERNA_SHARED'] ?? fileURLToPath(new URL('../../../shared', import.meta.url));

/**
 * A path among the real networks and data that are no part of the project: beside the checkout, or at STERNA_SHARED.
 * Tests that need them skip by name where they are absent.
 */
export const sharedFile = (...parts: string[]): string => join(folder, ...parts);
