import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { imageExtensions, readImage } from '../../../runtime/media/image.js';
import { nativePixels } from '../../../runtime/vision/pixels.js';
import { DeployError } from '../../errors.js';
import type { FacesConfig } from '../config.js';
import { greyPicture } from './pgm.js';

/** A picture of a person, of the size that the student sees. */
export interface PersonPicture {
  /** Path below the folder of the data. */
  readonly file: string;
  readonly person: string;
  /** RGB, row by row. */
  readonly pixels: Uint8Array;
}

/** Sides of pictures in pixels. */
export interface PictureSize {
  readonly width: number;
  readonly height: number;
}

/** Pictures to learn from, and those of people that are only judged on. */
export interface People {
  /** Names of the people that are learned from, in their order as classes. */
  readonly names: readonly string[];
  readonly train: readonly PersonPicture[];
  readonly test: readonly PersonPicture[];
}

const isPicture = (name: string): boolean => extname(name).toLowerCase() === '.pgm' || imageExtensions.has(extname(name).toLowerCase());
const formats = [...imageExtensions, '.pgm'].join(', ');

/** The name of a file up to its last - or _, as in `anna_0001.jpg`. @throws DeployError E_LAB */
function prefixOf(file: string, folder: string): string {
  const prefix = /^(.+)[-_][^-_]*$/.exec(file)?.[1];
  if (prefix === undefined) throw new DeployError('E_LAB', `${join(folder, file)}: expected a name such as anna_1.jpg, of a person before the last - or _; or give each person a folder, with \`people: folder\``, { details: { path: join(folder, file) } });
  return prefix;
}

async function listFolder(folder: string) {
  return readdir(folder, { withFileTypes: true }).catch((cause: unknown) => {
    throw new DeployError('E_FILE', `${folder} cannot be read: ${String(cause)}`, { cause, details: { path: folder } });
  });
}

/** Files and their people, sorted. */
async function listPeople({ folder, people }: FacesConfig['data']): Promise<{ file: string; person: string }[]> {
  const entries = await listFolder(folder);
  if (people === 'prefix') return entries.filter((entry) => !entry.isDirectory() && isPicture(entry.name)).map(({ name }) => ({ file: name, person: prefixOf(name, folder) })).sort((a, b) => (a.file < b.file ? -1 : 1));
  const found: { file: string; person: string }[] = [];
  for (const person of entries.filter((entry) => entry.isDirectory()).map(({ name }) => name).sort()) {
    const own = (await listFolder(join(folder, person))).filter((entry) => !entry.isDirectory() && isPicture(entry.name)).map(({ name }) => name).sort();
    if (own.length === 0) throw new DeployError('E_LAB', `Expected pictures (${formats}) in ${join(folder, person)} but found none; remove the folder, or put the person's pictures into it`, { details: { path: join(folder, person) } });
    found.push(...own.map((name) => ({ file: join(person, name), person })));
  }
  return found;
}

/** @throws DeployError E_LAB that says whose pictures are missing */
function checkPeople(files: readonly { person: string }[], { folder, people, test_people }: FacesConfig['data']): void {
  const counts = new Map<string, number>();
  for (const { person } of files) counts.set(person, (counts.get(person) ?? 0) + 1);
  const unknown = test_people.find((person) => !counts.has(person));
  if (unknown !== undefined) throw new DeployError('E_LAB', `data.test_people: there are no pictures of '${unknown}' in ${folder}`, { details: { person: unknown } });
  const learned = [...counts.keys()].filter((person) => !test_people.includes(person));
  const how = people === 'folder' ? 'a folder of pictures for each person' : 'pictures such as anna_1.jpg, named after their person';
  if (learned.length < 2) throw new DeployError('E_LAB', `Expected ${how}, and at least two people to learn from besides data.test_people, in ${folder} but found ${learned.length}`, { details: { path: folder } });
  const alone = [...counts].find(([, count]) => count < 2)?.[0];
  if (alone !== undefined) throw new DeployError('E_LAB', `There is one picture of '${alone}' in ${folder}; expected at least two, since one does not show what pictures of a person have in common. Add pictures, or leave the person out`, { details: { person: alone } });
}

/**
 * The pictures of a folder, stretched to the size that the student sees: they are to be cut to the face as the embedder expects it.
 * @throws DeployError E_FILE; E_LAB: fewer than two people, a person with one picture; RuntimeError E_MEDIA that names the file
 */
export async function readPeople(data: FacesConfig['data'], { width, height }: PictureSize, onProgress: (done: number, total: number) => void = () => undefined): Promise<People> {
  const files = await listPeople(data);
  checkPeople(files, data);
  const tested = new Set(data.test_people);
  const pictures: PersonPicture[] = [];
  for (const { file, person } of files) {
    const path = join(data.folder, file);
    const picture = extname(file).toLowerCase() === '.pgm' ? greyPicture(await readFile(path), path) : await readImage(path);
    const pixels = new Uint8Array(width * height * 3);
    nativePixels.fit(picture, { width, height, channels: 3, data: pixels }, 'stretch');
    pictures.push({ file, person, pixels });
    onProgress(pictures.length, files.length);
  }
  const train = pictures.filter(({ person }) => !tested.has(person));
  return { names: [...new Set(train.map(({ person }) => person))], train, test: pictures.filter(({ person }) => tested.has(person)) };
}

/** Hash of all pictures and of whom they show. */
export function hashOfPeople({ train, test }: People): string {
  const hash = createHash('sha256');
  for (const { file, person, pixels } of [...train, ...test]) hash.update(`${person}:${file}:`).update(pixels);
  return hash.update(`${train.length}`).digest('hex');
}
