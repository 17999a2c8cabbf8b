import { readdir } from 'node:fs/promises';
import { basename, extname, join, parse, relative } from 'node:path';
import { z } from 'zod';
import { RuntimeError } from '../../runtime/errors.js';
import { imageExtensions } from '../../runtime/media/image.js';
import { readInputFile } from '../cli/files.js';
import { DeployError } from '../errors.js';
import type { ScoredBox } from './average-precision.js';

const readText = async (path: string): Promise<string> => new TextDecoder().decode(await readInputFile(path));
const linesOf = (text: string): string[] => text.split(/\r?\n/).map((line) => line.trim()).filter((line) => line !== '');

/** All pictures below a folder, links to pictures included, as paths from it, in the order of their names. @throws DeployError E_FILE, RuntimeError E_INPUT */
export async function listPictures(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((cause: unknown) => {
    throw new DeployError('E_FILE', `Expected a folder of pictures but ${folder} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  });
  const names = entries.filter((entry) => !entry.isDirectory() && imageExtensions.has(extname(entry.name).toLowerCase())).map((entry) => relative(folder, join(entry.parentPath, entry.name)));
  if (names.length === 0) throw new RuntimeError('E_INPUT', `Expected pictures (${[...imageExtensions].join(', ')}) in ${folder} but found none`);
  return names.sort();
}

/** Names of classes, one a line: the first is class 0. */
export const readClassNames = async (path: string): Promise<string[]> => linesOf(await readText(path));

/** The number of a class that is given by number or by name. */
function classNumber(text: string, names: readonly string[] | undefined, where: string): number {
  const byName = names?.indexOf(text) ?? -1;
  if (byName >= 0) return byName;
  if (/^\d+$/.test(text)) return Number(text);
  const how = names === undefined ? 'give --classes FILE with the names, one a line' : `the file of --classes has no such name among its ${names.length}`;
  throw new RuntimeError('E_INPUT', `Expected the number of a class in ${where} but received '${text}'; ${how}`, { details: { class: text } });
}

/**
 * The class of each picture: of the lines `file,class` of a CSV, or of the folders that the pictures are in.
 * @param labels path of the CSV; undefined: folders
 * @throws RuntimeError E_INPUT naming the line, the folder, or the pictures without a class
 */
export async function readLabels(pictures: readonly string[], labels: string | undefined, names: readonly string[] | undefined): Promise<Map<string, number>> {
  if (labels === undefined) {
    return new Map(pictures.map((picture) => {
      const [folder = '', ...rest] = picture.split(/[\\/]/);
      if (rest.length === 0) throw new RuntimeError('E_INPUT', `Expected a folder for each class, or --labels or --boxes, but picture ${picture} is in no folder`);
      return [picture, classNumber(folder, names, `the name of the folder of ${picture}`)];
    }));
  }
  const classes = new Map<string, number>();
  for (const [index, line] of linesOf(await readText(labels)).entries()) {
    const at = line.lastIndexOf(',');
    const [file, label] = [line.slice(0, at).trim(), line.slice(at + 1).trim()];
    if (index === 0 && /^(file|filename|image|path)$/i.test(file)) continue;
    if (at < 1) throw new RuntimeError('E_INPUT', `Expected file,class in line ${index + 1} of ${labels} but received '${line}'`);
    classes.set(file, classNumber(label, names, `line ${index + 1} of ${labels}`));
  }
  const known = new Map(pictures.flatMap((picture): [string, number][] => {
    const label = classes.get(picture) ?? classes.get(basename(picture));
    return label === undefined ? [] : [[picture, label]];
  }));
  if (known.size === 0) throw new RuntimeError('E_INPUT', `No picture has a class in ${labels}; the first column must be the name of the file, as in ${pictures[0] ?? ''}`);
  return known;
}

/** Boxes of pictures by name. */
export type Boxes = ReadonlyMap<string, readonly Omit<ScoredBox, 'image'>[]>;

const annotations = z.object({
  images: z.array(z.object({ id: z.number(), file_name: z.string(), width: z.number().positive(), height: z.number().positive() })),
  annotations: z.array(z.object({ image_id: z.number(), category_id: z.number(), bbox: z.tuple([z.number(), z.number(), z.number(), z.number()]), iscrowd: z.number().optional() })),
  categories: z.array(z.object({ id: z.number() })),
});

/** COCO's annotations; labels are positions of the categories in the order of their numbers. Crowds are left out. */
async function readCoco(path: string): Promise<Boxes> {
  const text = await readText(path);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new RuntimeError('E_INPUT', `Expected COCO annotations but ${path} is not JSON`, { cause });
  }
  const parsed = annotations.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new RuntimeError('E_INPUT', `Expected COCO annotations but in ${path} ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
  }
  const labels = new Map(parsed.data.categories.map(({ id }) => id).sort((a, b) => a - b).map((id, label) => [id, label]));
  const images = new Map(parsed.data.images.map((image) => [image.id, image]));
  const boxes = new Map<string, Omit<ScoredBox, 'image'>[]>(parsed.data.images.map(({ file_name }) => [basename(file_name), []]));
  for (const { image_id, category_id, bbox: [x, y, w, h], iscrowd } of parsed.data.annotations) {
    const image = images.get(image_id);
    const label = labels.get(category_id);
    if (image === undefined || label === undefined) throw new RuntimeError('E_INPUT', `An annotation of ${path} names image ${image_id} and category ${category_id}, which the file does not have`);
    const { width, height } = image;
    if (iscrowd !== 1) boxes.get(basename(image.file_name))?.push({ label, score: 1, corners: [x / width, y / height, (x + w) / width, (y + h) / height] });
  }
  return boxes;
}

function yoloBox(line: string, where: string): Omit<ScoredBox, 'image'> {
  const numbers = line.split(/\s+/).map(Number);
  const [label = NaN, x = NaN, y = NaN, w = NaN, h = NaN] = numbers;
  if (numbers.length !== 5 || !Number.isInteger(label) || !numbers.every(Number.isFinite)) throw new RuntimeError('E_INPUT', `Expected class, center x and y, width and height in ${where} but received '${line}'`);
  return { label, score: 1, corners: [x - w / 2, y - h / 2, x + w / 2, y + h / 2] };
}

/** YOLO's label files: a line a box, shares of the picture. A picture without a file has no boxes. */
async function readYolo(folder: string, pictures: readonly string[]): Promise<Boxes> {
  const files = new Set(await readdir(folder, { recursive: true }).catch((cause: unknown) => {
    throw new DeployError('E_FILE', `Expected a folder of label files, or a COCO .json, but ${folder} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }));
  const boxes = new Map<string, Omit<ScoredBox, 'image'>[]>();
  for (const picture of pictures) {
    const { dir, name } = parse(picture);
    const file = [join(dir, `${name}.txt`), `${name}.txt`].find((candidate) => files.has(candidate));
    const lines = file === undefined ? [] : linesOf(await readText(join(folder, file)));
    boxes.set(basename(picture), lines.map((line, i) => yoloBox(line, `line ${i + 1} of ${join(folder, file ?? '')}`)));
  }
  return boxes;
}

/**
 * The boxes of each picture, by the name of its file: of a folder of YOLO label files, or of a COCO .json.
 * @throws DeployError E_FILE, RuntimeError E_INPUT; also when no picture has a box
 */
export async function readBoxes(source: string, pictures: readonly string[]): Promise<Boxes> {
  const boxes = extname(source) === '.json' ? await readCoco(source) : await readYolo(source, pictures);
  if (pictures.every((picture) => (boxes.get(basename(picture)) ?? []).length === 0)) {
    throw new RuntimeError('E_INPUT', `No picture has a box in ${source}; a label file is named as its picture (${parse(pictures[0] ?? '').name}.txt), or the file names of the .json are those of the pictures`);
  }
  return boxes;
}
