import type { Command } from 'commander';
import { endsOf } from '../../runtime/onnx/heads.js';
import { modelPorts } from '../../runtime/quantize/prepare/read-model.js';
import { assumedText, preparedAs, type PictureOptions } from '../compress/picture-options.js';
import { hasPictures } from '../compress/samples.js';
import { pictureOf } from '../run/recognize.js';
import { statedPictureOptions } from './options.js';
import { log } from './output.js';

/**
 * How the pictures of a source become the input of a model: as the options state, and else as `sterna run` assumes of such a model, which is told.
 * @param shapes of the inputs that the model leaves open
 * @throws DeployError E_FILE, RuntimeError E_INPUT, E_MODEL_*
 */
export async function choosePictures(
  self: Command, model: Uint8Array, shapes: Readonly<Record<string, readonly number[]>>, source: string, options: Partial<PictureOptions>,
): Promise<PictureOptions> {
  const stated = statedPictureOptions(options);
  if (!await hasPictures(source)) return preparedAs(undefined, stated);
  const prepared = preparedAs(pictureOf({ ...modelPorts(model, { shapes }), ends: endsOf(model) }), stated);
  const assumed = assumedText(prepared, stated);
  if (assumed !== '') log(self, `sterna: assumed${assumed}`);
  return prepared;
}
