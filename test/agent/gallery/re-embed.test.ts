import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { DeviceGallery } from '../../../agent/gallery/device-gallery.js';
import { EnrolmentPictures } from '../../../agent/gallery/pictures.js';
import { reEmbed } from '../../../agent/gallery/re-embed.js';
import type { FaultPort } from '../../../agent/ground/faults.js';
import type { Model } from '../../../agent/ground/runtime.js';
import { PipelineSlot } from '../../../agent/inference/pipeline-slot.js';
import { GalleryPlan } from '../../../agent/pipelines/gallery-plan.js';
import { armFault } from '../../../agent/platform/fault.js';
import { createGalleryKey } from '../../../runtime/pipeline/gallery-key.js';
import type { Pipeline } from '../../../runtime/pipeline/types.js';
import { FakeRuntime } from '../support/fake-runtime.js';
import { temporaryFolder, until } from '../support/tools.js';

const jpeg = (byte: number): Uint8Array => Uint8Array.of(0xff, byte);

function kept(): { folder: string; pictures: EnrolmentPictures } {
  const folder = temporaryFolder();
  createGalleryKey(join(folder, 'gallery.key'));
  return { folder: join(folder, 'enrolled'), pictures: new EnrolmentPictures(join(folder, 'enrolled'), join(folder, 'gallery.key')) };
}

describe('pictures of enrolments', () => {
  it('are sealed on the disk, belong to one enrolment, and go with the person', async () => {
    const { folder, pictures } = kept();
    const ada = { id: 1, createdMs: 5 };
    await pictures.keep(ada, [jpeg(1), jpeg(2)]);
    expect(pictures.of(ada)).toEqual([jpeg(1), jpeg(2)].map((bytes) => Buffer.from(bytes)));
    const [first = '', second = ''] = readdirSync(folder).sort();
    expect(readFileSync(join(folder, first)).includes(Buffer.from(jpeg(1)))).toBe(false);
    expect(pictures.of({ id: 1, createdMs: 6 })).toEqual([]); // somebody else got the number
    writeFileSync(join(folder, first), readFileSync(join(folder, second)));
    expect(() => pictures.of(ada)).toThrow(expect.objectContaining({ code: 'E_GALLERY_TAMPERED' }) as Error);
    pictures.forget(1);
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('another embedder', () => {
  it('enrolls again whoever there are pictures of, names the others, and leaves the old entries for the way back', async () => {
    const { pictures } = kept();
    const runtime = new FakeRuntime();
    const { gallery } = runtime;
    const [ada, bob] = ['Ada', 'Bob', 'Cleo'].map((name) => gallery.enrol(name, [new Float32Array(4)], 'space-1'));
    if (ada === undefined || bob === undefined) throw new Error('expected people');
    await pictures.keep(ada, [jpeg(1), jpeg(2)]);
    await pictures.keep(bob, [Uint8Array.of(0, 0)]); // that cannot be decoded
    const pipeline = { embeddingSpaceId: 'space-2' } as Pipeline;
    const parts = { runtime, gallery, pictures, pipeline };
    expect(await reEmbed(parts)).toEqual({ done: 1, missing: ['Bob', 'Cleo'] });
    const again = gallery.list().filter(({ name }) => name === 'Ada');
    expect(again.map(({ embeddingSpaceId, samples }) => [embeddingSpaceId, samples])).toEqual([['space-1', 1], ['space-2', 2]]);
    expect(again[1] === undefined ? [] : pictures.of(again[1])).toHaveLength(2);
    expect(await reEmbed(parts)).toEqual({ done: 0, missing: ['Bob', 'Cleo'] });
  });

  it.each(['gallery.enrol', 'gallery.picture'])('on a disk that is full at %s enrols nobody by half, and everybody when there is room', async (point) => {
    const { pictures } = kept();
    const runtime = new FakeRuntime();
    const { gallery } = runtime;
    for (const name of ['Ada', 'Bob']) await pictures.keep(gallery.enrol(name, [new Float32Array(4)], 'space-1'), [jpeg(1)]);
    const model = { galleryPlan: 're-embed', pipeline: { embeddingSpaceId: 'space-2' } };
    const slot = new PipelineSlot();
    await slot.exchange(model as Model, { name: 'faces', version: '2.0.0', digest: 'a'.repeat(64), size_bytes: 1, since_ms: 0 });
    const lasting = new Set<string>();
    const faults: FaultPort = { raise: (_, { code }) => lasting.add(code), clear: (_, code) => lasting.delete(code ?? '') };
    const plan = new GalleryPlan({
      runtime, gallery: DeviceGallery.open(runtime, '', { file: '', create: false }, faults), pictures, slot, faults, retryMs: 10, onChange: () => undefined,
    });
    onTestFinished(() => plan.stop());
    onTestFinished(() => void armFault(''));
    const fault = armFault(`${point}:2:ENOSPC`);
    plan.begin();
    await until('it is full', () => fault?.reached === true && lasting.has('E_DISK_FULL'));
    expect([...lasting].sort()).toEqual(['E_DISK_FULL', 'E_GALLERY_SPACE']);
    expect(plan.report).toEqual({ plan: 're-embed', re_embedded: 1, to_enroll: 1 });
    armFault('');
    await until('the fault is over', () => lasting.size === 0);
    expect(plan.report).toEqual({ plan: 're-embed', re_embedded: 2, to_enroll: 0 });
    const again = gallery.list().filter(({ embeddingSpaceId }) => embeddingSpaceId === 'space-2');
    expect(again.map(({ name }) => name).sort()).toEqual(['Ada', 'Bob']);
    for (const person of again) expect(pictures.of(person)).toHaveLength(1);
  });
});
