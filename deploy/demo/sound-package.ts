/** The package that the demonstration listens with: the siren student of `deploy/sound/siren`. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { EngineName } from '../../runtime/session-types.js';
import { runtimeVersion } from '../../runtime/version.js';
import { buildSirenPackage, readSirenModel } from '../sound/siren/package.js';
import { hashModules, sha256, sha256OfFile, writeCached } from './files.js';

export interface SoundPackage {
  path: string;
  bytes: number;
  /** It was there already. */
  cached: boolean;
}

/**
 * Packs the student, and keeps the package under a hash of what it is made of.
 * @throws DeployError E_ASSET; RuntimeError E_MODEL_*
 */
export async function soundPackage({ folder, engine }: { folder: string; engine: EngineName }): Promise<SoundPackage> {
  const model = await readSirenModel();
  const path = join(folder, `siren-${(await recipe(model, engine)).slice(0, 16)}.sterna`);
  if ((await sha256OfFile(path)) !== null) return { path, bytes: (await readFile(path)).byteLength, cached: true };
  const { bytes } = await buildSirenPackage({}, { engine: { engine } });
  await writeCached(path, bytes);
  return { path, bytes: bytes.byteLength, cached: false };
}

async function recipe(model: Uint8Array, engine: EngineName): Promise<string> {
  const code = await hashModules(import.meta.url, ['../package', '../sound/siren', '../../runtime/kinds/sound', '../../runtime/sound', '../../runtime/package']);
  return sha256([runtimeVersion, engine, sha256(model), code].join('\n'));
}
