import type { Image } from '../../../runtime/frame.js';
import { DeployError } from '../../errors.js';

/** A grey picture of 8 bits (PGM, P5), which many sets of faces come as, in RGB. @throws DeployError E_LAB */
export function greyPicture(bytes: Buffer, path: string): Image {
  const [header = '', width, height] = /^P5\s+(\d+)\s+(\d+)\s+255\s/.exec(bytes.subarray(0, 64).toString('latin1')) ?? [];
  const grey = bytes.subarray(header.length);
  if (header === '' || grey.length === 0 || grey.length !== Number(width) * Number(height)) throw new DeployError('E_LAB', `Expected a grey picture (PGM, P5, 8 bits) but ${path} is none`, { details: { path } });
  return { width: Number(width), height: Number(height), data: Uint8Array.from({ length: 3 * grey.length }, (_, i) => grey[Math.floor(i / 3)] ?? 0) };
}
