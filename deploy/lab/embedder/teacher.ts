import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { normalize } from '../../../runtime/vision/embedding.js';
import { DeployError } from '../../errors.js';
import { readCheckpoint, writeCheckpoint } from '../checkpoint.js';
import { joined } from '../clips.js';
import { embedderPorts, embeddingsOf, type EmbedderPorts, type Levels } from './embedder-model.js';
import type { PersonPicture, PictureSize } from './people.js';

/** The embeddings that are kept from an earlier start of the run, if they are of this teacher and these pictures. */
async function keptEmbeddings(path: string, run: string): Promise<Float32Array | undefined> {
  try {
    return (await readCheckpoint(path, run))?.arrays.get('embeddings');
  } catch (error) {
    // A damaged cache, or that of another teacher, costs no more than computing it again.
    if (error instanceof DeployError && error.code === 'E_LAB') return undefined;
    throw error;
  }
}

/**
 * The teacher's embeddings of pictures, of unit length. They are computed once, and kept in `teacher.bin` of the folder.
 * @param dimensions of the student's embeddings, which must be the teacher's
 * @throws DeployError E_LAB: a teacher of another geometry, or a picture that it gives no direction
 */
export async function taughtEmbeddings(bytes: Uint8Array, pictures: readonly PersonPicture[], { folder, size, dimensions, levels, threads }: { folder: string; size: PictureSize; dimensions: number; levels: Levels; threads: number }): Promise<Float32Array[]> {
  const ports: EmbedderPorts = embedderPorts(bytes, 'The teacher', levels);
  if (ports.dimensions !== dimensions) throw new DeployError('E_LAB', `The teacher's embeddings have ${ports.dimensions} dimensions but the student's have ${dimensions}; set model.student.dimensions to ${ports.dimensions}, or take a student with an output of [batch, ${ports.dimensions}]`, { details: { teacher: ports.dimensions, student: dimensions } });
  const hash = createHash('sha256').update(bytes).update(JSON.stringify([size, levels]));
  for (const { pixels } of pictures) hash.update(pixels);
  const [path, run] = [join(folder, 'teacher.bin'), hash.digest('hex')];
  let all = await keptEmbeddings(path, run);
  if (all?.length !== pictures.length * dimensions) {
    const embeddings = await embeddingsOf(bytes, ports, pictures.map(({ pixels }) => pixels), size, threads);
    all = joined(embeddings.map((embedding, i) => {
      const unit = normalize(embedding);
      if (unit === null) throw new DeployError('E_LAB', `The teacher gives no direction for ${pictures[i]?.file ?? ''}: its embedding is zero or not finite; leave the picture out, or check data.mean and data.std`, { details: { picture: pictures[i]?.file } });
      return unit;
    }));
    await writeCheckpoint(path, { step: 0, run, arrays: new Map([['embeddings', all]]), losses: [] });
  }
  const kept = all;
  return pictures.map((_, i) => kept.subarray(i * dimensions, (i + 1) * dimensions));
}
